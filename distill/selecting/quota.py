"""The quota: how many texts of each class are kept, and which: those with the highest scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def level(counts: Numbers, total: int) -> Numbers:
    """How many to take of each class, (C,) -> (C,): `total` together, or all there are, as evenly as they allow.

    Nobody who has fewer than another takes fewer than it could. What does not go round goes to the first classes.
    """
    ascending, classes = np.sort(counts), len(counts)
    before = np.cumsum(ascending) - ascending
    fitting = before + ascending * np.arange(classes, 0, -1)  # what all take, if none takes more than this class has
    full = int(np.searchsorted(fitting, total, side="right"))  # classes that give all they have
    if full == classes:
        return counts.copy()
    height, rest = divmod(total - int(before[full]), classes - full)
    quota = np.minimum(counts, height)
    quota[np.flatnonzero(counts > height)[:rest]] += 1
    return quota


def best(scores: npt.NDArray[np.float64], total: int, classes: Numbers | None = None) -> Numbers:
    """The texts with the highest scores, `total` of them, (n,) -> ascending; of equal ones those that stand first.

    With `classes` (n,) each class has its quota.
    """
    if classes is None:
        return np.sort(np.argsort(-scores, kind="stable")[:total])
    order = np.lexsort((-scores, classes))  # stable: by class, then highest first
    _, starts, counts = np.unique(classes[order], return_index=True, return_counts=True)
    places = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[places < np.repeat(level(counts, total), counts)])


def so_many(share: float, of: int) -> int:
    """A share of them, at least one where there is one."""
    return min(of, max(1, round(share * of)))
