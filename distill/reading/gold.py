"""The gold labels: the task's training and test rows as distill learns and judges by them, classes numbered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput
from contract.rows import BadRow, refuse_bad_rows
from contract.task import Target, Task, few_shot, read_task
from distill.reading.amounts import are_amounts, is_number
from distill.reading.slots import NO_TAG, is_tag, repair, tags_of
from distill.reading.tokens import Tokens, tokenize
from distill.reading.words import WordSpans, gather_words, locate_words
from distill.settings.task import Kind, TaskConfig

NO_LABEL = NO_TAG  # a class number no output of a model has


@dataclass(frozen=True)
class GoldSlots:
    """The slots of rows: BIO tags a row, where its words stand, and the tags' numbers, NO_LABEL for unknown ones."""

    names: list[list[str]]
    spans: WordSpans
    tags: npt.NDArray[np.int64]  # (W,)


@dataclass(frozen=True)
class GoldRows:
    """`classes[i]` is the number of row i's label, NO_LABEL where the training rows have no such label.

    A regression has `amounts` instead; a task of slots alone has neither, and `labels` of nothing.
    """

    table: pa.Table  # in the TASK schema
    labels: list[str]
    classes: npt.NDArray[np.int64] | None  # (rows,)
    amounts: npt.NDArray[np.float32] | None = None  # (rows,)
    slots: GoldSlots | None = None

    @property
    def texts(self) -> list[tuple[str, str | None]]:
        return list(zip(self.table["text"].to_pylist(), self.table["text_pair"].to_pylist(), strict=True))

    @property
    def identity(self) -> str:
        """A hash of the rows' ids: with the task's id it says which rows these are."""
        return hashlib.sha256("\n".join(self.table["id"].to_pylist()).encode()).hexdigest()[:16]

    def tokens(self, tokenizer: Any, max_length: int) -> Tokens:
        words = None if self.slots is None else self.slots.spans
        return tokenize(tokenizer, *zip(*self.texts, strict=True), max_length=max_length, words=words)


@dataclass(frozen=True)
class Gold:
    """A task to learn: the training rows (few-shot or all), the test rows, and the classes in sorted order.

    `tags` are those of the slots, O first. `out_of_scope` is the label of test rows that are of no class.
    """

    task: Task
    kind: Kind
    target: str
    classes: tuple[str, ...]
    train: GoldRows
    test: GoldRows
    tags: tuple[str, ...] = ()
    slot_weight: float = 1.0  # of the words' loss beside the sentences'
    out_of_scope: str | None = None

    @property
    def outputs(self) -> int:
        """How many numbers a model says of a sentence: one a class, one amount, or none."""
        return 1 if self.kind == "regression" else len(self.classes)

    @property
    def mean(self) -> float:
        """The mean amount of the training rows: where a regression's head begins."""
        assert self.train.amounts is not None
        return float(self.train.amounts.astype(np.float64).mean())

    @property
    def pairs(self) -> bool:
        """Whether a text is two sentences."""
        return bool(self.test.table["text_pair"].null_count < self.test.table.num_rows)

    @property
    def in_scope(self) -> npt.NDArray[np.bool_]:
        """Which test rows are of any class, (rows,)."""
        return np.array([label != self.out_of_scope for label in self.test.labels])

    @property
    def unseen_labels(self) -> int:
        """How many labels stand in the test only."""
        return len({*self.test.labels} - {*self.classes, self.out_of_scope}) if self.classes else 0

    @property
    def unseen_slots(self) -> int:
        """How many kinds of slots stand in the test only: no student can find them, and they count as missed."""
        if self.test.slots is None:
            return 0
        return len({tag[2:] for row in self.test.slots.names for tag in row} - {tag[2:] for tag in self.tags})

    @cached_property
    def row_of(self) -> Mapping[tuple[str, str], int]:
        """The number of each training row by its id and text: an id alone may be another task's."""
        rows = self.train.table
        names = zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)
        return {name: row for row, name in enumerate(names)}


