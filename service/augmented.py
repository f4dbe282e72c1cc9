"""The augmented retriever: variants of an utterance made from itself, in the place where others put passages.

Random swaps, deletions and replacements of words, as the augmentation baselines do (papers.md, B and C); the share of
words edited is ours, and a setting. A variant is a function of the seed, the utterance and its number, so the first ten
of a hundred are the ten, and every retriever's hits have one form.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.schemas import CORPUS
from service.heldout import folded
from service.neighbours import hit_table

ATTEMPTS = 30  # tries at a variant that is not there yet, each third bolder; then there are no more


@dataclass(frozen=True)
class Augmented:
    """Variants of utterances, searched and read as an index is: `row` is utterance * stride + number."""

    ids: Sequence[str]
    texts: Sequence[str]
    langs: Sequence[str | None]
    vocabulary: Sequence[str]  # sorted; the words a replacement is drawn from
    edited: float  # share of an utterance's words that a variant edits at most
    seed: int
    stride: int

    def hits(self, first: int, last: int) -> pa.Table:
        """The variants of utterances [first, last) in the HITS schema; `stride` each where so many can be made."""
        made = [len(self._variants(utterance)) for utterance in range(first, last)]
        utterance = np.repeat(np.arange(first, last), made)
        number = np.concatenate([np.arange(count) for count in made]) if made else np.zeros(0, int)
        missing = np.full(len(number), np.nan)
        columns = {"utterance": utterance, "row": utterance * self.stride + number, "rank": number}
        absent = {"score": missing, "lexical_score": missing, "dense_score": missing}
        absent |= {"lexical_rank": np.full(len(number), -1), "dense_rank": np.full(len(number), -1)}
        return hit_table(columns | absent)

    def passages(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """The variants of the given rows in the CORPUS schema, in that order."""
        made: dict[int, list[str]] = {}
        records = []
        for row in rows.tolist():
            utterance, number = divmod(row, self.stride)
            if utterance not in made:
                made[utterance] = self._variants(utterance)
            records.append((utterance, number, made[utterance][number]))
        columns = {
            "passage_id": [f"{self.ids[utterance]}~{number}" for utterance, number, _ in records],
            "text": [text for _, _, text in records],
            "source": ["augmented"] * len(records),
            "lang": [self.langs[utterance] for utterance, _, _ in records],
            "n_words": [len(text.split()) for _, _, text in records],
        }
        return pa.table(columns, schema=CORPUS)

    def _variants(self, utterance: int) -> list[str]:
        utterance_id, text = self.ids[utterance], self.texts[utterance]
        draws = variants(utterance_id, text, self.vocabulary, edited=self.edited, seed=self.seed)
        return list(islice(draws, self.stride))


def variants(utterance_id: str, text: str, vocabulary: Sequence[str], *, edited: float, seed: int) -> Iterator[str]:
    """Variants of a text, each unlike it and unlike those before; ends when no new one is found."""
    key = f"{seed}\0{utterance_id}\0{text}".encode("utf-8", "surrogatepass")
    draw = random.Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
    words, seen = text.split(), {folded(text)}
    most = max(1, round(edited * len(words)))
    while (variant := _new_variant(words, vocabulary, most, draw, seen)) is not None:
        seen.add(folded(variant))
        yield variant


def vocabulary_of(texts: Sequence[str]) -> list[str]:
    """The distinct words of the texts, sorted."""
    return sorted({word for text in texts for word in text.split()})


def _new_variant(
    words: Sequence[str], vocabulary: Sequence[str], most: int, draw: random.Random, seen: set[str]
) -> str | None:
    for attempt in range(ATTEMPTS):
        edits = draw.randint(1, most) + 3 * attempt // ATTEMPTS
        variant = " ".join(_edit(words, vocabulary, edits, draw))
        if folded(variant) not in seen:
            return variant
    return None


def _edit(words: Sequence[str], vocabulary: Sequence[str], edits: int, draw: random.Random) -> list[str]:
    edited = list(words)
    for _ in range(edits):
        place = draw.randrange(len(edited))
        kind = draw.choice(("swap", "delete", "replace"))
        if kind == "swap" and len(edited) > 1:
            other = draw.randrange(len(edited))
            edited[place], edited[other] = edited[other], edited[place]
        elif kind == "delete" and len(edited) > 1:
            del edited[place]
        else:
            edited[place] = draw.choice(vocabulary)
    return edited
