"""The examples: what a batch is taught stands row for row and word for word beside what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.models.states import Said
from distill.objectives.objective import HARD, Objective
from distill.reading.examples import Examples
from distill.reading.slots import NO_TAG, SlotLessons, TopLogits
from distill.reading.tokens import Batch, Tokens
from distill.reading.words import NO_TOKEN, Words

TAGS, CLASSES = 4, 3
SOFT = Objective(soft_weight=1.0, hard_weight=0.0, temperature=2.0)


def examples() -> Examples:
    """Twelve texts of words of two tokens each; some words have no token, some no tag, some no teacher."""
    draw = np.random.default_rng(0)
    counts = draw.integers(2, 6, 12)
    lengths = 2 * counts + 2
    places = np.concatenate([2 * np.arange(n) + 1 for n in counts]).astype(np.int32)
    places[[3, 11]] = NO_TOKEN
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    words = Words(places, (places + 2).astype(np.int32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    tokens = Tokens(
        draw.integers(1, 40, offsets[-1]).astype(np.int32), offsets, lengths.astype(np.int32), 0, False, words
    )
    logits = draw.normal(0, 3, (len(places), TAGS)).astype(np.float32)
    logits[[0, 7]] = np.nan
    tags = draw.integers(0, TAGS, len(places))
    tags[[1, 8]] = NO_TAG
    teacher = draw.normal(0, 3, (12, CLASSES)).astype(np.float16)
    return Examples(tokens, draw.integers(0, CLASSES, 12), teacher, None, SlotLessons(tags, TopLogits.of(logits)))


class Model(nn.Module):
    """The smallest joint model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(40, 8)
        self.head, self.slot_head = nn.Linear(8, CLASSES), nn.Linear(8, TAGS)

    def forward(self, batch: Batch) -> Said:
        states = self.embedding(batch.input_ids)
        mask = batch.attention_mask.unsqueeze(-1)
        assert batch.words is not None
        of_words = self.slot_head(states.flatten(0, 1)[batch.words])
        return Said(self.head((states * mask).sum(1) / mask.sum(1)), slot_logits=of_words)


def loss_of(objective: Objective, some: Examples, rows: np.ndarray) -> Tensor:
    batch = some.tokens.batch(rows)
    return objective(Model()(batch), some.taught(rows, batch), some.targets(rows, "cpu"))


@pytest.mark.parametrize("objective", [SOFT, HARD], ids=["soft", "hard"])
def test_the_loss_of_slots_is_that_of_each_word_by_itself(objective: Objective) -> None:
    """The reference takes one text and one word at a time, without a batch, a padding or an index."""
    some, rows = examples(), np.array([5, 0, 2, 9])
    model, words = Model(), some.tokens.words
    assert words is not None
    assert some.slots is not None
    assert some.slots.teacher is not None
    losses = []
    for row in rows:
        ids = torch.from_numpy(some.tokens.flat[slice(*some.tokens.offsets[row : row + 2])].astype(np.int64))
        for word in range(*words.offsets[row : row + 2]):
            taught = torch.from_numpy(some.slots.teacher.rows(np.array([word]))[0])
            tag = int(some.slots.tags[word])
            unknown = taught.isnan().any() if objective is SOFT else tag == NO_TAG
            if words.places[word] == NO_TOKEN or unknown:
                continue
            said = model.slot_head(model.embedding(ids[words.places[word]]))
            if objective is SOFT:
                wanted = (taught / 2).softmax(0)
                losses.append(4 * (wanted * (wanted.log() - (said / 2).log_softmax(0))).sum())
            else:
                losses.append(-said.log_softmax(0)[tag])
    alone = Examples(some.tokens, slots=some.slots)
    batch = alone.tokens.batch(rows)
    said = Said(None, slot_logits=Model()(batch).slot_logits)
    found = objective(said, alone.taught(rows, batch), alone.targets(rows, "cpu"))
    assert found.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize("objective", [SOFT, HARD], ids=["soft", "hard"])
def test_the_order_of_a_batch_changes_no_loss_and_other_rows_do(objective: Objective) -> None:
    some = examples()
    one, turned, other = (loss_of(objective, some, np.array(rows)) for rows in ([5, 0, 2], [2, 5, 0], [2, 5, 1]))
    assert torch.allclose(one, turned, atol=1e-6)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("objective", [SOFT, HARD], ids=["soft", "hard"])
def test_words_that_are_not_known_pull_at_nothing(objective: Objective) -> None:
    """What is said of a word without a teacher, or without a gold tag, has no gradient; no number is lost to NaN."""
    some, rows = examples(), np.arange(12)
    batch = some.tokens.batch(rows)
    said = Model()(batch)
    assert said.slot_logits is not None
    said.slot_logits.retain_grad()
    objective(said, some.taught(rows, batch), some.targets(rows, "cpu")).backward()  # type: ignore[no-untyped-call]
    assert some.tokens.words is not None
    numbers, _ = some.tokens.words.of(rows)
    quiet = {0, 7} if objective is SOFT else {1, 8}
    gradient = said.slot_logits.grad
    assert gradient is not None
    assert not gradient.isnan().any()
    still = {int(number) for number, row in zip(numbers, gradient, strict=True) if not row.abs().sum()}
    assert still == quiet


def test_slots_weigh_as_much_as_they_are_told_to() -> None:
    some, rows = examples(), np.arange(12)
    losses = [loss_of(Objective(0.0, 1.0, slot_weight=weight), some, rows).item() for weight in (0.0, 1.0, 3.0)]
    assert losses[1] > losses[0] + 0.1
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-5)


def test_amounts_that_are_not_known_pull_at_nothing() -> None:
    tokens = examples().tokens
    amounts = np.array([1.0, np.nan, 3.0, *[np.nan] * 9], np.float32)
    some = Examples(tokens, amounts=amounts, teacher_logits=np.arange(12, dtype=np.float16)[:, None])
    said = torch.zeros(3, 1, requires_grad=True)
    rows = np.array([2, 1, 0])
    targets, taught = some.targets(rows, "cpu"), some.stored(rows, "cpu")
    loss = HARD(Said(said), taught, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx((9 + 1) / 2)
    assert said.grad is not None
    assert said.grad[:, 0].tolist() == [-3.0, 0.0, -1.0]
    assert SOFT(Said(said), taught, targets).item() == pytest.approx((4 + 1 + 0) / 3)
