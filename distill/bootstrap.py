"""The paired bootstrap: how far a difference between arms would move, had other test rows been drawn (Efron 1979)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
# With fewer rows on which two arms differ no paired test reaches 5 %: five heads in a row have probability 1/16.
DECISIVE_ROWS = 6
_DECIMALS = 12  # so that the rounding of a sum is not taken for a difference
_CHUNK_DRAWS = 4_000_000  # draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """A mean and the 95 % percentile interval of its resampled values."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of two means over the same rows; `rows` is how many rows the two differ on."""

    interval: Interval
    rows: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval, and the number of rows behind it, support that there is a difference."""
        excludes_zero = self.interval.low > 0 or self.interval.high < 0
        return excludes_zero and self.rows >= DECISIVE_ROWS


@dataclass(frozen=True, eq=False)
class Resamples:
    """Scores per row and column (rows, columns), and the columns' means over resampled rows (resamples, columns).

    All columns see the same draws: that is what pairs them.
    """

    scores: np.ndarray
    means: np.ndarray

    def mean(self, column: int) -> Interval:
        return _interval(float(self.scores[:, column].mean()), self.means[:, column])

    def difference(self, column: int, other: int) -> Difference:
        """`column` minus `other`."""
        rows = self.scores[:, column] - self.scores[:, other]
        interval = _interval(float(rows.mean()), self.means[:, column] - self.means[:, other])
        return Difference(interval, int(np.count_nonzero(np.round(rows, _DECIMALS))))


def resample(scores: np.ndarray, *, resamples: int, seed: int) -> Resamples:
    """Draw rows with replacement, as many as there are, `resamples` times; the draws depend on rows and seed alone."""
    rows = len(scores)
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, scores.shape[1]))
    chunk = max(1, _CHUNK_DRAWS // rows)
    for start in range(0, resamples, chunk):
        many = min(chunk, resamples - start)
        drawn = draw.integers(0, rows, (many, rows), dtype=np.int32)
        drawn += (np.arange(many, dtype=np.int32) * rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=many * rows).reshape(many, rows)
        means[start : start + many] = weights @ scores / rows
    return Resamples(scores, means)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.round(resampled, _DECIMALS), [tail, 1 - tail])
    return Interval(value, float(low), float(high))
