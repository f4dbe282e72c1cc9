"""The judgement: which class a teacher gives to each text, and how sure it is, of its stored logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.reading.texts import CHUNK
from distill.settings.selection import Criterion

Floats = npt.NDArray[np.float64]


def confidence(probabilities: Floats) -> Floats:
    """The largest probability, (n, C) -> (n,)."""
    largest: Floats = probabilities.max(1)
    return largest


def margin(probabilities: Floats) -> Floats:
    """The largest probability less the second, (n, C) -> (n,)."""
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    lead: Floats = first - second
    return lead


def entropy(probabilities: Floats) -> Floats:
    """In nats, (n, C) -> (n,)."""
    logarithms = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    nats: Floats = -(probabilities * logarithms).sum(1)
    return nats


MEASURES: dict[Criterion, Callable[[Floats], Floats]] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": entropy,
}


@dataclass(frozen=True)
class Judgement:
    """Of each text, (n,) each: the teacher's class, its largest probability, and what was asked for, if anything."""

    classes: npt.NDArray[np.int64]
    confidence: Floats
    measured: Floats | None


def judge(logits: npt.NDArray[np.float16], by: Criterion) -> Judgement:
    """What a teacher's logits (n, C) say, read a few texts at a time."""
    measure = MEASURES.get(by)
    classes, sure = np.empty(len(logits), np.int64), np.empty(len(logits))
    measured = None if measure is None else np.empty(len(logits))
    for start in range(0, len(logits), CHUNK):
        some = slice(start, start + CHUNK)
        probabilities = _softmax(logits[some].astype(np.float64))
        classes[some], sure[some] = probabilities.argmax(1), confidence(probabilities)
        if measured is not None and measure is not None:
            measured[some] = measure(probabilities)
    return Judgement(classes, sure, measured)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Floats = raised / raised.sum(1, keepdims=True)
    return probabilities