def read_gold(config: TaskConfig) -> Gold:
    """The task of a run; BadInput when a split is missing, has no labels, or there is nothing to tell apart."""
    on_bad_row = _pass_over if config.skip_bad_rows else refuse_bad_rows
    task = read_task(config.path, columns=config.columns, on_bad_row=on_bad_row)
    shared = sorted({*config.train_splits} & {*config.test_splits})
    if shared:
        raise BadInput(f"task.train_split and task.test_split are both {shared[0]!r}; test on rows not learnt")
    if config.kind == "slots":
        return _slots_alone(config, task)
    target = task.target(config.target)
    train = _labelled(task, config.train_splits, target, "task.train_split")
    kind = config.kind or ("regression" if are_amounts(pc.unique(train[target]).to_pylist()) else "classes")
    if kind == "regression":
        return _regression(config, task, target, train)
    test = _labelled(task, config.test_splits, target, "task.test_split")
    out_of_scope = config.out_of_scope if kind == "out-of-scope" else None
    if out_of_scope is not None:
        train = train.filter(pc.not_equal(train[target], out_of_scope))
    if kind == "joint":
        train, test = (_with_slots(config, task, rows) for rows in (train, test))
    if config.shots is not None:
        train = few_shot(train, target, config.shots, seed=config.seed)
    classes = tuple(sorted(set(train[target].to_pylist())))
    if len(classes) < 2:
        raise BadInput(
            f"Task {task.name} has the one {target} {classes[0]!r} in split {'+'.join(config.train_splits)!r}; "
            "expected at least two to tell apart"
        )
    number = {label: index for index, label in enumerate(classes)}
    if kind == "joint":
        tags, of_train, of_test = _slots(task, train, test)
    else:
        tags, of_train, of_test = (), None, None
    gold = Gold(
        task,
        kind,
        target,
        classes,
        _gold_rows(train, target, number, of_train),
        _gold_rows(test, target, number, of_test),
        tags,
        config.slot_weight,
        out_of_scope,
    )
    _refuse_unseen(config, gold)
    _refuse_one_scope(config, gold)
    return gold


def read_validation(config: TaskConfig) -> Gold | None:
    """The same task, judged on its validation split in the test's place; None where none is named."""
    splits = config.validation_splits
    if not splits:
        return None
    seen = sorted({*splits} & {*config.train_splits, *config.test_splits})
    if seen:
        raise BadInput(f"task.validation_split is {seen[0]!r}, which the run learns from or tests on; name another")
    return read_gold(config.model_copy(update={"test_split": splits, "validation_split": None}))


def _slots_alone(config: TaskConfig, task: Task) -> Gold:
    parts = (_rows(task, splits) for splits in (config.train_splits, config.test_splits))
    train, test = (_with_slots(config, task, rows) for rows in parts)
    if config.shots is not None:
        train = few_shot(train, task.target(config.target), config.shots, seed=config.seed)
    tags, of_train, of_test = _slots(task, train, test)
    rows = [GoldRows(table, [], None, None, of) for table, of in ((train, of_train), (test, of_test))]
    return Gold(task, "slots", "slots", (), rows[0], rows[1], tags, config.slot_weight)


def _regression(config: TaskConfig, task: Task, target: Target, train: pa.Table) -> Gold:
    if config.shots is not None:
        raise BadInput(
            f"task.shots keeps rows a class, but the {target} of task {task.name} is an amount; leave it out"
        )
    test = _labelled(task, config.test_splits, target, "task.test_split")
    rows = [GoldRows(table, table[target].to_pylist(), None, _amounts(task, target, table)) for table in (train, test)]
    gold = Gold(task, "regression", target, (), rows[0], rows[1])
    assert gold.train.amounts is not None
    if len(set(gold.train.amounts.tolist())) < 2:
        raise BadInput(f"Task {task.name} has one amount only as {target} of its training rows; expected several")
    return gold


def _amounts(task: Task, target: Target, rows: pa.Table) -> npt.NDArray[np.float32]:
    for row, value in zip(rows["id"].to_pylist(), rows[target].to_pylist(), strict=True):
        if not is_number(value):
            raise BadInput(
                f"Task {task.name}, row {row}: expected an amount as {target}, found {value[:40]!r}; "
                'mend it, or set task.kind = "classes"'
            )
    return np.array([float(value) for value in rows[target].to_pylist()], np.float32)


def _slots(task: Task, train: pa.Table, test: pa.Table) -> tuple[tuple[str, ...], GoldSlots, GoldSlots]:
    """The tags of the training rows, and the slots of both parts."""
    tags = tags_of(repair(row) for row in train["slots"].to_pylist())
    if len(tags) < 2:
        raise BadInput(f"Task {task.name} has no slot but O in its training rows; expected BIO tags such as B-date")
    number = {tag: index for index, tag in enumerate(tags)}
    return tags, _gold_slots(train, number), _gold_slots(test, number)


