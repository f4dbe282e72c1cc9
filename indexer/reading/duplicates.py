"""Duplicates: what a corpus remembers of its passages, so that no text and no id stands in it twice."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa

MAX_REMEMBERED = 100_000  # repeated ids whose next free number is remembered


class Seen:
    """The hashes seen so far, 8 bytes each: sorted runs, merged when two are of a size."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def fresh(self, hashes: np.ndarray) -> np.ndarray:
        """Whether each of `hashes` (n,) is the first of its kind (n,); remembers none."""
        unique, first = np.unique(hashes, return_index=True)
        is_new = np.zeros(len(hashes), dtype=bool)
        is_new[first[~self._known(unique)]] = True
        return is_new

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Remember `hashes` (n,); says of each whether it is the first of its kind (n,)."""
        is_new = self.fresh(hashes)
        self._runs.append(np.sort(hashes[is_new]))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            merged.sort()
            self._runs.append(merged)
        return is_new

    def _known(self, hashes: np.ndarray) -> np.ndarray:
        known = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            if len(run):
                known |= run[np.minimum(np.searchsorted(run, hashes), len(run) - 1)] == hashes
        return known


class Names:
    """The passage ids given so far: a repeated id gets the first free number, as in `7~2`."""

    def __init__(self) -> None:
        self.taken = Seen()
        self._next: dict[str, int] = {}

    def unique(self, ids: pa.Array) -> tuple[pa.Array, int]:
        """`ids` with the repeated ones renamed, and how many were."""
        repeated = np.flatnonzero(~self.taken.add(hash_ids(ids)))
        if not len(repeated):
            return ids, 0
        names = ids.to_pylist()
        for row in repeated.tolist():
            names[row] = self._renamed(names[row])
        return pa.array(names, pa.string()), len(repeated)

    def _renamed(self, name: str) -> str:
        if len(self._next) > MAX_REMEMBERED:
            self._next.clear()
        number = self._next.get(name, 2)
        while not self.taken.add(hash_ids(pa.array([f"{name}~{number}"])))[0]:
            number += 1
        self._next[name] = number + 1
        return f"{name}~{number}"


def hash_texts(texts: pa.Array) -> np.ndarray:
    """A 64-bit hash of every text but for case and white space (n,): equal texts are duplicates."""
    keys = [_hash(" ".join(text.casefold().split())) for text in texts.to_pylist()]
    return np.frombuffer(b"".join(keys), dtype="<u8")


def hash_ids(ids: pa.Array) -> np.ndarray:
    """A 64-bit hash of every id (n,)."""
    return np.frombuffer(b"".join(map(_hash, ids.to_pylist())), dtype="<u8")


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
