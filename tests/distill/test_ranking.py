"""Rankers: each finds the order where there is one to find, and knows nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from distill.recommending.ranking import (
    AVERAGE,
    LEARNED,
    RANKERS,
    Question,
    average,
    choices,
    forest_of_ratios,
    nearest,
    question_of,
    ranks_by_task,
    weights_by_task,
)
from distill.recommending.recipe import Recipe
from distill.recommending.task_features import TaskFeatures
from tests.distill.evidence_for_tests import RECIPES, added_up, make_run, world


@pytest.mark.parametrize("name", RANKERS)
def test_every_ranker_finds_the_order_of_a_task_it_has_not_seen(name: str) -> None:
    runs = world(5)
    left = [run for run in runs if run.task == "task-4"]
    ranks = RANKERS[name]([run for run in runs if run.task != "task-4"])([question_of(run) for run in left])
    assert spearmanr(ranks, [run.kept for run in left]).statistic > 0.95


@pytest.mark.parametrize("name", [*RANKERS, "forest of ratios"])
def test_a_ranker_says_the_same_twice(name: str) -> None:
    ranker = RANKERS.get(name, forest_of_ratios)
    runs = world(4, noise=0.01)
    asked = [question_of(run) for run in runs[:9]]
    assert np.array_equal(ranker(runs)(asked), ranker(runs)(asked))


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "nearest"])
def test_a_learned_ranker_ranks_a_recipe_that_was_never_tried(name: str) -> None:
    """Choices are seen apart; the average knows whole recipes only."""
    best = max(RECIPES, key=lambda recipe: added_up(0, recipe))
    runs = [run for run in world(6) if run.recipe != best]
    asked = [Question(runs[0].features, runs[0].context, recipe) for recipe in RECIPES]
    ranks = dict(zip(RECIPES, RANKERS[name](runs)(asked).tolist(), strict=True))
    assert ranks[best] > np.median(list(ranks.values()))
    assert RANKERS[AVERAGE](runs)([q for q in asked if q.recipe == best]) == 0.5


def test_a_place_is_among_the_runs_of_its_own_task() -> None:
    low, high = world(1), [replace(run, task_key="other", score=run.score / 10) for run in world(1)]
    places = ranks_by_task([*low, *high])
    assert np.array_equal(places[: len(low)], places[len(low) :])
    assert places.min() > 0
    assert places.max() < 1


def test_a_recipe_tried_once_is_doubted_more_than_one_tried_often() -> None:
    steady, lucky, rest = RECIPES[0], RECIPES[1], RECIPES[2:]
    runs = [make_run(100 * task, task, steady, 0.95) for task in range(6)]
    runs += [make_run(100 * task + n, task, recipe, 0.5) for task in range(6) for n, recipe in enumerate(rest, 1)]
    runs.append(make_run(999, 0, lucky, 0.99))
    steady_rank, lucky_rank = average(runs)([Question(runs[0].features, runs[0].context, r) for r in (steady, lucky)])
    assert steady_rank > lucky_rank


def test_the_average_is_of_the_student_and_teacher_asked_for() -> None:
    runs = world(3)
    asked = Question(runs[0].features, ("another", "large"), runs[0].recipe)
    assert average(runs)([asked]) == 0.5


def test_every_task_weighs_the_same() -> None:
    runs = world(3, share=0.5, seed=3)
    weights = weights_by_task(runs)
    sums = {
        task: sum(w for w, run in zip(weights, runs, strict=True) if run.task == task)
        for task in ("task-0", "task-1", "task-2")
    }
    assert sums["task-0"] == pytest.approx(sums["task-1"]) == pytest.approx(sums["task-2"])
    assert weights.mean() == pytest.approx(1)


def test_nearest_listens_to_tasks_that_are_alike() -> None:
    """Two camps of tasks want opposite things; the features tell to which a new one belongs."""

    def rule(task: int, recipe: Recipe) -> float:
        return added_up(0, recipe) if task % 2 else 2 - added_up(0, recipe)

    camps = (TaskFeatures("regression", False, 10**6, 0, 200.0), TaskFeatures("classes", False, 100, 2, 5.0))
    runs = [replace(run, features=camps[int(run.task[-1]) % 2]) for run in world(6, rule)]
    left = [run for run in runs if run.task == "task-5"]
    rest = [run for run in runs if run.task != "task-5"]
    asked, kept = [question_of(run) for run in left], [run.kept for run in left]
    assert spearmanr(nearest(rest)(asked), kept).statistic > 0.9
    assert spearmanr(choices(rest)(asked), kept).statistic < 0
