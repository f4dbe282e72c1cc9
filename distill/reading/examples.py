"""The examples a model learns from: tokens, what is gold about them, and what the teacher said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.models.states import Said, Speaker
from distill.reading.gold import Gold
from distill.reading.scattered import Scattered
from distill.reading.slots import SlotLessons
from distill.reading.source import Targets, taught
from distill.reading.stored_states import StoredStates
from distill.reading.tokens import Batch, Tokens


@dataclass(frozen=True)
class Examples:
    """What there is to learn: tokens, gold classes (NO_LABEL where unknown), the teacher's logits where they are.

    A regression has `amounts` (NaN where unknown) in the classes' stead, a task of slots alone neither. For its states
    the teacher, frozen, is asked on the very batch, or on its own tokens of it where it reads others; or `states` are
    stored.
    """

    tokens: Tokens
    classes: npt.NDArray[np.int64] | Scattered | None = None  # (n,)
    teacher_logits: npt.NDArray[np.float16] | None = None  # (n, C)
    amounts: npt.NDArray[np.float32] | Scattered | None = None  # (n,)
    slots: SlotLessons | None = None
    teacher: Speaker | None = None
    teacher_tokens: Tokens | None = None
    states: StoredStates | None = None

    def targets(self, rows: npt.NDArray[np.int64], device: str) -> Targets:
        """What is gold about the texts of `rows`, beside `tokens.batch(rows)`."""
        return Targets(
            None if self.classes is None else _on(device, self.classes[rows]),
            None if self.amounts is None else _on(device, self.amounts[rows]),
            None if self.slots is None else _on(device, self.slots.tags[self._words(rows)]),
        )

    def stored(self, rows: npt.NDArray[np.int64], device: str) -> Said:
        """What the teacher said of the texts of `rows`, where it is stored."""
        logits = None if self.teacher_logits is None else _on(device, self.teacher_logits[rows].astype(np.float32))
        teacher = None if self.slots is None else self.slots.teacher
        return Said(logits, slot_logits=None if teacher is None else _on(device, teacher.rows(self._words(rows))))

    def taught(self, rows: npt.NDArray[np.int64], batch: Batch) -> Said:
        if self.states is None:
            return taught(self, rows, batch)
        device = batch.input_ids.device.type
        read = batch if self.teacher_tokens is None else self.teacher_tokens.batch(rows, device)
        return replace(self.stored(rows, device), states=self.states.of(rows, read))

    def _words(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The numbers of the words in `Batch.words`."""
        assert self.tokens.words is not None, "slots are of words"
        return self.tokens.words.of(rows)[0]


def gold_examples(gold: Gold, tokens: Tokens) -> Examples:
    """The training rows with their gold labels alone."""
    rows = gold.train
    slots = None if rows.slots is None else SlotLessons(rows.slots.tags)
    return Examples(tokens, rows.classes, None, rows.amounts, slots)


def _on(device: str, array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(array).to(device)
