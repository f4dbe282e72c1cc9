"""Recommendations: the best first, with what is known of it, and no more said than the evidence supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from contract.errors import BadInput
from distill.recommending.answer import recommendation_to_json, verdict
from distill.recommending.evidence import Run, boards_of, merged
from distill.recommending.leave_one_out import judge
from distill.recommending.ranking import choices
from distill.recommending.recipe import NO_DISTILLATION, Recipe
from distill.recommending.recommendation import Advice, Asked, recommend
from distill.recommending.task_features import TaskFeatures
from tests.distill.evidence_for_tests import RECIPES, added_up, make_run, world

ASKED = Asked(TaskFeatures("classes", False, 2000, 3, 11.0, 0.3, 1.0))


def advised(runs: Sequence[Run], asked: Asked = ASKED, places: int = 5) -> list[Advice]:
    boards = boards_of(merged(runs))
    judgements = {
        name: judge(board, progress=lambda *said: None, learned={"choices": choices}) for name, board in boards.items()
    }
    return recommend(asked, boards, judgements, places)


def test_the_best_recipe_stands_first_with_what_it_keeps() -> None:
    (advice,) = advised(world(6))
    best = max(RECIPES, key=lambda recipe: added_up(0, recipe))
    assert advice.recipes[0].recipe == best
    assert [each.place for each in advice.recipes] == [1, 2, 3, 4, 5]
    kept = [each.kept.value for each in advice.recipes]
    assert kept == sorted(kept, reverse=True)
    for each in advice.recipes:
        assert each.kept.low <= each.kept.value <= each.kept.high
        assert each.tasks == 6
        assert (each.cost.seconds, each.cost.updates) == (None, None)


def test_the_evidence_shown_is_of_the_recipe_and_the_nearest_task_comes_first() -> None:
    (advice,) = advised(world(6))
    for each in advice.recipes:
        assert all(found.run.recipe == each.recipe for found in each.evidence)
        assert each.evidence[0].run.task == "task-1"  # 2,000 rows and 3 classes, as asked
        assert [found.unlikeness for found in each.evidence] == sorted(found.unlikeness for found in each.evidence)


def test_of_seeds_of_one_task_one_is_shown_before_the_other_tasks() -> None:
    runs = world(4)
    again = [replace(run, run=f"again-{run.run}", seed=1) for run in runs]
    (advice,) = advised([*runs, *again])
    assert len({found.run.task for found in advice.recipes[0].evidence}) == 3


def test_few_tasks_give_a_range_and_say_so() -> None:
    (advice,) = advised(world(3))
    assert advice.recipes[0].kept.means == "range over 3 tasks"
    assert "no intervals but a range over 3 tasks" in " ".join(verdict(advice))
    assert "best on average" in verdict(advice)[0]


def test_many_tasks_give_intervals_with_the_coverage_that_was_measured() -> None:
    (advice,) = advised(world(8, noise=0.01))
    assert advice.recipes[0].gain.means == "80 % interval"
    assert advice.judgement.margins.gain_coverage is not None
    assert any("held" in sentence for sentence in verdict(advice))


def test_four_tasks_give_intervals_whose_coverage_is_not_known() -> None:
    (advice,) = advised(world(4, noise=0.01))
    assert advice.recipes[0].kept.means == "80 % interval"
    assert any("takes one more task to measure" in sentence for sentence in verdict(advice))


def test_where_nothing_beats_the_average_the_user_is_told_so() -> None:
    (advice,) = advised(world(6, lambda task, recipe: 0.8, noise=0.05, seed=1))
    assert "does not beat “best on average”" in verdict(advice)[0]
    assert "not told apart from chance" in verdict(advice)[1]
    answer = recommendation_to_json("t", ASKED, [advice])
    assert answer["boards"][0]["beats_best_on_average"] is False


def test_a_run_without_distillation_makes_up_for_nothing_by_definition() -> None:
    plain = Recipe(retriever=NO_DISTILLATION)
    runs = [make_run(9000 + task, task, plain, 0.7, "transferset") for task in range(3)]
    runs += world(3, board="transferset")
    (advice,) = advised(runs, places=99)
    found = {each.recipe: each.distillation_ratio for each in advice.recipes}
    assert found[plain] is not None
    assert found[plain].value == 0  # type: ignore[union-attr]
    first = advice.recipes[0].distillation_ratio
    assert first is not None
    assert first.value > 0.5


def test_another_student_is_answered_from_its_own_runs_and_an_unknown_one_with_those_there_are() -> None:
    runs = [
        *world(3),
        *(replace(run, run=f"s{run.run}", student="tiny", score=run.score - 0.2) for run in world(3)[:20]),
    ]
    (advice,) = advised(runs, replace(ASKED, student="tiny"))
    assert advice.context == ("tiny", "large")
    with pytest.raises(BadInput, match=r"No run has the student 'huge'.*small, tiny"):
        advised(runs, replace(ASKED, student="huge"))


def test_runs_on_the_very_task_are_told_of() -> None:
    runs = world(3)
    (advice,) = advised(runs, Asked(ASKED.features, "key-1"))
    assert advice.knows_the_task
    (advice,) = advised(runs, Asked(runs[0].features))
    assert advice.knows_the_task
    assert not advised(runs)[0].knows_the_task or ASKED.features in {run.features for run in runs}


def test_runs_at_other_shots_are_told_of() -> None:
    runs = [replace(run, shots=10) for run in world(3)]
    assert advised(runs)[0].other_shots == (10,)
    assert advised(runs, replace(ASKED, shots=10))[0].other_shots == ()
