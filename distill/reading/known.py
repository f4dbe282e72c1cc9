"""What is known of a transfer set's texts: the gold labels of those that are training rows, found a chunk at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.reading.gold import NO_LABEL, Gold
from distill.reading.scattered import Scattered
from distill.reading.texts import Texts


class Known:
    """The texts that are training rows of the task, by id and text; of all others nothing is known."""

    def __init__(self, gold: Gold, texts: Texts) -> None:
        self._gold, self._texts = gold, texts
        found = [place for start, some in texts.chunks() for place in _rows_among(gold, start, some)]
        self._places, self._rows = np.array(found, np.int64).reshape(-1, 2).T

    @property
    def classes(self) -> Scattered | None:
        """Their classes, NO_LABEL for all other texts."""
        classes = self._gold.train.classes
        return None if classes is None else Scattered(self._places, classes[self._rows], NO_LABEL)

    @property
    def amounts(self) -> Scattered | None:
        """The same of a regression's amounts, NaN for all others."""
        amounts = self._gold.train.amounts
        return None if amounts is None else Scattered(self._places, amounts[self._rows], np.nan)

    def tags(self, offsets: npt.NDArray[np.int64]) -> Scattered:
        """The same of slots, a number a word, where a text has its row's words. Text i's begin at offsets[i]."""
        slots = self._gold.train.slots
        assert slots is not None, "the task has slots"
        words, tags = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for text, row in zip(self._places.tolist(), self._rows.tolist(), strict=True):
            there = slice(*slots.spans.offsets[row : row + 2])
            if np.array_equal(self._texts.words(text, text + 1).bounds, slots.spans.bounds[there]):
                words.append(np.arange(offsets[text], offsets[text + 1]))
                tags.append(slots.tags[there])
        return Scattered(np.concatenate(words), np.concatenate(tags), NO_LABEL)


def _rows_among(gold: Gold, start: int, some: pa.Table) -> list[tuple[int, int]]:
    """(text, training row) of each text that is one; a neighbour has no id, and is none."""
    places = np.flatnonzero(pc.is_valid(some["utterance_id"]).to_numpy())
    mine = some.select(["utterance_id", "text"]).take(pa.array(places))
    names = zip(mine["utterance_id"].to_pylist(), mine["text"].to_pylist(), strict=True)
    rows = (gold.row_of.get(name) for name in names)
    return [(start + place, row) for place, row in zip(places.tolist(), rows, strict=True) if row is not None]
