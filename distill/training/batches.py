"""The order in which a training loop meets its texts: a function of the seed and the update, so that it can go on."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

POOL = 64  # batches that are filled from one shuffled pool, sorted by length: little padding, still mixed


class Order(Protocol):
    """Which rows a batch holds: a function of the batch's number alone, so that a killed loop can go on."""

    def rows(self, number: int) -> Rows:
        """The rows of batch 0, 1, 2 …, (B,); an update that accumulates takes several."""
        ...


class Schedule:
    """Batches of row numbers. An epoch is a fresh shuffle; inside a batch texts are about equally long.

    What is left over at the end of an epoch (less than a batch) waits for another epoch's shuffle.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._size = min(batch_size, len(lengths))
        self._seed = seed
        self._epoch = -1
        self._batches: Rows = np.empty((0, self._size), np.int64)

    def rows(self, number: int) -> Rows:
        """The rows of batch 0, 1, 2 …, (B,)."""
        epoch, index = divmod(number, len(self._lengths) // self._size)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        rows: Rows = self._batches[index]
        return rows

    def _shuffled(self, epoch: int) -> Rows:
        """An epoch's batches, (batches, B)."""
        draw = np.random.default_rng([self._seed, epoch])
        batches = len(self._lengths) // self._size
        rows = draw.permutation(len(self._lengths))[: batches * self._size]
        for start in range(0, len(rows), POOL * self._size):
            pool = rows[start : start + POOL * self._size]
            rows[start : start + len(pool)] = pool[np.argsort(self._lengths[pool], kind="stable")]
        shuffled: Rows = draw.permutation(rows.reshape(batches, self._size))
        return shuffled


class BudgetSchedule:
    """Batches of at most so many tokens, padding counted: many short texts or few long ones. Else as `Schedule`.

    An epoch has all texts, a text longer than the budget a batch of its own. How many batches an epoch has follows
    from its shuffle, so that one far ahead is reached by making those before it.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], tokens: int, seed: int) -> None:
        self._lengths = lengths
        self._tokens = tokens
        self._seed = seed
        self._pool = max(1, POOL * tokens // max(1, round(float(lengths.mean()))))  # texts
        self._begin(0, 0)

    def rows(self, number: int) -> Rows:
        """The rows of batch 0, 1, 2 …, (B,)."""
        if number < self._first:
            self._begin(0, 0)
        while number >= self._first + len(self._batches):
            self._begin(self._epoch + 1, self._first + len(self._batches))
        rows: Rows = self._batches[number - self._first]
        return rows

    def _begin(self, epoch: int, first: int) -> None:
        """Make the batches of an epoch, whose first has this number."""
        draw = np.random.default_rng([self._seed, epoch])
        rows = draw.permutation(len(self._lengths))
        batches: list[Rows] = []
        for start in range(0, len(rows), self._pool):
            pool = rows[start : start + self._pool]
            batches += [pool[batch] for batch in by_length(self._lengths[pool], self._tokens)]
        self._epoch, self._first = epoch, first
        self._batches = [batches[index] for index in draw.permutation(len(batches))]


def by_length(lengths: npt.NDArray[np.int64], tokens: int) -> list[Rows]:
    """All rows, shortest first, in batches of at most `tokens` tokens, padding counted."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order].tolist()
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * ordered[stop] <= tokens:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches
