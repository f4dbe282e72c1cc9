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
