"""Sorted terms, looked up and merged by their UTF-8 bytes, whose order is that of code points.

No Python object is made of any of them: an index has millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit


class Terms(NamedTuple):
    """Distinct terms in ascending order."""

    letters: np.ndarray  # uint8, the UTF-8 of all terms
    starts: np.ndarray  # (v + 1,) int64 into letters

    def find(self, wanted: Terms) -> np.ndarray:
        """The position of each wanted term, -1 of one that is not there: (len(wanted.starts) - 1,) int64."""
        return np.asarray(_find(self.letters, self.starts, wanted.letters, wanted.starts))

    def strings(self) -> list[str]:
        """All of them as Python strings: for small indexes and for looking in."""
        letters = self.letters.tobytes()
        return [letters[start:end].decode() for start, end in pairwise(self.starts.tolist())]

    def array(self) -> pa.Array:
        """All of them as Arrow's large_string, without a copy."""
        buffers = [None, pa.py_buffer(self.starts), pa.py_buffer(self.letters)]
        return pa.LargeStringArray.from_buffers(len(self.starts) - 1, *buffers[1:])


def terms_of(array: pa.Array) -> Terms:
    """Sorted large_strings as Terms, without a copy."""
    _, starts, letters = array.buffers()
    if not len(array):
        return NO_TERMS
    ends = np.frombuffer(starts, np.int64)[array.offset : array.offset + len(array) + 1]
    return Terms(np.frombuffer(letters or b"", np.uint8), ends)


NO_TERMS = Terms(np.frombuffer(b"", np.uint8), np.frombuffer(np.zeros(1, np.int64).tobytes(), np.int64))


class Union(NamedTuple):
    """The terms of two, and where each of them stood in the one and in the other, -1 where it did not."""

    terms: Terms
    first: np.ndarray  # (v,) int64
    second: np.ndarray  # (v,) int64


def unite(first: Terms, second: Terms) -> Union:
    """The terms that are in either."""
    letters, starts, mine, others = _unite(first.letters, first.starts, second.letters, second.starts)
    return Union(Terms(letters, starts), mine, others)


def add_up(parts: Sequence[tuple[Terms, np.ndarray]]) -> tuple[Terms, np.ndarray]:
    """The terms of all parts, and their numbers, (v,) int64, added up."""
    if len(parts) < 2:
        return parts[0] if parts else (NO_TERMS, np.zeros(0, np.int64))
    middle = len(parts) // 2
    (first, its), (second, others) = add_up(parts[:middle]), add_up(parts[middle:])
    union = unite(first, second)
    return union.terms, _taken(its, union.first) + _taken(others, union.second)


def _taken(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The numbers at these positions, 0 at -1."""
    return np.asarray(np.append(numbers, 0)[positions])


@njit(nogil=True, cache=True)
def _find(letters, starts, wanted_letters, wanted_starts):  # type: ignore[no-untyped-def]
    found = np.full(len(wanted_starts) - 1, -1, np.int64)
    for wanted in range(len(found)):
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            order = _compare(letters, starts, middle, wanted_letters, wanted_starts, wanted)
            if order == 0:
                found[wanted] = middle
                break
            if order < 0:
                low = middle + 1
            else:
                high = middle
    return found


@njit(nogil=True, cache=True)
def _compare(letters, starts, at, other_letters, other_starts, other):  # type: ignore[no-untyped-def]
    """Below 0 when the one comes first, above when the other does, 0 when they are the same."""
    begin, size = starts[at], starts[at + 1] - starts[at]
    other_begin, other_size = other_starts[other], other_starts[other + 1] - other_starts[other]
    for step in range(min(size, other_size)):
        order = np.int64(letters[begin + step]) - np.int64(other_letters[other_begin + step])
        if order:
            return order
    return size - other_size


@njit(nogil=True, cache=True)
def _unite(letters, starts, other_letters, other_starts):  # type: ignore[no-untyped-def]
    """(letters, starts, mine, others) of the union."""
    size, other_size = len(starts) - 1, len(other_starts) - 1
    united = np.empty(len(letters) + len(other_letters), np.uint8)
    bounds = np.zeros(size + other_size + 1, np.int64)
    mine, others = np.full(size + other_size, -1, np.int64), np.full(size + other_size, -1, np.int64)
    at, other, found, filled = 0, 0, 0, 0
    while at < size or other < other_size:
        if other == other_size:
            order = np.int64(-1)
        elif at == size:
            order = np.int64(1)
        else:
            order = _compare(letters, starts, at, other_letters, other_starts, other)
        if order <= 0:
            for step in range(starts[at], starts[at + 1]):
                united[filled] = letters[step]
                filled += 1
            mine[found] = at
            at += 1
        else:
            for step in range(other_starts[other], other_starts[other + 1]):
                united[filled] = other_letters[step]
                filled += 1
        if order >= 0:
            others[found] = other
            other += 1
        found += 1
        bounds[found] = filled
    return united[:filled].copy(), bounds[: found + 1].copy(), mine[:found].copy(), others[:found].copy()
