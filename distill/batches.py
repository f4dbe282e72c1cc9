"""The order in which a training loop meets its texts: a function of the seed and the update, so that it can go on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

POOL = 64  # batches that are filled from one shuffled pool, sorted by length: little padding, still mixed


class Schedule:
    """Batches of row numbers. An epoch is a fresh shuffle; inside a batch texts are about equally long.

    What is left over at the end of an epoch (less than a batch) waits for another epoch's shuffle.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._size = min(batch_size, len(lengths))
        self._seed = seed
        self._epoch = -1
        self._batches: npt.NDArray[np.int64] = np.empty((0, self._size), np.int64)

    def rows(self, update: int) -> npt.NDArray[np.int64]:
        """The rows of update 0, 1, 2 …, (B,)."""
        epoch, index = divmod(update, len(self._lengths) // self._size)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        rows: npt.NDArray[np.int64] = self._batches[index]
        return rows

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        """An epoch's batches, (batches, B)."""
        draw = np.random.default_rng([self._seed, epoch])
        batches = len(self._lengths) // self._size
        rows = draw.permutation(len(self._lengths))[: batches * self._size]
        for start in range(0, len(rows), POOL * self._size):
            pool = rows[start : start + POOL * self._size]
            rows[start : start + len(pool)] = pool[np.argsort(self._lengths[pool], kind="stable")]
        shuffled: npt.NDArray[np.int64] = draw.permutation(rows.reshape(batches, self._size))
        return shuffled


def by_length(lengths: npt.NDArray[np.int64], tokens: int) -> list[npt.NDArray[np.int64]]:
    """All rows, shortest first, in batches of at most `tokens` tokens, padding counted."""
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= tokens:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches
