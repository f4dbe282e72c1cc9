"""The gold labels: the task's training and test rows as distill learns and judges by them, classes numbered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput
from contract.rows import BadRow, refuse_bad_rows
from contract.task import Task, few_shot, read_task
from distill.config import TaskConfig
from distill.tokens import Tokens, tokenize

NO_LABEL = -1  # a class number no output of a model has


@dataclass(frozen=True)
class GoldRows:
    """`classes[i]` is the number of row i's label, NO_LABEL where the training rows have no such label."""

    table: pa.Table  # in the TASK schema
    labels: list[str]
    classes: npt.NDArray[np.int64]  # (rows,)

    @property
    def texts(self) -> list[tuple[str, str | None]]:
        return list(zip(self.table["text"].to_pylist(), self.table["text_pair"].to_pylist(), strict=True))

    @property
    def identity(self) -> str:
        """A hash of the rows' ids: with the task's id it says which rows these are."""
        return hashlib.sha256("\n".join(self.table["id"].to_pylist()).encode()).hexdigest()[:16]

    def tokens(self, tokenizer: Any, max_length: int) -> Tokens:
        return tokenize(tokenizer, *zip(*self.texts, strict=True), max_length=max_length)


@dataclass(frozen=True)
class Gold:
    """A task to learn: the training rows (few-shot or all), the test rows, and the classes in sorted order."""

    task: Task
    target: str
    classes: tuple[str, ...]
    train: GoldRows
    test: GoldRows

    @property
    def unseen_labels(self) -> int:
        """How many labels stand in the test only."""
        return len({*self.test.labels} - {*self.classes})

    def classes_of(self, utterance_ids: Iterable[str | None], texts: Iterable[str]) -> npt.NDArray[np.int64]:
        """The classes of training rows by id and text: an id alone may be another task's. NO_LABEL for all others."""
        rows = self.train.table
        names = zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)
        known = dict(zip(names, self.train.classes.tolist(), strict=True))
        return np.array([known.get(row, NO_LABEL) for row in zip(utterance_ids, texts, strict=True)], np.int64)


def read_gold(config: TaskConfig) -> Gold:
    """The task of a run; BadInput when a split is missing, has no labels, or there is nothing to tell apart."""
    on_bad_row = _pass_over if config.skip_bad_rows else refuse_bad_rows
    task = read_task(config.path, columns=config.columns, on_bad_row=on_bad_row)
    target = task.target(config.target)
    if config.train_split == config.test_split:
        raise BadInput(f"task.train_split and task.test_split are both {config.test_split!r}; test on rows not learnt")
    train = _labelled(task, config.train_split, target)
    _refuse_regression(task, target, train)
    if config.shots is not None:
        train = few_shot(train, target, config.shots, seed=config.seed)
    classes = tuple(sorted(set(train[target].to_pylist())))
    if len(classes) < 2:
        raise BadInput(
            f"Task {task.name} has the one {target} {classes[0]!r} in split {config.train_split!r}; "
            "expected at least two to tell apart"
        )
    test = _labelled(task, config.test_split, target)
    number = {label: index for index, label in enumerate(classes)}
    gold = Gold(task, target, classes, _gold_rows(train, target, number), _gold_rows(test, target, number))
    if gold.unseen_labels and config.unseen_labels == "refuse":
        raise BadInput(
            f"Task {task.name} has {gold.unseen_labels} {target} labels in split {config.test_split!r} that no row of "
            f"split {config.train_split!r} has: no student can say them; mend the labels, or count their rows as wrong "
            'with task.unseen_labels = "wrong"'
        )
    return gold


def _pass_over(bad: BadRow) -> None:
    """A row that cannot be read is not learnt; the transfer set's errors file lists it."""


def _labelled(task: Task, split: str, target: str) -> pa.Table:
    """The rows of a split that have a label."""
    rows = task.split(split)
    kept = rows.filter(pc.is_valid(rows[target]))
    if not kept.num_rows:
        raise BadInput(
            f"Task {task.name} has {rows.num_rows} rows of split {split!r}, none with a {target}; "
            "choose a split with labels (task.train_split, task.test_split)"
        )
    return kept


def _gold_rows(rows: pa.Table, target: str, number: dict[str, int]) -> GoldRows:
    labels = rows[target].to_pylist()
    return GoldRows(rows, labels, np.array([number.get(label, NO_LABEL) for label in labels], np.int64))


def _refuse_regression(task: Task, target: str, rows: pa.Table) -> None:
    """Labels such as 3.8 are amounts, not classes; whole numbers may be either and are taken as classes."""
    values = pc.unique(rows[target]).to_pylist()
    if any("." in value for value in values) and all(_is_number(value) for value in values):
        raise BadInput(
            f"Task {task.name} has numbers as {target} ({values[0]} and {len(values) - 1} others): that is a "
            "regression, which is not taught yet; expected classes"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
