"""Evaluation: predictions of the test split and the scores made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.metrics import accuracy_score, f1_score

from distill.gold import Gold
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


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The share that is right. A label that stands only in the test can never be predicted: it counts as wrong."""
    return float(accuracy_score(gold, predicted))


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The mean of the classes' F1, over every class that is in the test or was predicted; 0 where none was right."""
    return float(f1_score(gold, predicted, average="macro", zero_division=0))


def score_teacher(gold: Sequence[str], predicted: Sequence[str]) -> TeacherScores:
    return TeacherScores(accuracy(gold, predicted), macro_f1(gold, predicted))


def score_student(gold: Sequence[str], predicted: Sequence[str], teacher: Sequence[str]) -> StudentScores:
    """Scores against the gold labels, and agreement with the teacher's predictions."""
    return StudentScores(accuracy(gold, predicted), macro_f1(gold, predicted), accuracy(teacher, predicted))


def predictions_table(gold: Gold, predicted: Sequence[str], teacher: Sequence[str]) -> pa.Table:
    columns = [gold.test.table["id"].to_pylist(), gold.test.labels, list(predicted), list(teacher)]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=PREDICTIONS)
