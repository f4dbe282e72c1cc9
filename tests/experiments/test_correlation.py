"""Rank correlations: as scipy has them, with an interval that holds what it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.correlation import _spearman, correlate


@pytest.mark.parametrize("ties", [False, True])
def test_rows_of_resamples_correlate_as_scipy_says(ties: bool) -> None:
    draw = np.random.default_rng(3)
    one, other = draw.normal(size=(2, 5, 18))
    if ties:
        one = np.round(one)
    found = _spearman(one, other)
    assert found == pytest.approx([stats.spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])


def test_what_rises_together_is_shown_and_chance_is_not() -> None:
    points = np.arange(18.0)
    together = correlate(points, points**3)
    assert together is not None
    assert (together.rho, together.low, together.high, together.points) == (1, 1, 1, 18)
    assert together.is_shown
    against = correlate(points, -points)
    assert against is not None
    assert (against.rho, against.is_shown) == (-1, True)
    shown = [correlate(*np.random.default_rng(seed).normal(size=(2, 18))) for seed in range(40)]
    assert sum(each.is_shown for each in shown if each) <= 5  # at 5 % two are to be expected


def test_it_is_the_same_for_the_same_seed_and_any_monotonous_scale() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 18))
    assert correlate(one, other) == correlate(np.exp(one), 3 * other)


def test_one_number_alone_is_no_ranking() -> None:
    assert correlate([1, 1, 1, 1], [1, 2, 3, 4]) is None
    assert correlate([1, 2], [1, 2]) is None
