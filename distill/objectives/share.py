"""The share that a part of a batch has in the whole: what several parts' losses weigh when they are added up.

A loss is a mean, over texts or gold labels or words or tokens. Parts of a batch that are learnt one after the other, or
by several processes, hold unequal numbers of each; weighted by its share, their means add up to the whole's mean.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from distill.reading.gold import NO_LABEL
from distill.reading.source import ExampleSource

Unit = Literal["texts", "tokens", "pairs"]  # what an intermediate objective is a mean over


@dataclass(frozen=True)
class Share:
    """Of each thing that a loss is a mean over; counts of them in a whole batch, or the part that is here."""

    texts: float = 1.0
    classes: float = 1.0  # gold ones
    amounts: float = 1.0
    tags: float = 1.0
    words: float = 1.0  # that the teacher has seen
    tokens: float = 1.0  # or words, where those are compared
    pairs: float = 1.0  # of tokens in one text

    @classmethod
    def counted(cls, examples: ExampleSource, rows: npt.NDArray[np.int64]) -> Share:
        """How many of each there are in the texts of `rows`."""
        targets, taught = examples.targets(rows, "cpu"), examples.stored(rows, "cpu").slot_logits
        compared = examples.tokens.compared_in(rows)
        return cls(
            len(rows),
            0 if targets.classes is None else int((targets.classes != NO_LABEL).sum()),
            0 if targets.amounts is None else int((~targets.amounts.isnan()).sum()),
            0 if targets.tags is None else int((targets.tags != NO_LABEL).sum()),
            0 if taught is None else int((~taught.isnan().any(-1)).sum()),
            int(compared.sum()),
            int(np.square(compared).sum()),
        )

    def of(self, whole: Share) -> Share:
        """The share of these counts in those of the whole; of what there is none of, none."""
        return Share(*(part / max(1, all_) for part, all_ in zip(astuple(self), astuple(whole), strict=True)))


WHOLE = Share()
