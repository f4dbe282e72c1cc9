"""Stages: which texts are seen from which batch on, by a curriculum of neighbours, by generations of copies, by choice.

A stage is a set of rows with an order of its own, a function of the seed and the batch's number, so that a killed loop
can go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.errors import BadInput
from distill.settings.augmentation import CurriculumConfig
from distill.training.batches import Order, Rows

STEPS = 10  # in which a curriculum goes from its start to all
_STRIDE = 104_729  # between the seeds of stages

Key = npt.NDArray[np.float64]  # of each text: what is lowest is seen first; -inf always, which utterances are


@dataclass(frozen=True)
class Part:
    """Texts that are learnt together: of the transfer set, or of a generation, seen from one batch until another."""

    key: Key
    rows: Rows  # their numbers, ascending
    begin: int
    end: float


@dataclass(frozen=True)
class Stage:
    """The batches from `begin` until before `end`, which are drawn from the same texts."""

    begin: int
    end: int


@dataclass(frozen=True)
class Pace:
    """The share of the neighbours that is seen from each batch on; begins with (0, …), ends with (…, 1)."""

    steps: tuple[tuple[int, float], ...]

    def share(self, number: int) -> float:
        """The share at batch 0, 1, 2 …"""
        return next(share for begin, share in reversed(self.steps) if begin <= number)


def make_pace(config: CurriculumConfig, batches: int) -> Pace:
    """How far a curriculum is on the way of so many batches."""
    if config.by == "none":
        return Pace(((0, 1.0),))
    parts = [step / STEPS for step in range(STEPS + 1)]
    return Pace(
        tuple((math.ceil(part * config.full * batches), config.start + (1 - config.start) * part) for part in parts)
    )


def key_of(table: pa.Table, config: CurriculumConfig) -> Key:
    """The place of each text in a curriculum; BadInput when it goes by a score that the neighbours do not have."""
    if config.by == "none":
        return np.full(table.num_rows, -np.inf)
    neighbours = table["utterance_id"].is_null().to_numpy()
    found = table[config.by].cast(pa.float64()).to_numpy()
    if np.isnan(found[neighbours]).any():
        raise BadInput(
            f"curriculum.by is {config.by}, but {int(np.isnan(found[neighbours]).sum())} of the neighbours have none "
            '(no random or augmented one has a score); set curriculum.by = "rank", or leave the curriculum out'
        )
    nearest_is_low = config.by == "rank"
    key = found if nearest_is_low == (config.first == "near") else -found
    return np.where(neighbours, key, -np.inf)


Choose = Callable[[Stage, int, Rows], Rows]  # those of a stage's texts that its batches have; it is at batch `int`


@dataclass(frozen=True)
class Choosing:
    """Texts are chosen anew every so many batches, of `batches` in all."""

    choose: Choose
    every: int
    batches: int

    @property
    def begins(self) -> range:
        return range(0, self.batches, self.every)


class Staged:
    """The order of parts under a pace: each stage is a schedule of the texts it shows, or of those chosen of them."""

    def __init__(
        self,
        parts: Sequence[Part],
        pace: Pace,
        lengths: npt.NDArray[np.int64],
        order: Callable[[Rows, int], Order],
        choosing: Choosing | None = None,
    ) -> None:
        self._parts = parts
        self._pace = pace
        self._lengths = lengths
        self._order = order
        self._choosing = choosing
        anew = choosing.begins if choosing else ()
        self._begins = sorted({*(begin for begin, _ in pace.steps), *(part.begin for part in parts), *anew})
        self._stage = -1
        self._shown: Rows = np.empty(0, np.int64)

    def rows(self, number: int) -> Rows:
        """The rows of batch 0, 1, 2 …, (B,)."""
        stage = int(np.searchsorted(self._begins, number, side="right")) - 1
        if stage != self._stage:
            self._stage, self._shown = stage, self._chosen(stage, number)
            self._current = self._order(self._lengths[self._shown], stage * _STRIDE)
        return self._shown[self._current.rows(number - self._begins[stage])]

    def _chosen(self, stage: int, number: int) -> Rows:
        """The rows of a stage, found when batch `number` is to be made."""
        rows, choosing = self.shown(self._begins[stage]), self._choosing
        if choosing is None:
            return rows
        end = min([*self._begins[stage + 1 : stage + 2], choosing.batches])
        return choosing.choose(Stage(self._begins[stage], end), number, rows)

    def shown(self, number: int) -> Rows:
        """All rows that may be in batch 0, 1, 2 …, ascending."""
        share = self._pace.share(number)
        there = [part for part in self._parts if part.begin <= number < part.end]
        return np.concatenate([part.rows[shown(part.key, share)] for part in there])


def shown(key: Key, share: float) -> Rows:
    """The texts that are always seen, and this share of the others (at least one text): lowest first, ties by row."""
    always = int(np.isneginf(key).sum())
    count = max(1, always + math.ceil(share * (len(key) - always)))
    return np.sort(np.argsort(key, kind="stable")[:count])
