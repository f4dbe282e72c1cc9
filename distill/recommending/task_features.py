"""What a task file alone says of a task, and how unlike two tasks are by it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput
from contract.rows import BadRow
from contract.task import Target, Task, few_shot
from distill.reading.amounts import are_amounts
from distill.settings.task import Kind

VARIETY_WORDS = 2_000  # the first so many: how many different words there are depends on how many one reads

# What counts as one step of unlikeness; ours, named here: ten times the rows, four times the classes, twice the words.
_STEPS = {"rows": 10.0, "classes": 4.0, "words": 2.0}
_SHARE_STEP = 0.2  # of variety and balance


@dataclass(frozen=True)
class TaskFeatures:
    """A task as the recommender sees it; None is not known.

    `rows` are the labelled training rows, `classes` 0 for amounts and for slots alone, `words` the mean words a text
    (both sentences of a pair), `variety` the share of different words among the first 2,000, `balance` the entropy of
    the classes as a share of the most it can be.
    """

    kind: Kind
    pairs: bool | None
    rows: int
    classes: int
    words: float | None = None
    variety: float | None = None
    balance: float | None = None


def features_of(
    task: Task,
    *,
    target: Target | None = None,
    kind: Kind | None = None,
    splits: Sequence[str] = ("train",),
    shots: int | None = None,
    seed: int = 0,
) -> TaskFeatures:
    """The features of a task's training rows; BadInput where they have no labels."""
    rows = pa.concat_tables([task.split(split) for split in splits])
    pairs = zip(rows["text"].to_pylist(), rows["text_pair"].to_pylist(), strict=True)
    texts = [" ".join(filter(None, pair)) for pair in pairs]
    found = TaskFeatures(
        kind=kind or "slots",
        pairs=bool(rows["text_pair"].null_count < rows.num_rows),
        rows=rows.num_rows,
        classes=0,
        words=sum(len(text.split()) for text in texts) / len(texts),
        variety=_variety(texts),
    )
    return found if kind == "slots" else _labelled(found, task, rows, target, kind, shots, seed)


def unlikeness(one: TaskFeatures, other: TaskFeatures) -> float:
    """How many steps apart two tasks are on the mean over the features that both have; 0 is alike."""
    steps = [float(one.kind != other.kind)]
    if one.pairs is not None and other.pairs is not None:
        steps.append(float(one.pairs != other.pairs))
    for name, factor in _STEPS.items():
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine and theirs:
            steps.append(abs(math.log(mine / theirs, factor)))
    for name in ("variety", "balance"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not None and theirs is not None:
            steps.append(abs(mine - theirs) / _SHARE_STEP)
    return sum(steps) / len(steps)


def _labelled(
    found: TaskFeatures,
    task: Task,
    rows: pa.Table,
    target: Target | None,
    kind: Kind | None,
    shots: int | None,
    seed: int,
) -> TaskFeatures:
    """With what the labels say."""
    column = task.target(target)
    rows = rows.filter(pc.is_valid(rows[column]))
    if not rows.num_rows:
        raise BadInput(f"Task {task.name} has no {column} in its training rows; choose a split that has, with --split")
    if kind == "regression" or (kind is None and are_amounts(rows[column].to_pylist())):
        if shots is not None:
            raise BadInput(
                f"--shots keeps rows a class, but the {column} of task {task.name} is an amount; leave it out"
            )
        return replace(found, kind="regression", rows=rows.num_rows)
    if shots is not None:
        rows = few_shot(rows, column, shots, seed=seed)
    counted = Counter(rows[column].to_pylist())
    return replace(
        found, kind=kind or "classes", rows=rows.num_rows, classes=len(counted), balance=_balance([*counted.values()])
    )


def pass_over(bad: BadRow) -> None:
    """A row that cannot be read says nothing."""


def _variety(texts: Sequence[str]) -> float | None:
    """The share of different words; None of texts that are too short to say."""
    words: list[str] = []
    for text in texts:
        words += text.lower().split()
        if len(words) >= VARIETY_WORDS:
            return len({*words[:VARIETY_WORDS]}) / VARIETY_WORDS
    return None


def _balance(counts: Sequence[int]) -> float | None:
    if len(counts) < 2:
        return None
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts) / math.log(len(counts))
