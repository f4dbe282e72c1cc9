"""The effect: how large a difference of two arms is, beside what is left to gain and beside the luck of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from distill.judging.metrics import Metric


@dataclass(frozen=True)
class Effect:
    """An arm against the baseline. Both are positive where the arm is better.

    `errors_removed` is the share of the baseline's errors that it does not make. `by_seeds` is Hedges' g: the
    difference of the means over the deviation of a seed, less where seeds are few. None where it cannot be said.
    """

    errors_removed: float | None
    by_seeds: float | None


def effect_of(metric: Metric, arm: Sequence[float], base: Sequence[float]) -> Effect:
    """The effect of the scores of an arm's seeds beside those of the baseline's."""
    sign = -1.0 if metric.is_error else 1.0
    gained = sign * (float(np.mean(arm)) - float(np.mean(base)))
    left = float(np.mean(base)) if metric.is_error else 1 - float(np.mean(base))
    return Effect(gained / left if left > 0 else None, _hedges(gained, arm, base))


def _hedges(gained: float, arm: Sequence[float], base: Sequence[float]) -> float | None:
    """Hedges 1981; None with one seed an arm, or where no seed differs."""
    freedom = len(arm) + len(base) - 2
    if min(len(arm), len(base)) < 2:
        return None
    squares = sum((len(scores) - 1) * float(np.var(scores, ddof=1)) for scores in (arm, base))
    if squares <= 0:
        return None
    return gained / sqrt(squares / freedom) * (1 - 3 / (4 * freedom - 1))
