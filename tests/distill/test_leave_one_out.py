"""Leaving out tasks: what was left out is not looked at, and a ranker is used only where it beat the average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from contract.errors import CorruptArtifact
from distill.recommending.evidence import Run, identity
from distill.recommending.judgement import Difference, read_judgements, write_judgements
from distill.recommending.leave_one_out import LEARNT, RANDOM, Folds, Tried, judge, swapped_p, usual_context
from distill.recommending.ranking import AVERAGE, Answer, Question, Ranker, average, choices, question_of
from tests.distill.evidence_for_tests import RECIPES, added_up, make_run, world


def quiet(stage: str, done: int, total: int | None) -> None:
    pass


def spy(seen: list[set[str]]) -> Ranker:
    def ranker(runs: Sequence[Run]) -> Answer:
        seen.append({run.task_key for run in runs})
        return lambda asked: np.zeros(len(asked))

    return ranker


@pytest.mark.parametrize("tasks", [4, 13])
def test_no_ranker_sees_the_task_it_ranks_nor_the_one_it_is_judged_without(tasks: int) -> None:
    runs, seen = world(tasks), list[set[str]]()
    folds = Folds(runs, {"spy": spy(seen), "average": average}, quiet)
    assert all(len(each) < tasks for each in seen)
    assert len(seen) <= 55  # pairs of ten groups, however many tasks
    for task in folds.tasks:
        for without in folds.tasks:
            left = {run.task_key for run in folds.left(task, without)}
            assert not left & {task, without}
            expected = average(folds.left(task, without))([question_of(run) for run in folds.by_task[task]])
            assert np.array_equal(folds.ranks("average", task, without), expected)


def test_where_recipes_are_new_to_every_task_a_learned_ranker_beats_the_average_and_is_used() -> None:
    """Of no recipe is there a second task, so that the average knows nothing; choices repeat."""
    many = [replace(recipe, alpha=alpha) for recipe in RECIPES for alpha in (0.1, 0.5, 0.9)]
    runs = []
    for task in range(8):
        for number, recipe in enumerate(np.random.default_rng(task).permutation(len(many))[:20].tolist()):
            named = replace(many[recipe], temperature=float(100 * task + number))
            kept = 0.8 + 0.1 * (named.intermediate == "mi-alpha") + 0.05 * named.mixup + 0.01 * (named.alpha or 0)
            runs.append(make_run(100 * task + number, task, named, kept))
    found = judge(runs, progress=quiet, learned={"choices": choices})
    assert found.uses == "choices"
    assert found.against_average is not None
    assert found.against_average.high < 0


def test_where_nothing_can_be_learnt_the_average_is_used_and_said_not_to_be_beaten() -> None:
    found = judge(world(6, lambda task, recipe: 0.8, noise=0.05), progress=quiet, learned={"choices": choices})
    assert found.uses == AVERAGE
    assert found.against_average is not None
    assert found.against_average.high >= 0


def test_too_few_tasks_are_not_judged() -> None:
    for tasks in (1, 2, 3):
        found = judge(world(tasks), progress=quiet, learned={"choices": choices})
        assert (found.uses, found.learned, found.against_average, found.margins.kept) == (AVERAGE, None, None, None)
    assert judge(world(5), progress=quiet, learned={"choices": choices}).against_average is None


def test_swaps_that_go_as_far_are_counted() -> None:
    values = np.array([1.0, 2.0, -0.5, 3.0, 1.5, 0.2])
    brute = np.mean([abs(np.dot(signs, values)) >= values.sum() - 1e-9 for signs in product((-1, 1), repeat=6)])
    assert swapped_p(values, 0) == pytest.approx(brute)
    assert swapped_p(-values, 0) == swapped_p(values, 0)
    assert swapped_p(np.ones(6), 0) == 2 / 64
    assert swapped_p(np.tile(values, 3), 0) < 0.01


@pytest.mark.slow
def test_of_noise_the_average_is_rarely_said_to_beat_chance() -> None:
    """The whole way without learned rankers, on worlds in which no recipe is better than another."""
    found = [
        judge(world(7, lambda task, recipe: 0.8, noise=0.05, seed=seed), progress=quiet, learned={"average": average})
        for seed in range(60)
    ]
    differences = [each.against_random for each in found if each.against_random is not None]
    assert len(differences) == 60
    assert sum(each.is_better for each in differences) <= 5
    assert abs(np.mean([each.value for each in differences])) < 0.5


def test_the_task_that_judges_is_not_among_those_that_choose() -> None:
    """A ranker that is right on the last task only, where most can be lost, would be chosen by whoever looked there."""
    runs = world(5, lambda task, recipe: 0.5 + (20 if task == 4 else 1) * (added_up(0, recipe) - 0.8) / 10)

    def right_on_the_last(train: Sequence[Run]) -> Answer:
        return lambda asked: np.array([_truth(runs, q) * (1 if q.features.classes == 6 else -1) for q in asked])

    def right_on_others(train: Sequence[Run]) -> Answer:
        return lambda asked: np.array([_truth(runs, q) * (-1 if q.features.classes == 6 else 1) for q in asked])

    found = judge(runs, progress=quiet, learned={"last": right_on_the_last, "others": right_on_others})
    by_task = {task.task: task for task in found.tasks}
    assert by_task["task-4"].chosen == "others"
    assert by_task["task-4"].spearman[LEARNT] == pytest.approx(-1)
    assert found.learned == "last"  # which looks at all of them


@pytest.mark.parametrize(("high", "p", "said"), [(-0.1, 0.04, True), (-0.1, 0.06, False), (0.1, 0.04, False)])
def test_a_difference_needs_both_its_interval_and_its_swaps(high: float, p: float, said: bool) -> None:
    assert Difference(-0.5, -1.0, high, p).is_better is said


def _truth(runs: Sequence[Run], question: Question) -> float:
    return next(run.kept for run in runs if question_of(run) == question)


def test_random_regret_is_the_mean_over_all_picks() -> None:
    kept = np.random.default_rng(0).random(7)
    tried = Tried(kept, np.zeros(7))
    brute = np.mean([kept.max() - kept[list(picks)].max() for picks in combinations(range(7), 3)])
    assert tried.random_regret(3) == pytest.approx(100 * brute)


def test_a_perfect_order_has_no_regret_and_the_reverse_has_the_most() -> None:
    kept = np.random.default_rng(0).random(9)
    assert Tried(kept, kept).regret(1) == 0
    assert Tried(kept, -kept).regret(1) == pytest.approx(100 * (kept.max() - kept.min()))
    assert Tried(kept, kept).regret(9) is None


def test_the_usual_context_has_the_most_tasks_before_the_most_runs() -> None:
    many = [replace(run, run=f"m{n}", student="tiny") for n, run in enumerate(world(1) * 9)]
    assert usual_context([*world(3), *many]) == ("small", "large")


def test_a_judgement_reads_back_as_it_was_written(tmp_path: Path) -> None:
    runs = world(5, noise=0.01)
    found = judge(runs, progress=quiet, learned={"choices": choices}, beside={"average again": average})
    write_judgements([found], tmp_path / "j.json")
    assert read_judgements(tmp_path / "j.json") == {identity(runs): found}
    assert found.mean("regret_of_five", RANDOM) is not None


def test_no_judgements_are_where_no_file_is_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    assert read_judgements(tmp_path / "j.json") == {}
    (tmp_path / "j.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorruptArtifact, match="remove it"):
        read_judgements(tmp_path / "j.json")
