"""Several parts learnt from as one: a transfer set's texts and what was made of them. Rows are counted through.

A batch has its texts part by part, whatever the order of `rows`; so have the targets and what is taught of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.models.states import Said, Speaker
from distill.reading.source import ExampleSource, Rows, Targets, TokenSource, taught
from distill.reading.tokens import Batch

Part = TypeVar("Part")


@dataclass(frozen=True)
class JoinedTokens:
    """The tokens of several parts."""

    parts: Sequence[TokenSource]
    starts: npt.NDArray[np.int64]  # (parts + 1,): part p's texts are starts[p] … starts[p + 1] - 1

    @classmethod
    def of(cls, parts: Sequence[TokenSource]) -> JoinedTokens:
        return cls(parts, np.cumsum([0, *(len(part.lengths) for part in parts)]))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.concatenate([part.lengths for part in self.parts])

    def met(self) -> Rows:
        return np.unique(np.concatenate([part.met() for part in self.parts]))

    def compared_in(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.concatenate([part.compared_in(own) for part, own in split(rows, self.parts, self.starts)])

    def batch(self, rows: Rows, device: str = "cpu") -> Batch:
        """The texts of `rows`, part by part, padded to the longest of them."""
        return join_batches([part.batch(own, device) for part, own in split(rows, self.parts, self.starts)], self.pad)

    @property
    def pad(self) -> int:
        return self.parts[0].pad


@dataclass(frozen=True)
class JoinedExamples:
    """Examples of several parts; one teacher has taught them all."""

    parts: Sequence[ExampleSource]
    tokens: JoinedTokens
    teacher_tokens: JoinedTokens | None

    @classmethod
    def of(cls, parts: Sequence[ExampleSource]) -> JoinedExamples:
        others = [part.teacher_tokens for part in parts if part.teacher_tokens is not None]
        return cls(parts, JoinedTokens.of([part.tokens for part in parts]), JoinedTokens.of(others) if others else None)

    @property
    def teacher(self) -> Speaker | None:
        return self.parts[0].teacher

    def targets(self, rows: Rows, device: str) -> Targets:
        found = [part.targets(own, device) for part, own in self._split(rows)]
        return Targets(
            joined([of.classes for of in found]),
            joined([of.amounts for of in found]),
            joined([of.tags for of in found]),
        )

    def stored(self, rows: Rows, device: str) -> Said:
        found = [part.stored(own, device) for part, own in self._split(rows)]
        return Said(joined([of.logits for of in found]), slot_logits=joined([of.slot_logits for of in found]))

    def taught(self, rows: Rows, batch: Batch) -> Said:
        return taught(self, rows, batch)

    def _split(self, rows: Rows) -> Iterator[tuple[ExampleSource, Rows]]:
        return split(rows, self.parts, self.tokens.starts)


def split(rows: Rows, parts: Sequence[Part], starts: npt.NDArray[np.int64]) -> Iterator[tuple[Part, Rows]]:
    """Each part with those of `rows` that are its own, by its own numbers; the first, where there are none at all."""
    of = np.searchsorted(starts, rows, side="right") - 1
    for number, part in enumerate(parts):
        own = rows[of == number] - starts[number]
        if len(own) or (not len(rows) and number == 0):
            yield part, own


def join_batches(batches: Sequence[Batch], pad: int) -> Batch:
    """One batch of several, one below the other, padded to the longest."""
    length = max(batch.input_ids.shape[1] for batch in batches)
    many = max((batch.compared.shape[1] for batch in batches if batch.compared is not None), default=0)
    starts = np.cumsum([0, *(len(batch.input_ids) for batch in batches)]).tolist()
    return Batch(
        torch.cat([_longer(batch.input_ids, length, pad) for batch in batches]),
        torch.cat([_longer(batch.attention_mask, length) for batch in batches]),
        joined([None if b.token_type_ids is None else _longer(b.token_type_ids, length) for b in batches]),
        joined(
            [None if b.words is None else _moved(b, start, length) for b, start in zip(batches, starts, strict=False)]
        ),
        joined([None if b.compared is None else _wider(b.compared, many, length) for b in batches]),
    )


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """One tensor below the other; None where they are not."""
    there = [part for part in parts if part is not None]
    assert len(there) in (0, len(parts)), "a task has it or not"
    return torch.cat(there) if there else None


def _longer(tensor: Tensor, length: int, value: int = 0) -> Tensor:
    """(B, L) -> (B, length)."""
    return F.pad(tensor, (0, length - tensor.shape[1]), value=value)


def _wider(compared: Tensor, many: int, length: int) -> Tensor:
    """(B, V, L) -> (B, many, length)."""
    return F.pad(compared, (0, length - compared.shape[2], 0, many - compared.shape[1]))


def _moved(batch: Batch, start: int, length: int) -> Tensor:
    """Where a batch's words stand in the flat joined one, whose rows are `length` long, from row `start` on."""
    assert batch.words is not None
    old = batch.input_ids.shape[1]
    return (batch.words // old + start) * length + batch.words % old
