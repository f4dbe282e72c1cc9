"""Giving up again: a worker that dies between a trial's look and its end changes nothing of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.store import Store
from distill.config import RunConfig, make_config
from distill.tuning.outcome import read_study
from distill.tuning.sampling import PrunerName, gives_up, make_pruner
from distill.tuning.search_space import make_space, raw_settings
from distill.tuning.study import run_study
from distill.tuning.validation import Validation
from tests.distill.tuning.world import make_search_world, options

RUNGS = (4, 8)
looks = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=12)


def history(values: list[tuple[float, float]], pruner: PrunerName, *, noted: bool) -> list[tuple[list[bool], Any]]:
    """What the pruner says of trials in turn, each asked again; where not `noted` it was not asked before."""
    study = optuna.create_study(study_name="s", direction="maximize", pruner=make_pruner(pruner, RUNGS))
    said = []
    for of_trial in values:
        trial = study.ask()
        answers: list[bool] = []
        for rung, value in zip(RUNGS, of_trial, strict=True):
            trial.report(value, rung)
            first = trial.should_prune() if noted else gives_up(study, trial.number)
            assert gives_up(study, trial.number) == first, "asked again it says what it said"
            answers.append(first)
            if first:
                break
        study.tell(
            trial, state=optuna.trial.TrialState.PRUNED if answers[-1] else None, values=None if answers[-1] else 1
        )
        said.append((answers, study.get_trials()[trial.number].system_attrs))
    return said


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "none"])
@given(looks)
@settings(max_examples=25, deadline=None)
def test_a_look_asked_again_has_the_answer_it_had_or_would_have_had(
    pruner: PrunerName, values: list[tuple[float, float]]
) -> None:
    """Died after the pruner's note, or before it: what it says is the same, and what is noted for later trials too."""
    assert history(values, pruner, noted=True) == history(values, pruner, noted=False)


def searched(store: Store, config: RunConfig) -> tuple[str, list[str]]:
    raw = raw_settings(config)
    config = make_config({**raw, "distill": {**raw["distill"], "updates": 24}})
    space = make_space({"space": {"distill.learning_rate": {"low": 1e-5, "high": 5e-2, "log": True}}}, raw)
    made = run_study(store, "s", config, space, Validation("valid"), options(trials=5))
    return made.id, [trial.state for trial in read_study(made.directory).trials]


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.slow
@pytest.mark.parametrize("noted", [False, True])
def test_a_death_between_a_rungs_report_and_its_pruning_leaves_the_same_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    whole, states = searched(*make_search_world(tmp_path / "whole"))
    assert "pruned" in states, "or this test tests nothing"
    world = make_search_world(tmp_path / "killed")
    asks, deaths = optuna.Trial.should_prune, []

    def dying(trial: optuna.Trial) -> bool:
        told = asks(trial) if noted else False
        if not deaths and (told or not noted) and trial.number in {n for n, s in enumerate(states) if s == "pruned"}:
            deaths.append(trial.number)
            raise Killed
        return told or asks(trial)

    monkeypatch.setattr(optuna.Trial, "should_prune", dying)
    with pytest.raises(Killed):
        searched(*world)
    assert deaths
    assert searched(*world) == (whole, states)
