"""What a training loop learns from, whatever it is made of: tokens by row, and what is gold and taught of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from distill.models.states import Said, Speaker
from distill.reading.tokens import Batch

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """What is gold about a batch; None for what the task has not.

    A class, tag or amount that is not known is NO_LABEL or NaN. `tags` are of the words that have a token, in order.
    """

    classes: Tensor | None = None  # (B,) int64
    amounts: Tensor | None = None  # (B,)
    tags: Tensor | None = None  # (W,) int64


class TokenSource(Protocol):
    """Texts as tokens: `distill.reading.tokens.Tokens`, or several of them as one."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens a text, (n,)."""
        ...

    @property
    def pad(self) -> int: ...

    def met(self) -> Rows:
        """The tokens that its batches can have, padding too, ascending."""
        ...

    def compared_in(self, rows: Rows) -> npt.NDArray[np.int64]:
        """How many tokens of each of these texts, or words, are set beside the other model's."""
        ...

    def batch(self, rows: Rows, device: str = "cpu") -> Batch:
        """The texts of `rows`, padded to the longest of them."""
        ...


class ExampleSource(Protocol):
    """`distill.reading.examples.Examples`, or what is made of them. What it says of `rows` stands in one order."""

    @property
    def tokens(self) -> TokenSource: ...

    @property
    def teacher(self) -> Speaker | None:
        """The teacher where it runs beside the student."""
        ...

    @property
    def teacher_tokens(self) -> TokenSource | None:
        """The tokens that it reads where it reads others."""
        ...

    def targets(self, rows: Rows, device: str) -> Targets: ...

    def stored(self, rows: Rows, device: str) -> Said: ...

    def taught(self, rows: Rows, batch: Batch) -> Said: ...


def taught(source: ExampleSource, rows: Rows, batch: Batch, *, live_logits: bool = False) -> Said:
    """What the teacher says of `batch`, which is made of the texts of `rows`: stored logits and live states."""
    device = batch.input_ids.device.type
    stored = source.stored(rows, device)
    if source.teacher is None:
        return stored
    live = source.teacher(batch if source.teacher_tokens is None else source.teacher_tokens.batch(rows, device))
    logits = live.logits if live_logits else stored.logits
    return replace(stored, logits=logits, states=live.states, masked=live.masked)
