"""Effects and costs: how large a difference is, and what it took."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.store import Store
from distill.comparing.comparison import CompareOptions, Comparison, compare
from distill.comparing.cost import Cost, cost_of
from distill.comparing.effect import effect_of
from distill.comparing.table import arm_cells, columns_of, comparison_to_json, teacher_cells
from distill.comparing.variants import differing_settings
from distill.judging.metrics import METRICS
from distill.reporting.figures import MISSING
from distill.reporting.outcome import Seconds
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report, make_settings

ACCURACY, SEMER = METRICS["accuracy"], METRICS["sem_er"]
scores = st.lists(st.floats(0, 1), min_size=2, max_size=5)


def test_the_share_of_errors_removed_is_of_what_was_left_to_gain() -> None:
    assert effect_of(ACCURACY, [0.95], [0.90]).errors_removed == pytest.approx(0.5)
    assert effect_of(ACCURACY, [0.80], [0.90]).errors_removed == pytest.approx(-1.0)
    assert effect_of(SEMER, [0.05], [0.20]).errors_removed == pytest.approx(0.75), "an error itself: lower is better"
    assert effect_of(ACCURACY, [0.9], [1.0]).errors_removed is None, "nothing is left to gain"


def test_hedges_g_is_by_the_book() -> None:
    """Two arms of three seeds, deviation 1 point each, 2 points apart: d = 2, and J = 1 - 3 / (4 * 4 - 1)."""
    found = effect_of(ACCURACY, [0.82, 0.83, 0.84], [0.80, 0.81, 0.82]).by_seeds
    assert found == pytest.approx(2 * (1 - 3 / 15))
    assert effect_of(SEMER, [0.82, 0.83, 0.84], [0.80, 0.81, 0.82]).by_seeds == pytest.approx(-2 * 0.8)


@pytest.mark.parametrize(("arm", "base"), [([0.9], [0.8, 0.7]), ([0.9, 0.8], [0.7]), ([0.9, 0.9], [0.8, 0.8])])
def test_without_a_deviation_there_is_no_g(arm: list[float], base: list[float]) -> None:
    assert effect_of(ACCURACY, arm, base).by_seeds is None


@given(scores, scores)
def test_the_other_way_round_the_effect_is_its_opposite(arm: list[float], base: list[float]) -> None:
    there, back = effect_of(ACCURACY, arm, base).by_seeds, effect_of(ACCURACY, base, arm).by_seeds
    assert (there is None) == (back is None)
    assert there is None or back is None or math.isclose(there, -back, abs_tol=1e-9)


def test_the_cost_is_the_mean_of_what_seeds_take_and_the_teachers_once() -> None:
    """The first run trains the teacher that the others find."""
    first = make_report(seed=0)
    others = [replace(make_report(seed=seed), seconds=Seconds(0.0, 0.0, 100.0, 20.0)) for seed in (1, 2)]
    found = cost_of([first, *others])
    assert found == Cost(pytest.approx((163.1 + 120 + 120) / 3), pytest.approx(75.2 + 18.3), 4_416_000)  # type: ignore[arg-type]
    assert cost_of(others).teacher_seconds is None


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    store = Store(tmp_path_factory.mktemp("store"))
    keep_arms(store, {"no distillation": 0.70, "task-only": 0.70, "retrieved": 0.85})
    return compare(store, ["*"], CompareOptions(resamples=500))


def test_the_table_says_no_effect_of_a_difference_that_is_none(comparison: Comparison) -> None:
    (group,) = comparison.groups
    removed, effect = (columns_of(group).index(name) for name in ("Errors removed %", "Effect g"))
    cells = {arm.name: arm_cells(arm, group) for arm in group.arms}
    assert cells["task-only"][removed] == cells["task-only"][effect] == MISSING
    assert cells["no distillation"][removed] == MISSING, "the baseline itself"
    assert cells["retrieved"][removed] == "+50.0"
    assert cells["retrieved"][effect] == "+12.0"  # 15 points, a deviation of 1, J of 3 + 3 seeds


def test_cost_stands_in_the_table_and_in_the_json(comparison: Comparison) -> None:
    (group,) = comparison.groups
    row = dict(zip(columns_of(group), arm_cells(group.best, group), strict=True))
    assert (row["Training"], row["Teacher"], row["Parameters"]) == ("2 min 43 s", "1 min 34 s", "4.42 M")
    assert len(teacher_cells(group)) == len(columns_of(group))
    told = comparison_to_json(comparison)["groups"][0]["arms"][-1]
    assert told["cost"] == {
        "seconds": pytest.approx(163.1),
        "teacher_seconds": pytest.approx(93.5),
        "parameters": 4416000,
    }
    assert told["effect"]["errors_removed"] == pytest.approx(0.5)


def test_a_setting_that_is_written_only_where_it_is_used_tells_arms_apart(tmp_path: Path) -> None:
    """A trimmed vocabulary came after the first ids: a run without it says nothing of it."""
    store = Store(tmp_path)
    trimmed = make_settings()
    trimmed["student"] = {**trimmed["student"], "vocabulary": "trimmed"}
    keep_run(store, make_report("whole"), make_predictions(0.8))
    keep_run(store, make_report("small", settings=trimmed), make_predictions(0.7))
    (group,) = compare(store, ["*"], CompareOptions(resamples=100)).groups
    assert [arm.name for arm in group.arms] == ["retrieved (student.vocabulary trimmed)", "retrieved"]


def test_settings_of_distilling_do_not_differ_from_those_of_a_run_that_does_not() -> None:
    settings = make_settings()
    settings["distill"] = {**settings["distill"], "tokens_per_batch": 512}
    reports = [make_report(settings=settings), make_report(arm="no distillation", transfer_set=None)]
    assert "distill.tokens_per_batch" not in differing_settings(reports)
    assert "distill.tokens_per_batch" in differing_settings([reports[0], make_report()])
