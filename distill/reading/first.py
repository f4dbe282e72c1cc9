"""The first of each: which of many hashes stand where they are met for the first time, some of them at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PART = 1 << 22  # hashes compared at a time: 64 MB of them, and as much again to sort them
_LOOK = 1 << 20  # hashes looked at at a time


def first_of_each(hashes: npt.NDArray[np.uint64], part: int = PART) -> npt.NDArray[np.bool_]:
    """Whether each of the hashes (n, 2) is the first of its value, (n,). They may lie on a disk.

    Equal ones are in one part, which is chosen by the hash itself, so that each part is looked through alone.
    """
    first = np.zeros(len(hashes), bool)
    parts = np.uint64(len(hashes) // part + 1)
    for number in range(int(parts)):
        rows = _rows_of(hashes, parts, np.uint64(number))
        some = hashes[rows]
        order = np.lexsort((some[:, 1], some[:, 0]))  # equal ones stay in their order
        some = some[order]
        is_new = np.ones(len(some), bool)
        is_new[1:] = (some[1:] != some[:-1]).any(axis=1)
        first[rows[order[is_new]]] = True
    return first


def _rows_of(hashes: npt.NDArray[np.uint64], parts: np.uint64, number: np.uint64) -> npt.NDArray[np.int64]:
    """Where the hashes of one part stand, ascending."""
    starts = range(0, len(hashes), _LOOK)
    found = [start + np.flatnonzero(hashes[start : start + _LOOK, 0] % parts == number) for start in starts]
    return np.concatenate(found) if found else np.empty(0, np.int64)
