"""Intervals: margins that hold on new tasks as often as they say, or none where too few tasks promise nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.recommending.intervals import LEVEL, margin, scale_of
from tests.distill.evidence_for_tests import world


@pytest.mark.parametrize("tasks", [0, 1, 2, 3])
def test_three_tasks_promise_nothing(tasks: int) -> None:
    assert margin([np.array([0.1, 0.2])] * tasks) is None


def test_four_tasks_promise_the_largest_error() -> None:
    assert margin([np.array([0.1, 0.2]), np.array([0.3]), np.array([0.05]), np.array([0.4, 0.01])]) == 0.4


def test_a_margin_holds_on_a_new_task_at_least_as_often_as_it_says() -> None:
    """Tasks with errors of their own size: the mean coverage of one more task's errors, over many worlds."""
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        sizes = draw.lognormal(sigma=1.0, size=9)
        errors = [np.abs(draw.normal(scale=size, size=20)) for size in sizes]
        reach = margin(errors[:-1])
        assert reach is not None
        covered.append(np.mean(errors[-1] <= reach))
    assert LEVEL - 0.03 < np.mean(covered) < 0.97


@given(st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=5), min_size=4, max_size=12))
def test_a_margin_is_one_of_the_errors_and_larger_for_a_higher_level(errors: list[list[float]]) -> None:
    arrays = [np.array(each) for each in errors]
    low, high = margin(arrays, level=0.5), margin(arrays, level=0.8)
    assert low is not None
    assert high is not None
    assert low <= high
    assert high in np.concatenate(arrays)


def test_a_better_rank_keeps_no_less() -> None:
    scale = scale_of(world(4, noise=0.02))
    assert scale is not None
    kept = scale.at(np.linspace(-0.1, 1.1, 30))
    assert (np.diff(kept) >= 0).all()
    assert scale.gain(np.array([0.5]), 0.5) == pytest.approx(0.0)


def test_what_no_run_has_has_no_scale() -> None:
    assert scale_of(world(2), lambda run: run.distillation_ratio) is None
