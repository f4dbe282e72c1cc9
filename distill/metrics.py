"""The metrics: what is made of gold labels and predictions, labels or their codes, (rows,) each."""

from __future__ import annotations

import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score


def accuracy(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The share that is right. A label that stands only in the test can never be predicted: it counts as wrong."""
    return float(accuracy_score(gold, predicted))


def macro_f1(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The mean of the classes' F1, over every class that is in the test or was predicted; 0 where none was right."""
    return float(f1_score(gold, predicted, average="macro", zero_division=0))
