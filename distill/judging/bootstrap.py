"""The paired bootstrap: how far a difference between arms would move, had other test rows been drawn (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
# With fewer rows on which two arms differ no paired test reaches 5 %: five heads in a row have probability 1/16.
DECISIVE_ROWS = 6
_DECIMALS = 12  # so that the rounding of a sum is not taken for a difference
_CHUNK_DRAWS = 4_000_000  # draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """A score and the 95 % percentile interval of its resampled values."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of two scores over the same rows; `rows` is how many rows the two differ on."""

    interval: Interval
    rows: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval, and the number of rows behind it, support that there is a difference."""
        excludes_zero = self.interval.low > 0 or self.interval.high < 0
        return excludes_zero and self.rows >= DECISIVE_ROWS


@dataclass(frozen=True, eq=False)
class Column:
    """One thing that is scored: `measure` gives a score for each row of weights (R, n), from rows' `evidence` (n, k).

    Where the evidence of two columns is the same, no weight of that row can tell them apart.
    """

    measure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
    evidence: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resamples:
    """The columns' scores (columns,), and their scores over resampled rows (resamples, columns).

    All columns see the same draws: that is what pairs them.
    """

    columns: Sequence[Column]
    scores: np.ndarray
    drawn: np.ndarray

    def score(self, column: int) -> Interval:
        return _interval(float(self.scores[column]), self.drawn[:, column])

    def difference(self, column: int, other: int) -> Difference:
        """`column` minus `other`."""
        interval = _interval(
            float(self.scores[column] - self.scores[other]), self.drawn[:, column] - self.drawn[:, other]
        )
        between = np.round(self.columns[column].evidence - self.columns[other].evidence, _DECIMALS)
        return Difference(interval, int(np.count_nonzero(between.any(axis=1))))


def resample(columns: Sequence[Column], *, resamples: int, seed: int) -> Resamples:
    """Draw rows with replacement, as many as there are, `resamples` times; the draws depend on rows and seed alone."""
    rows = len(columns[0].evidence)
    whole = np.array([column.measure(np.ones((1, rows)))[0] for column in columns])
    drawn = [
        np.stack([column.measure(weights) for column in columns], axis=1) for weights in _draws(rows, resamples, seed)
    ]
    return Resamples(columns, whole, np.concatenate(drawn))


def _draws(rows: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each row was drawn, (many, rows), in chunks that fit in memory."""
    draw = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_DRAWS // rows)
    for start in range(0, resamples, chunk):
        many = min(chunk, resamples - start)
        drawn = draw.integers(0, rows, (many, rows), dtype=np.int32)
        drawn += (np.arange(many, dtype=np.int32) * rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=many * rows).reshape(many, rows).astype(np.float64)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.round(resampled, _DECIMALS), [tail, 1 - tail])
    return Interval(value, float(low), float(high))
