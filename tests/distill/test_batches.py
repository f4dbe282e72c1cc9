"""The order of training: every text once an epoch, the same from any update on."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.training.batches import BudgetSchedule, Schedule, by_length

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(lambda values: np.array(values, np.int64))


@given(lengths, st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_an_epoch_meets_no_text_twice_and_all_but_a_rest(some: np.ndarray, size: int, seed: int) -> None:
    schedule = Schedule(some, size, seed)
    batches = len(some) // min(size, len(some))
    met = np.concatenate([schedule.rows(update) for update in range(batches)])
    assert len(set(met.tolist())) == len(met)
    assert len(some) - len(met) < min(size, len(some))


@given(lengths, st.integers(1, 40), st.integers(0, 5), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_an_update_is_the_same_whatever_came_before(some: np.ndarray, size: int, seed: int, update: int) -> None:
    walked = Schedule(some, size, seed)
    for before in range(update):
        walked.rows(before)
    assert np.array_equal(walked.rows(update), Schedule(some, size, seed).rows(update))


def test_epochs_and_seeds_are_shuffled_otherwise() -> None:
    some = np.full(100, 9)
    first, second = Schedule(some, 100, 0).rows(0), Schedule(some, 100, 0).rows(1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Schedule(some, 100, 1).rows(0))


def test_a_batch_holds_texts_of_about_one_length() -> None:
    some = np.random.default_rng(0).integers(3, 60, 5000)
    schedule = Schedule(some, 50, 0)
    padded = sum(50 * some[schedule.rows(update)].max() for update in range(100))
    assert padded < 1.05 * some.sum()


def test_batches_are_not_in_order_of_length() -> None:
    some = np.arange(1, 3201)
    means = [some[Schedule(some, 50, 0).rows(update)].mean() for update in range(64)]
    assert abs(np.corrcoef(np.arange(64), means)[0, 1]) < 0.5


@given(lengths, st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_length_sorted_batches_hold_every_row_once_within_the_budget(some: np.ndarray, tokens: int) -> None:
    batches = by_length(some, tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(some)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * some[batch].max() <= tokens
    assert np.all(np.diff(some[np.concatenate(batches)]) >= 0)


def epoch_of(schedule: BudgetSchedule, rows: int, first: int = 0) -> list[np.ndarray]:
    """The batches from number `first` on that hold each of so many rows once."""
    batches: list[np.ndarray] = []
    while sum(map(len, batches)) < rows:
        batches.append(schedule.rows(first + len(batches)))
    return batches


@given(lengths, st.integers(1, 500), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_batches_of_a_budget_hold_every_text_once_an_epoch_and_no_more_tokens(
    some: np.ndarray, tokens: int, seed: int
) -> None:
    schedule = BudgetSchedule(some, tokens, seed)
    first = epoch_of(schedule, len(some))
    second = epoch_of(schedule, len(some), len(first))
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(len(some)))
        for batch in epoch:
            assert len(batch) == 1 or len(batch) * some[batch].max() <= tokens


@given(lengths, st.integers(1, 500), st.integers(0, 5), st.lists(st.integers(0, 80), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_batch_of_a_budget_is_the_same_whatever_came_before(
    some: np.ndarray, tokens: int, seed: int, numbers: list[int]
) -> None:
    jumping = BudgetSchedule(some, tokens, seed)
    for number in numbers:
        assert np.array_equal(jumping.rows(number), BudgetSchedule(some, tokens, seed).rows(number))


def test_a_budget_is_filled_whatever_the_length() -> None:
    some = np.random.default_rng(0).integers(3, 60, 5000)
    batches = epoch_of(BudgetSchedule(some, 1024, 0), 5000)
    padded = np.array([len(batch) * some[batch].max() for batch in batches])
    assert padded.mean() > 0.9 * 1024
    assert padded.sum() < 1.05 * some.sum()
    assert {len(batch) for batch in batches} > {17, 32, 64}
