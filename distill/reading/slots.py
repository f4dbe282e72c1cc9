"""Slots: BIO tags of words, as numbers a model learns and as the spans a task is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.reading.scattered import Scattered

OUTSIDE = "O"
TOP = 16  # logits of a word that are stored; of the others only what they weigh together
NO_TAG = -1  # as distill.reading.gold.NO_LABEL

Slot = tuple[str, int, int]  # kind, first word, last word


def is_tag(tag: str) -> bool:
    """Whether this is a BIO tag: O, B-kind or I-kind."""
    return tag == OUTSIDE or (tag[:2] in ("B-", "I-") and len(tag) > 2)


def tags_of(rows: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All tags the slots of these rows can need, O first: every kind may begin and go on."""
    kinds = sorted({tag[2:] for row in rows for tag in row if tag != OUTSIDE})
    return (OUTSIDE, *(f"{place}-{kind}" for kind in kinds for place in "BI"))


def repair(tags: Sequence[str]) -> list[str]:
    """The tags with an I-x that goes on nothing made a B-x, so that they are BIO.

    The spans stay those that conlleval and seqeval read out of the tags as they were.
    """
    mended: list[str] = []
    for tag in tags:
        goes_on = bool(mended) and tag[2:] == mended[-1][2:] and mended[-1] != OUTSIDE
        mended.append(f"B-{tag[2:]}" if tag[:2] == "I-" and not goes_on else tag)
    return mended


def slots_of(tags: Sequence[str]) -> list[Slot]:
    """The slots of BIO tags, in order."""
    from seqeval.metrics.sequence_labeling import get_entities  # it loads scikit-learn, for a second

    return [(kind, int(first), int(last)) for kind, first, last in get_entities(list(tags))]


def decode(logits: npt.NDArray[np.float32], tags: Sequence[str], lengths: npt.NDArray[np.int64]) -> list[list[str]]:
    """The tags of each text from its words' logits (W, T), the highest a word, repaired; a word of NaN is outside."""
    best = np.where(np.isnan(logits[:, 0]), 0, logits.argmax(axis=1)) if len(logits) else np.empty(0, np.int64)
    names = [tags[index] for index in best.tolist()]
    ends = np.cumsum(lengths)
    return [repair(names[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class SlotCounts:
    """What is right and wrong between the slots of two taggings of one text."""

    right: int
    reference: int
    said: int
    errors: int  # substitutions + deletions + insertions

    @classmethod
    def of(cls, reference: Sequence[str], said: Sequence[str]) -> SlotCounts:
        """Right are slots of the same kind and words. A substitution is a wrong slot that overlaps a missed one."""
        gold, found = slots_of(reference), slots_of(said)
        right = {*gold} & {*found}
        missed, wrong = [s for s in gold if s not in right], [s for s in found if s not in right]
        return cls(len(right), len(gold), len(found), len(missed) + len(wrong) - _overlapping(missed, wrong))


def _overlapping(missed: Sequence[Slot], wrong: Sequence[Slot]) -> int:
    """How many can be paired, each once, with one they overlap; both lists are in order and without overlaps."""
    pairs = one = other = 0
    while one < len(missed) and other < len(wrong):
        (_, first, last), (_, begun, ended) = missed[one], wrong[other]
        overlap = first <= ended and begun <= last
        pairs += overlap
        one, other = one + (overlap or last <= ended), other + (overlap or ended < last)
    return pairs


@dataclass(frozen=True)
class TopLogits:
    """The highest logits of words and, in `rest`, one logit that all others of a word share: (W, K), (W, K), (W,).

    The share of all others together is kept, their order is not. A word the teacher saw no token of is NaN.
    """

    tags: npt.NDArray[np.int16]
    logits: npt.NDArray[np.float16]
    rest: npt.NDArray[np.float16]
    all_tags: int

    @classmethod
    def of(cls, logits: npt.NDArray[np.float32]) -> TopLogits:
        """The top of logits (W, T)."""
        kept, count = min(TOP, logits.shape[1]), logits.shape[1]
        order = np.argsort(-logits, axis=1, kind="stable")[:, :kept]
        top = np.take_along_axis(logits, order, axis=1)
        rest = np.zeros(len(logits), np.float32)
        if kept < count:
            others = logits.copy()
            np.put_along_axis(others, order, -np.inf, axis=1)
            highest = np.max(others, axis=1, initial=-np.inf, where=np.isfinite(others))
            with np.errstate(invalid="ignore"):
                rest = highest + np.log(np.exp(others - highest[:, None]).sum(axis=1) / (count - kept))
        return cls(order.astype(np.int16), top.astype(np.float16), rest.astype(np.float16), count)

    def rows(self, words: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The logits of some words, (W, T)."""
        whole = np.repeat(self.rest[words].astype(np.float32)[:, None], self.all_tags, axis=1)
        np.put_along_axis(whole, self.tags[words].astype(np.int64), self.logits[words].astype(np.float32), axis=1)
        return whole


@dataclass(frozen=True)
class SlotLessons:
    """What the words of many texts should say: gold tags (NO_TAG where unknown), the teacher's logits where stored."""

    tags: npt.NDArray[np.int64] | Scattered  # (W,)
    teacher: TopLogits | None = None
