"""Parity: whether an exported form says what the student says, measured on the task's whole test split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contract.errors import TransfersetError
from distill.judging.evaluation import answers_of, teacher_scores
from distill.judging.metrics import METRICS, METRICS_OF
from distill.models.logits import Logits
from distill.reading.gold import Gold
from distill.shipping.forms import TITLES, FormName, Heard, Spoken

TOLERANCE = 1e-4  # of a float32 logit
LOSS = 0.005  # of the metric that decides, by int8: half a point


class Unfaithful(TransfersetError):
    """An exported form says other things than the student it was made of."""

    status = 500


@dataclass(frozen=True)
class Scores:
    """One form on the test split: its metrics, and how far its logits are at most from torch's."""

    metrics: Mapping[str, float]
    distance: float


def heard_of(gold: Gold) -> list[Heard]:
    """The test split as texts to ask about."""
    rows = gold.test
    if rows.slots is None:
        return [Heard(text, pair) for text, pair in rows.texts]
    spans, bounds = rows.slots.spans, rows.slots.spans.bounds.tolist()
    ends = spans.offsets.tolist()
    words = ([(first, last) for first, last in bounds[ends[row] : ends[row + 1]]] for row in range(len(ends) - 1))
    return [Heard(text, None, of_text) for (text, _), of_text in zip(rows.texts, words, strict=True)]


def scores_of_form(said: Spoken, torch: Spoken, gold: Gold) -> Scores:
    """A form's scores, beside the torch student's logits of the same texts."""
    answers = answers_of(Logits(said.sentence, said.slots), gold)
    return Scores(teacher_scores(gold, answers), distance(said, torch))


def distance(one: Spoken, other: Spoken) -> float:
    """The largest difference of two logits; infinite where one form says a word that the other does not."""
    largest = 0.0
    for ours, theirs in ((one.sentence, other.sentence), (one.slots, other.slots)):
        if ours is None or theirs is None:
            assert ours is theirs, "forms of one student have the same outputs"
            continue
        if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(ours - theirs), initial=0.0)))
    return largest


def check_float32(scores: Scores) -> None:
    """Unfaithful when the float32 form's logits are not the student's."""
    if not scores.distance <= TOLERANCE:
        raise Unfaithful(
            f"The {TITLES['onnx']} form is no copy of the student: its logits differ by up to {scores.distance:.3g} on "
            f"the test texts, expected at most {TOLERANCE:g}; export with --no-onnx, and report this student's kind"
        )


def check_int8(gold: Gold, scores: Mapping[FormName, Scores], loss: float) -> None:
    """Unfaithful when int8 loses more than `loss` of the metric that decides; one test row may always differ."""
    name = METRICS_OF[gold.kind][0]
    whole, rounded = (scores[form].metrics[name] for form in ("onnx", "int8"))
    lost = (rounded - whole) if METRICS[name].is_error else (whole - rounded)
    if not lost <= max(loss, 1 / gold.test.table.num_rows) + 1e-12:
        text = METRICS[name].text
        raise Unfaithful(
            f"The {TITLES['int8']} form loses too much: {METRICS[name].inline} {text(rounded)} beside {text(whole)} of "
            f"float32 on {gold.test.table.num_rows} test rows, expected to lose at most {100 * loss:g} points; export "
            "with --no-int8, or allow more with --int8-loss"
        )
