"""Parts of a batch, weighted by their shares, have the loss of the whole: of every objective that is a mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.models.states import Said, Shape, States
from distill.objectives.objective import HARD, Objective, make_objective
from distill.objectives.share import WHOLE, Share
from distill.reading.examples import Examples
from distill.reading.gold import NO_LABEL
from distill.reading.slots import SlotLessons, TopLogits
from distill.reading.tokens import Batch, Tokens
from distill.reading.words import NO_TOKEN, Words
from distill.settings.objective import ObjectiveConfig
from tests.distill.states import LARGE, SMALL, some_states

LENGTHS = np.array([6, 4, 2, 5, 3, 6, 1, 2])
PARTS = (np.array([0, 3, 4]), np.array([1]), np.array([2, 5, 6, 7]))
ALL = np.concatenate(PARTS)


def some_examples() -> Examples:
    """Eight texts with two gold labels among them, and words of which the teacher has not seen all."""
    draw = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    counts = np.maximum(LENGTHS - 1, 0)
    places = np.concatenate([np.arange(count) for count in counts]).astype(np.int32)
    words = Words(places, places + 1, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    logits = draw.normal(size=(len(places), 4)).astype(np.float32)
    logits[draw.random(len(places)) < 0.3] = np.nan
    tags = np.where(draw.random(len(places)) < 0.4, draw.integers(0, 4, len(places)), NO_LABEL)
    tokens = Tokens(
        draw.integers(1, 9, offsets[-1]).astype(np.int32), offsets, LENGTHS.astype(np.int32), 0, False, words
    )
    classes = np.full(8, NO_LABEL)
    classes[[3, 6]] = 1, 2
    teacher = draw.normal(size=(8, 3)).astype(np.float16)
    return Examples(tokens, classes, teacher, None, SlotLessons(tags, TopLogits.of(logits)))


def loss_of(objective: Objective, some: Examples, rows: np.ndarray, share: Share) -> torch.Tensor:
    """A student that says the same of a text whatever batch it is in."""
    batch = some.tokens.batch(rows)
    said = Said(
        torch.randn(8, 3, generator=torch.Generator().manual_seed(0))[rows],
        _states(SMALL, rows, batch, 1),
        slot_logits=torch.randn(int(LENGTHS.sum()), 4, generator=torch.Generator().manual_seed(2))[_words(some, rows)],
    )
    taught = replace(some.taught(rows, batch), states=_states(LARGE, rows, batch, 3))
    return objective(said, taught, some.targets(rows, "cpu"), share)


def _words(some: Examples, rows: np.ndarray) -> np.ndarray:
    assert some.tokens.words is not None
    return some.tokens.words.of(rows)[0]


def _states(shape: Shape, rows: np.ndarray, batch: Batch, seed: int) -> States:
    mask = (np.arange(6) < LENGTHS[:, None]).astype(np.int64)
    whole, longest = some_states(seed, shape, torch.from_numpy(mask)), batch.input_ids.shape[1]
    cut = lambda states: states[rows, :longest]  # noqa: E731
    return whole.changed(cut, batch.attention_mask)


def intermediate(name: str) -> Objective:
    config = ObjectiveConfig(soft_weight=0, intermediate=(name,))
    return make_objective(config, SMALL, LARGE, pooling="mean", device="cpu", seed=0)


NAMES = ["hidden-mse", "hidden-l2", "hidden-cosine", "hidden-ce", "pkd", "attention", "minilm", "minilmv2"]
MEANS = {
    "soft": Objective(1.0, 0.0, 2.0),
    "soft, mse": Objective(1.0, 0.0, soft_targets="mse"),
    "hard": HARD,
    "both, slots weigh more": Objective(0.3, 0.8, slot_weight=2.5),
} | {name: intermediate(name) for name in NAMES}


@pytest.mark.parametrize("name", MEANS)
def test_the_parts_of_a_batch_add_up_to_the_whole(name: str) -> None:
    objective, some = MEANS[name], some_examples()
    whole = Share.counted(some, ALL)
    parts = [loss_of(objective, some, rows, Share.counted(some, rows).of(whole)) for rows in PARTS]
    expected = loss_of(objective, some, ALL, WHOLE)
    assert torch.stack(parts).sum().item() == pytest.approx(expected.item(), abs=1e-5)
    equal = [loss_of(objective, some, rows, WHOLE).item() for rows in PARTS]
    assert abs(np.mean(equal) - expected.item()) > 1e-3, "unweighted they would not"


def test_the_parts_of_a_regression_add_up_where_amounts_are_few() -> None:
    some = some_examples()
    some = replace(some, classes=None, slots=None, amounts=np.where(np.arange(8) % 3 == 0, 0.5, np.nan).astype("f4"))
    said = torch.linspace(-1, 1, 8).unsqueeze(1)
    whole = Share.counted(some, ALL)
    parts = [
        HARD(Said(said[rows]), Said(None), some.targets(rows, "cpu"), Share.counted(some, rows).of(whole))
        for rows in PARTS
    ]
    expected = HARD(Said(said), Said(None), some.targets(np.arange(8), "cpu"))
    assert torch.stack(parts).sum().item() == pytest.approx(expected.item())


def test_the_whole_is_its_own_share_and_of_nothing_there_is_no_share() -> None:
    counts = Share(8, 3, 0, 5, 9, 40, 300)
    assert counts.of(counts) == Share(1, 1, 0, 1, 1, 1, 1)
    assert replace(counts, texts=2).of(counts).texts == 0.25


def test_words_that_are_compared_are_counted_where_two_models_read_other_tokens() -> None:
    some = some_examples()
    counts = np.array([1, 0, 2, 3, 0, 1, 1, 2])
    places = np.zeros(10, np.int32)
    compared = Words(places, places + 1, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    found = Share.counted(replace(some, tokens=replace(some.tokens, compared=compared)), ALL)
    assert (found.tokens, found.pairs) == (10, int((counts**2).sum()))
    assert NO_TOKEN not in places
