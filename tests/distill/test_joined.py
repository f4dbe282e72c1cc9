"""Claims of parts learnt from as one: every text says what it says alone, whichever part it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.models.states import Said
from distill.objectives.share import Share
from distill.reading.examples import Examples
from distill.reading.joined import JoinedExamples
from distill.reading.slots import SlotLessons, TopLogits
from distill.reading.tokens import Batch, Tokens
from distill.reading.words import NO_TOKEN, Words

LENGTHS = ([5, 3, 4], [7, 2], [3])
WORDS = ([2, 1, 3], [4, 1], [1])


def some_words(counts: list[int]) -> Words:
    """Word j of a text is its token j + 1; the last word of all has none."""
    places = np.concatenate([np.arange(1, count + 1) for count in counts]).astype(np.int32)
    stops = places + 1
    places[-1] = stops[-1] = NO_TOKEN
    return Words(places, stops.astype(np.int32), np.cumsum([0, *counts]))


def some_part(number: int, **more: Any) -> Examples:
    draw, lengths, words = np.random.default_rng(number), LENGTHS[number], some_words(WORDS[number])
    ids = draw.integers(2, 30, sum(lengths)).astype(np.int32)
    tokens = Tokens(
        ids, np.cumsum([0, *lengths]), np.array(lengths, np.int32), 1, True, words, some_words(WORDS[number])
    )
    many = sum(WORDS[number])
    top = TopLogits(
        np.tile(np.arange(3, dtype=np.int16), (many, 1)), draw.normal(size=(many, 3)).astype(np.float16),
        np.zeros(many, np.float16), 3,
    )  # fmt: skip
    slots = SlotLessons(draw.integers(0, 3, many), top)
    logits = draw.normal(size=(len(lengths), 2)).astype(np.float16)
    return Examples(tokens, np.arange(len(lengths)) + 10 * number, logits, None, slots, **more)


PARTS = [some_part(number) for number in range(3)]
WHOLE = JoinedExamples.of(PARTS)
OF = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]  # the part of each row, and its number there


def places(batch: Batch, text: int) -> list[int]:
    """The places of the words of one text of a batch."""
    assert batch.words is not None
    length = batch.input_ids.shape[1]
    return [int(place) % length for place in batch.words if int(place) // length == text]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [5, 3, 0], [4], [1, 2], [3, 1, 4, 0]])
def test_every_text_is_as_it_is_alone(rows: list[int]) -> None:
    batch, targets = WHOLE.tokens.batch(np.array(rows)), WHOLE.targets(np.array(rows), "cpu")
    stored = WHOLE.stored(np.array(rows), "cpu")
    assert targets.classes is not None
    assert stored.logits is not None
    for text, row in enumerate(sorted(rows, key=lambda row: OF[row][0])):
        part, number = OF[row]
        alone, own = PARTS[part].tokens.batch(np.array([number])), np.array([number])
        length = alone.input_ids.shape[1]
        assert batch.input_ids[text, :length].tolist() == alone.input_ids[0].tolist()
        assert set(batch.input_ids[text, length:].tolist()) <= {1}, "the padding token"
        assert batch.attention_mask[text].sum() == alone.attention_mask.sum()
        assert places(batch, text) == places(alone, 0)
        assert batch.compared is not None
        assert alone.compared is not None
        many = alone.compared.shape[1]
        assert torch.equal(batch.compared[text, :many, :length], alone.compared[0])
        assert batch.compared[text, many:].sum() == batch.compared[text, :, length:].sum() == 0
        assert targets.classes[text] == PARTS[part].targets(own, "cpu").classes
        assert torch.equal(stored.logits[text], PARTS[part].stored(own, "cpu").logits[0])  # type: ignore[index]


def test_words_and_their_tags_and_logits_stand_in_one_order() -> None:
    rows = np.array([4, 0, 5, 3])
    batch, tags, logits = (
        WHOLE.tokens.batch(rows),
        WHOLE.targets(rows, "cpu").tags,
        WHOLE.stored(rows, "cpu").slot_logits,
    )
    assert batch.words is not None
    assert tags is not None
    assert logits is not None
    assert len(batch.words) == len(tags) == len(logits)
    order = sorted(rows.tolist(), key=lambda row: OF[row][0])
    expected: list[Tensor] = [PARTS[p].targets(np.array([n]), "cpu").tags for p, n in (OF[r] for r in order)]  # type: ignore[misc]
    assert torch.equal(tags, torch.cat(expected))


def test_lengths_and_counts_are_those_of_the_parts() -> None:
    assert WHOLE.tokens.lengths.tolist() == [5, 3, 4, 7, 2, 3]
    rows = np.array([3, 0])
    share = Share.counted(WHOLE, rows)
    alone = [Share.counted(PARTS[1], np.array([0])), Share.counted(PARTS[0], np.array([0]))]
    assert share.texts == 2
    assert share.words == sum(each.words for each in alone)
    assert share.tokens == sum(each.tokens for each in alone)
    assert Share.counted(WHOLE, rows[:0]).texts == 0


def test_one_teacher_is_asked_on_the_very_batch_or_on_its_own_tokens_of_it() -> None:
    heard: list[Tensor] = []

    def speak(batch: Batch) -> Said:
        heard.append(batch.input_ids)
        return Said(torch.zeros(len(batch.input_ids), 2))

    rows = np.array([4, 0])
    same = JoinedExamples.of([some_part(number, teacher=speak) for number in range(2)])
    batch = same.tokens.batch(rows)
    taught = same.taught(rows, batch)
    assert heard[0] is batch.input_ids
    assert torch.equal(taught.logits, same.stored(rows, "cpu").logits)  # type: ignore[arg-type]
    others = JoinedExamples.of(
        [some_part(number, teacher=speak, teacher_tokens=some_part(1 - number).tokens) for number in range(2)]
    )
    others.taught(np.array([1]), others.tokens.batch(np.array([1])))
    assert torch.equal(heard[1], some_part(1).tokens.batch(np.array([1])).input_ids)
