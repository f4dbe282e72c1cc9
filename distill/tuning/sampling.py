"""How trials are chosen and given up: Optuna's samplers and pruners, made to follow from seed and history.

A sampler is seeded anew for every trial, by the study's seed and the trial's number: a study that was killed goes on
as if it had not been.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["asha", "hyperband", "none"]

_NOTE = "completed_rung_"  # Optuna's successive halving keeps what a trial reached at a rung under this
REDUCTION = 2  # of a rung's trials half go on to the next
RUNGS = 2  # the first at a quarter of the updates: before, with the rate still warming up, all are at chance


def rungs_of(updates: int) -> tuple[int, ...]:
    """After how many of at most so many updates a trial is looked at: a quarter, a half."""
    first = max(1, updates // REDUCTION**RUNGS)
    return tuple(sorted({first * REDUCTION**rung for rung in range(RUNGS)} & set(range(updates + 1))))


def make_pruner(name: PrunerName, rungs: tuple[int, ...]) -> BasePruner:
    if name == "none" or not rungs:
        return NopPruner()
    if name == "hyperband":
        return HyperbandPruner(min_resource=rungs[0], max_resource=rungs[-1], reduction_factor=REDUCTION)
    return SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=REDUCTION)


def gives_up(study: optuna.Study, number: int) -> bool:
    """Whether the pruner gives up this trial at its last look: what it said then, or would have said.

    A worker may die between a look and what follows from it. What the pruner noted at that look is left out, or the
    trial would be set against itself; and noted again, for the trials after it.
    """
    trials = study.get_trials()
    trial = trials[number]
    if trial.last_step is None:
        return False
    seen = trial.intermediate_values[trial.last_step]
    notes = {key: value for key, value in trial.system_attrs.items() if key.startswith(_NOTE)}
    trial.system_attrs = {key: v for key, v in trial.system_attrs.items() if key not in notes or v != seen}
    as_then = optuna.create_study(study_name=study.study_name, direction=study.direction)
    as_then.add_trials(trials)
    lags: bool = study.pruner.prune(as_then, as_then.get_trials()[number])
    for key, value in as_then.get_trials()[number].system_attrs.items():
        if key not in notes and key.startswith(_NOTE):
            study._storage.set_trial_system_attr(trial._trial_id, key, value)
    return lags


class SeededByTrial(BaseSampler):
    """A sampler whose draws depend on the seed, the trial's number, and the trials before it."""

    def __init__(self, name: SamplerName, seed: int) -> None:
        self._name = name
        self._seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space: dict[str, BaseDistribution] = self._seeded(trial, "").infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        point: dict[str, Any] = self._seeded(trial, "").sample_relative(study, trial, search_space)
        return point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._seeded(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _seeded(self, trial: FrozenTrial, what: str) -> BaseSampler:
        drawn = hashlib.sha256(f"{self._seed} {trial.number} {what}".encode()).digest()
        seed = int.from_bytes(drawn[:4], "big")
        return TPESampler(seed=seed) if self._name == "tpe" else RandomSampler(seed=seed)