def _gold_slots(rows: pa.Table, number: dict[str, int]) -> GoldSlots:
    names = [repair(row) for row in rows["slots"].to_pylist()]
    texts = zip(rows["text"].to_pylist(), rows["tokens"].to_pylist(), strict=True)
    spans = gather_words(locate_words(text, words) or [] for text, words in texts)
    return GoldSlots(names, spans, np.array([number.get(tag, NO_LABEL) for row in names for tag in row], np.int64))


def _with_slots(config: TaskConfig, task: Task, rows: pa.Table) -> pa.Table:
    """The rows whose slots can be used: all of them, or BadInput for one that cannot, if it is not to be skipped."""
    columns = [rows[name].to_pylist() for name in ("id", "text", "text_pair", "tokens", "slots")]
    faults = [_slot_fault(*of_row) for _, *of_row in zip(*columns, strict=True)]
    wrong = next((row for row, fault in enumerate(faults) if fault), None)
    if wrong is not None and not config.skip_bad_rows:
        raise BadInput(
            f"Task {task.name}, row {columns[0][wrong]}: {faults[wrong]}; mend the row, or leave such rows out with "
            "task.skip_bad_rows = true"
        )
    kept = rows.filter(pa.array([fault is None for fault in faults], pa.bool_()))
    if not kept.num_rows:
        raise BadInput(f"Task {task.name} has no row whose slots can be used: {faults[0]}")
    return kept


def _slot_fault(text: str, pair: str | None, words: list[str] | None, tags: list[str] | None) -> str | None:
    """What is wrong with a row's slots, if anything is."""
    if pair is not None:
        return "expected a single text, as slots are of, found a pair"
    if not words or tags is None:
        return "expected tokens and slots, found none"
    wrong = next((tag for tag in tags if not is_tag(tag)), None)
    if wrong is not None:
        return f"expected BIO tags (O, B-kind, I-kind), found {wrong[:40]!r}"
    if locate_words(text, words) is None:
        return "expected tokens that stand one after the other in its text, as they are written there"
    return None


def _refuse_unseen(config: TaskConfig, gold: Gold) -> None:
    if gold.unseen_labels and config.unseen_labels == "refuse":
        raise BadInput(
            f"Task {gold.task.name} has {gold.unseen_labels} {gold.target} labels in split "
            f"{'+'.join(config.test_splits)!r} that no row of split {'+'.join(config.train_splits)!r} has: no student "
            'can say them; mend the labels, or count their rows as wrong with task.unseen_labels = "wrong"'
        )


def _refuse_one_scope(config: TaskConfig, gold: Gold) -> None:
    """Out-of-scope detection needs both sides in the test."""
    if gold.out_of_scope is None:
        return
    outside = gold.test.labels.count(gold.out_of_scope)
    if outside in (0, len(gold.test.labels)):
        side = "none" if outside == 0 else "nothing but rows"
        raise BadInput(
            f"Task {gold.task.name} has {side} with the {gold.target} {gold.out_of_scope!r} in split "
            f"{'+'.join(config.test_splits)!r}; expected rows in scope and out of it: "
            'list both splits, as in task.test_split = ["test", "oos_test"], or name the label in task.out_of_scope'
        )


def _pass_over(bad: BadRow) -> None:
    """A row that cannot be read is not learnt; the transfer set's errors file lists it."""


def _rows(task: Task, splits: Sequence[str]) -> pa.Table:
    return pa.concat_tables([task.split(split) for split in splits])


def _labelled(task: Task, splits: Sequence[str], target: str, setting: str) -> pa.Table:
    """The rows of splits that have a label."""
    rows = _rows(task, splits)
    kept = rows.filter(pc.is_valid(rows[target]))
    if not kept.num_rows:
        raise BadInput(
            f"Task {task.name} has {rows.num_rows} rows of split {'+'.join(splits)!r}, none with a {target}; "
            f"choose a split with labels ({setting})"
        )
    return kept


def _gold_rows(rows: pa.Table, target: str, number: dict[str, int], slots: GoldSlots | None) -> GoldRows:
    labels = rows[target].to_pylist()
    return GoldRows(rows, labels, np.array([number.get(label, NO_LABEL) for label in labels], np.int64), None, slots)
