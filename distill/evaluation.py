"""Evaluation: predictions of the test split and the scores made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.gold import Gold
from distill.metrics import accuracy, macro_f1
from distill.outcome import StudentScores, TeacherScores

# Written by a run, read by `compare`: one row a test utterance, in the task's order.
PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("gold", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("teacher", pa.string(), nullable=False),
    ]
)


def predicted_labels(logits: npt.NDArray[np.float32], classes: Sequence[str]) -> list[str]:
    """The label of the highest logit of each row; the first one of equals."""
    return [classes[index] for index in logits.argmax(axis=1)]


def score_teacher(gold: Sequence[str], predicted: Sequence[str]) -> TeacherScores:
    return TeacherScores(accuracy(gold, predicted), macro_f1(gold, predicted))


def score_student(gold: Sequence[str], predicted: Sequence[str], teacher: Sequence[str]) -> StudentScores:
    """Scores against the gold labels, and agreement with the teacher's predictions."""
    return StudentScores(accuracy(gold, predicted), macro_f1(gold, predicted), accuracy(teacher, predicted))


def predictions_table(gold: Gold, predicted: Sequence[str], teacher: Sequence[str]) -> pa.Table:
    columns = [gold.test.table["id"].to_pylist(), gold.test.labels, list(predicted), list(teacher)]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=PREDICTIONS)
