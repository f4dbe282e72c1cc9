"""The threshold: the probability below which a text is out of scope, chosen on rows neither learnt nor tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

THRESHOLD = "out_of_scope_threshold"  # in the config.json of a student

Floats = npt.NDArray[np.float64]
Scopes = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """What a threshold does: the share of the rows in scope that stay, and of those out of it that are caught."""

    in_scope: float
    out_of_scope: float


def choose_threshold(confidence: Floats, in_scope: Scopes) -> float:
    """The threshold at which the mean of both shares is highest, the lowest of equals, (rows,) each.

    How many rows are out of scope in a split says little of how many will be in use; so neither side outweighs the
    other. There must be rows of both.
    """
    tried = np.unique(confidence)
    inside, outside = np.sort(confidence[in_scope]), np.sort(confidence[~in_scope])
    lost, caught = (np.searchsorted(rows, tried, side="left") for rows in (inside, outside))
    parted = caught * len(inside) - lost * len(outside)  # in whole numbers: shares that are equal stay so
    return float(tried[np.argmax(parted)])


def kept_by(threshold: float, confidence: Floats, in_scope: Scopes) -> Kept:
    """What it does on these rows."""
    stays = confidence >= threshold
    return Kept(float(stays[in_scope].mean()), float(1 - stays[~in_scope].mean()))
