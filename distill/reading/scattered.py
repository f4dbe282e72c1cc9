"""Scattered values: an array of which little is known, such as the gold labels among a transfer set's texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scattered:
    """`values[i]` stands at `places[i]`, which ascend; everywhere else stands `elsewhere`. Read as an array is."""

    places: npt.NDArray[np.int64]
    values: npt.NDArray[Any]
    elsewhere: float  # of the values' own type

    def __getitem__(self, at: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        found = np.full(len(at), self.elsewhere, self.values.dtype)
        place = np.searchsorted(self.places, at)
        known = place < len(self.places)
        known[known] = self.places[place[known]] == at[known]
        found[known] = self.values[place[known]]
        return found
