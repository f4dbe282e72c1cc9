"""Answers: a sentence claims what the intervals and all seeds support, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.store import Store
from experiments.answer import Answered, answers_of, sentence_of
from experiments.compared import compare_results
from experiments.experiment import Claim, Experiment, PlannedRun
from experiments.results import results_table
from tests.distill.runs import keep_run, make_predictions, make_report

ARMS = {
    "no distillation": (0.70, 0.70),
    "retrieved": (0.80, 0.81),
    "near": (0.795, 0.80),
    "torn": (0.95, 0.75),  # far better with one seed, worse with the other
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Experiment]:
    """Arms with two seeds each."""
    store = Store(tmp_path / "artifacts")
    runs = []
    for arm, scores in ARMS.items():
        for seed, score in enumerate(scores):
            name = f"c-{arm.replace(' ', '-')}-{seed}"
            drawn = seed + 10 * (arm == "near")  # of one draw, what is right with a lower score is right with a higher
            keep_run(store, make_report(name, arm, seed), make_predictions(score, seed=drawn, shuffled=True))
            runs.append(PlannedRun("c", arm, seed, ("distill", "RUN.toml", "--name", name)))
    monkeypatch.setattr("experiments.results.is_finished", lambda store, run: run.name in store.names("run"))
    return store, Experiment("shown", "Which is best?", "no distillation", ("accuracy",), tuple(runs))


def answered(world: tuple[Store, Experiment], arm: str, *than: str) -> Answered:
    store, experiment = world
    experiment = replace(experiment, claims=(Claim(arm, than),))
    (answer,) = answers_of(compare_results(store, experiment, results_table(store, experiment)))
    return answer


def test_what_is_told_apart_is_better_or_worse(world: tuple[Store, Experiment]) -> None:
    assert sentence_of(answered(world, "retrieved", "no distillation")) == (
        "“retrieved” is better than no distillation."
    )
    assert sentence_of(answered(world, "no distillation", "retrieved")) == (
        "“no distillation” is worse than retrieved."
    )


def test_what_the_rows_do_not_tell_apart_is_not_called_better(world: tuple[Store, Experiment]) -> None:
    assert sentence_of(answered(world, "retrieved", "near")) == "“retrieved” is not told apart from near."


def test_what_the_seeds_do_not_agree_on_is_not_called_better(world: tuple[Store, Experiment]) -> None:
    found = answered(world, "torn", "retrieved")
    (duel,) = found.duels
    assert duel.interval.low > 0  # the rows alone would call it better
    assert duel.verdict == "not told apart"


def test_each_rival_has_its_say(world: tuple[Store, Experiment]) -> None:
    told = sentence_of(answered(world, "retrieved", "no distillation", "near"))
    assert told == "“retrieved” is better than no distillation and not told apart from near."


def test_without_runs_there_is_no_answer(world: tuple[Store, Experiment]) -> None:
    assert sentence_of(answered(world, "retrieved", "augmented")).startswith("Not answered yet")
    assert sentence_of(answered(world, "augmented", "retrieved")).startswith("Not answered yet")
