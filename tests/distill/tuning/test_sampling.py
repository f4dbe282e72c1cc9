"""How trials are chosen: by seed and history alone, whichever process asks and in whatever order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.tuning.sampling import REDUCTION, SamplerName, SeededByTrial, make_pruner, rungs_of

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_of(name: SamplerName, seed: int = 0) -> Any:
    return optuna.create_study(direction="maximize", sampler=SeededByTrial(name, seed))


def ask(study: Any) -> tuple[Any, dict[str, Any]]:
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    if trial.suggest_categorical("loss", ["none", "pkd"]) == "pkd":
        trial.suggest_float("weight", 0.0, 1.0)
    return trial, trial.params


def value_of(params: dict[str, Any]) -> float:
    return float(-abs(params["rate"] - 3e-3) + (params["loss"] == "pkd") * 1e-3 + params.get("weight", 0) * 1e-3)


def points(study: Any, number: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(number):
        trial, params = ask(study)
        study.tell(trial, value_of(params))
        found.append(params)
    return found


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_same_seed_gives_the_same_points_and_another_others(name: SamplerName) -> None:
    first, again, other = (points(study_of(name, seed), 14) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({str(point) for point in first}) == 14, "no point twice"


@pytest.mark.parametrize("name", ["tpe", "random"])
@pytest.mark.parametrize("stop", [1, 9, 12])
def test_a_study_opened_again_goes_on_as_if_it_had_not_been_closed(name: SamplerName, stop: int) -> None:
    whole = points(study_of(name), 14)
    begun = study_of(name)
    assert points(begun, stop) == whole[:stop]
    begun.sampler = SeededByTrial(name, 0)  # another process
    assert points(begun, 14 - stop) == whole[stop:]


def test_settings_asked_in_another_order_get_the_same_values() -> None:
    first, second = study_of("random").ask(), study_of("random").ask()
    one = [first.suggest_float("a", 0, 1), first.suggest_float("b", 0, 1)]
    other = [second.suggest_float("b", 0, 1), second.suggest_float("a", 0, 1)]
    assert one == other[::-1]
    assert one[0] != one[1]


def test_tpe_comes_nearer_than_chance() -> None:
    def mean(name: SamplerName) -> float:
        return sum(value_of(point) for point in points(study_of(name), 40)[20:]) / 20

    assert mean("tpe") > mean("random")


@given(st.integers(0, 10_000))
def test_rungs_lie_within_the_updates_each_a_multiple_of_the_one_before(updates: int) -> None:
    rungs = rungs_of(updates)
    assert all(1 <= rung <= updates for rung in rungs)
    assert all(after == before * REDUCTION for before, after in pairwise(rungs))
    assert bool(rungs) == bool(updates)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_the_worst_is_given_up_and_the_best_is_not(name: Any) -> None:
    rungs = rungs_of(90)
    study = optuna.create_study(
        direction="maximize", pruner=make_pruner(name, rungs), sampler=SeededByTrial("random", 0)
    )
    gone: list[int] = []
    whole: list[int] = []
    for number in range(20):
        trial, quality = study.ask(), 7 * number % 10
        is_gone = False
        for rung in rungs:
            trial.report(quality, rung)
            is_gone = is_gone or trial.should_prune()
        if is_gone:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, quality)
        (gone if is_gone else whole).append(quality)
    assert len(gone) >= 5
    assert 9 not in gone
    assert sum(gone) / len(gone) < sum(whole) / len(whole)


def test_without_a_pruner_nothing_is_given_up() -> None:
    study = optuna.create_study(pruner=make_pruner("none", (1, 3, 9)))
    trial = study.ask()
    trial.report(1e9, 9)
    assert not trial.should_prune()
