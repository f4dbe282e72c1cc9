"""A study's history in Optuna's words, read as ours: its trials, and how much each setting mattered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from distill.tuning.outcome import State, Trial
from distill.tuning.search_space import Parameter, Space, label_of

FEWEST = 6  # complete trials, below which importances say nothing at all
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def trials_of(found: Sequence[FrozenTrial], space: Space) -> tuple[Trial, ...]:
    """The trials that are over, in their order."""
    return tuple(_trial(each, space) for each in sorted(found, key=lambda t: t.number) if each.state in _STATES)


def importances_of(trials: Sequence[Trial], space: Space, *, seed: int) -> dict[str, float] | None:
    """Shares of the value's variance over the space, by fANOVA (Hutter et al. 2014), largest first, adding up to 1.

    Complete trials alone count. A setting that means nothing in a trial counts there as its first choice or lowest
    value: all settings get a share, those of few trials a small one. None with too few trials, or all of one value.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if len(complete) < FEWEST or len({trial.value for trial in complete}) < 2:
        return None
    distributions = {parameter.key: _distribution(parameter) for parameter in space.parameters}
    several = {key: one for key, one in distributions.items() if not one.single()}
    if not several:
        return None
    study = optuna.create_study(direction="maximize")
    for trial in complete:
        params = {p.key: _label(p, trial.params) for p in space.parameters if p.key in several}
        study.add_trial(optuna.create_trial(params=params, distributions=several, value=trial.value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {key: round(float(share), 4) for key, share in sorted(found.items(), key=lambda each: (-each[1], each[0]))}


def _label(parameter: Parameter, params: Mapping[str, Any]) -> Any:
    value = params.get(parameter.key, parameter.choices[0] if parameter.choices else parameter.low)
    return label_of(value) if parameter.choices else value


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices:
        return CategoricalDistribution([label_of(choice) for choice in parameter.choices])
    if parameter.is_whole:
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _trial(found: FrozenTrial, space: Space) -> Trial:
    result = found.user_attrs.get("result", {"seconds": 0.0, "updates": 0})
    metrics = {name: _finite(value) for name, value in result.get("metrics", {}).items()}
    named = {parameter.key: parameter for parameter in space.parameters}
    params = {key: named[key].meant(found.params[key]) for key in sorted(found.params) if key in named}
    return Trial(
        number=found.number,
        state=_STATES[found.state],
        value=_finite(found.value) if found.values else None,
        params=params,
        metrics=metrics,
        **{name: value for name, value in result.items() if name != "metrics"},
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
