"""The bootstrap: its intervals cover what they should, and do not depend on what they should not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap

from distill.judging.bootstrap import DECISIVE_ROWS, Column, Difference, Resamples, resample

ROWS = st.integers(2, 40)


def coins(rows: int, *chances: float, seed: int = 0) -> np.ndarray:
    """Rows of independent zeros and ones, a column a chance."""
    return (np.random.default_rng(seed).random((rows, len(chances))) < np.array(chances)).astype(float)


def mean_of(scores: np.ndarray, *, resamples: int, seed: int) -> Resamples:
    """Resampled means of the columns of scores (rows, columns)."""

    def column(of_rows: np.ndarray) -> Column:
        return Column(lambda weights: weights @ of_rows / weights.sum(axis=1), of_rows[:, None])

    return resample([column(of_rows) for of_rows in scores.T], resamples=resamples, seed=seed)


def test_the_interval_covers_a_known_difference_as_often_as_it_promises() -> None:
    trials = 300
    covered = 0
    for trial in range(trials):
        both = coins(400, 0.6, 0.5, seed=trial)  # the true difference is 0.1
        interval = mean_of(both, resamples=400, seed=trial).difference(0, 1).interval
        assert interval.low <= interval.value <= interval.high
        covered += interval.low <= 0.1 <= interval.high
    assert 0.91 <= covered / trials <= 0.985  # 95 %, give or take three standard errors of 300 trials


def test_arms_that_are_equally_good_are_rarely_told_apart() -> None:
    trials = 300
    told = sum(
        mean_of(coins(400, 0.6, 0.6, seed=trial), resamples=400, seed=1).difference(0, 1).told_apart
        for trial in range(trials)
    )
    assert told / trials <= 0.09


def test_the_interval_equals_that_of_scipy() -> None:
    scores = coins(500, 0.8, 0.7, seed=3)
    ours = mean_of(scores, resamples=20_000, seed=0).difference(0, 1).interval
    theirs = scipy_bootstrap(
        (scores[:, 0] - scores[:, 1],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.high, abs=0.002)


def test_pairing_makes_the_interval_narrower_than_two_separate_ones() -> None:
    good = coins(1000, 0.7, seed=5)[:, 0]
    better = good.copy()
    better[np.flatnonzero(good == 0)[:30]] = 1  # right wherever the other is, and on 30 rows more
    interval = mean_of(np.stack([better, good], axis=1), resamples=2000, seed=0).difference(0, 1).interval
    assert interval.high - interval.low < 0.025
    assert interval.low > 0.015


@given(ROWS, st.integers(0, 1000))
@settings(max_examples=40)
def test_swapping_the_arms_swaps_the_sign_and_nothing_else(rows: int, seed: int) -> None:
    sampled = mean_of(coins(rows, 0.7, 0.5, seed=seed), resamples=200, seed=seed)
    one, other = sampled.difference(0, 1), sampled.difference(1, 0)
    assert one.interval.value == -other.interval.value
    assert one.interval.low == pytest.approx(-other.interval.high, abs=1e-11)
    assert one.interval.high == pytest.approx(-other.interval.low, abs=1e-11)
    assert (one.rows, one.told_apart) == (other.rows, other.told_apart)


@given(ROWS, st.integers(0, 1000))
@settings(max_examples=40)
def test_the_value_lies_in_its_interval_or_at_its_edge(rows: int, seed: int) -> None:
    scores = coins(rows, 0.7, 0.5, seed=seed)
    interval = mean_of(scores, resamples=500, seed=seed).score(0)
    assert interval.value == scores[:, 0].mean()
    assert 0 <= interval.low <= interval.high <= 1
    assert interval.low - 0.05 <= interval.value <= interval.high + 0.05


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    scores = coins(300, 0.7, 0.6)
    one, same, other = (mean_of(scores, resamples=500, seed=seed).difference(0, 1) for seed in (1, 1, 2))
    assert one == same
    assert one.interval.low != other.interval.low


def test_a_third_arm_does_not_move_the_interval_of_the_other_two() -> None:
    three = coins(300, 0.7, 0.6, 0.9)
    with_third, without = (mean_of(scores, resamples=500, seed=0).difference(0, 1) for scores in (three, three[:, :2]))
    assert with_third == without


def test_the_size_of_a_chunk_does_not_move_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = coins(50, 0.7, 0.6)
    whole = mean_of(scores, resamples=333, seed=0).drawn
    monkeypatch.setattr("distill.judging.bootstrap._CHUNK_DRAWS", 1000)
    assert np.allclose(mean_of(scores, resamples=333, seed=0).drawn, whole)


def test_every_resample_draws_as_many_rows_as_there_are() -> None:
    ones = np.ones((17, 1))
    assert np.all(mean_of(ones, resamples=100, seed=0).drawn == pytest.approx(1.0))


def test_the_same_answers_are_never_told_apart() -> None:
    scores = np.repeat(coins(300, 0.7), 2, axis=1)
    difference = mean_of(scores, resamples=500, seed=0).difference(0, 1)
    assert (difference.interval.low, difference.interval.high, difference.rows) == (0, 0, 0)
    assert not difference.told_apart


def test_means_over_seeds_that_differ_by_rounding_alone_are_the_same() -> None:
    thirds = coins(300, 0.7)[:, 0] / 3
    scores = np.stack([thirds + thirds + thirds, 3 * thirds + 1e-16], axis=1)
    difference = mean_of(scores, resamples=200, seed=0).difference(0, 1)
    assert difference.rows == 0
    assert not difference.told_apart


@pytest.mark.parametrize("rows_that_differ", range(1, 9))
def test_a_handful_of_rows_decides_nothing_however_one_sided(rows_that_differ: int) -> None:
    difference = better_on(rows_that_differ)
    assert difference.interval.value > 0
    if rows_that_differ < DECISIVE_ROWS:
        assert not difference.told_apart


def test_a_clear_difference_is_told_apart() -> None:
    assert better_on(40).told_apart


def better_on(rows_that_differ: int) -> Difference:
    """Two arms over 300 rows, of which one is right on so many rows more."""
    scores = np.zeros((300, 2))
    scores[:100] = 1
    scores[100 : 100 + rows_that_differ, 0] = 1
    return mean_of(scores, resamples=2000, seed=0).difference(0, 1)
