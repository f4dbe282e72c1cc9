"""The rank correlation of two rows of numbers, with its p-value and the interval had other points been drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from distill.judging.bootstrap import CONFIDENCE

RESAMPLES = 10_000


@dataclass(frozen=True)
class Correlation:
    """Spearman's, over `points`; the interval is a percentile bootstrap's."""

    rho: float
    p: float
    low: float
    high: float
    points: int

    @property
    def is_shown(self) -> bool:
        """Whether both the interval and the p-value say that there is one."""
        return (self.low > 0 or self.high < 0) and self.p < 1 - CONFIDENCE


def correlate(one: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Correlation | None:
    """None where a row is of one number alone, so that nothing is ranked."""
    pairs = np.array([one, other], np.float64)
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) == 0).any():
        return None
    found = stats.spearmanr(pairs[0], pairs[1])
    drawn = np.random.default_rng(seed).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    resampled = _spearman(pairs[0][drawn], pairs[1][drawn])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Correlation(float(found.statistic), float(found.pvalue), float(low), float(high), pairs.shape[1])


def _spearman(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row, (R, n) each -> (R,); NaN where a resample is of one number alone."""
    ranks = [stats.rankdata(each, axis=1) for each in (one, other)]
    ours, theirs = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    spread = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum(axis=1))
    rho = np.full(len(spread), np.nan)
    np.divide((ours * theirs).sum(axis=1), spread, out=rho, where=spread > 0)
    return rho
