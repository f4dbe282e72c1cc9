"""What a run's student and teacher said on each test row: predictions.parquet, from the pipeline, for comparing.

Its columns, where the task has them; a teacher that was not finetuned has no answers, and no columns:
id                                        of the row
gold, predicted, teacher                  labels, or amounts
confidence, teacher_confidence            the highest probability of a class
entropy, teacher_entropy                  of all classes, in nats
in_scope                                  whether the row is of any class
gold_slots, predicted_slots, teacher_slots  a BIO tag a word
lang                                      its language

Rows are kept in the order of their ids, so that two runs are paired by row id, whatever order they were written in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact
from distill.judging.bootstrap import Column
from distill.judging.metrics import METRICS, Judged, Metric, Weights, metrics_of
from distill.reading.slots import SlotCounts
from distill.settings.task import Kind

PREDICTIONS_FILE = "predictions.parquet"
_SAID = ("gold", "predicted", "teacher")
_SLOTS = ("gold_slots", "predicted_slots", "teacher_slots")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Student and teacher beside the same gold, in the order of the rows' ids."""

    kind: Kind
    table: pa.Table
    student: Judged
    teacher: Judged | None

    @property
    def ids(self) -> list[str]:
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the student can be judged by; the first one decides."""
        return metrics_of(self.kind, self.student)

    @cached_property
    def agreement(self) -> float | None:
        """The share of rows where student and teacher say the same, slots included; of amounts Pearson's r.

        None beside a teacher that has no answers.
        """
        if self.teacher is None:
            return None
        if self.kind == "regression":
            return METRICS["pearson"](Judged(gold=self.teacher.said, said=self.student.said))
        same = np.ones(self.table.num_rows, bool)
        if self.student.said is not None:
            same &= self.student.said == self.teacher.said
        if _SLOTS[0] in self.table.column_names:
            ours, theirs = (self.table[column].to_pylist() for column in _SLOTS[1:])
            same &= np.array([one == other for one, other in zip(ours, theirs, strict=True)])
        return float(same.mean())

    @cached_property
    def test_id(self) -> str:
        """A hash of the rows' ids and gold labels: only runs that share it were tested on the same."""
        columns = [self.table[name].to_pylist() for name in ("gold", "gold_slots") if name in self.table.column_names]
        digest = hashlib.sha256()
        for row, *gold in zip(self.ids, *columns, strict=True):
            digest.update(f"{len(row)} {row} {' '.join(map(str, gold))}\0".encode())
        return digest.hexdigest()[:32]

    @property
    def languages(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Which rows are of which language, by name; empty where the rows do not say."""
        if "lang" not in self.table.column_names:
            return {}
        langs = np.array(self.table["lang"].fill_null("").to_pylist())
        return {str(lang): langs == lang for lang in np.unique(langs)}


def read_predictions(run: Artifact, name: str) -> Predictions:
    """The predictions of a finished run; BadInput when it has none, CorruptArtifact when they are not ours."""
    if PREDICTIONS_FILE not in (entry.name for entry in run.manifest.files):
        raise BadInput(f"Run {name} has no {PREDICTIONS_FILE}, so that it cannot be compared; distil it again")
    path = run.path(PREDICTIONS_FILE)
    try:
        return predictions_of(pq.read_table(path))
    except (pa.ArrowException, ValueError) as error:
        raise CorruptArtifact(
            f"{path} does not hold one row a test utterance with what was said of it ({error}); distil the run again"
        ) from error


def predictions_of(table: pa.Table) -> Predictions:
    """The predictions of a table; ValueError when a column is missing, or a row lacks a value."""
    kind = _kind_of(table)
    taught = any(column in table.column_names for column in (_SAID[-1], _SLOTS[-1]))
    heard = slice(None) if taught else slice(2)
    said_by, slots_by = (_SAID[heard] if kind != "slots" else ()), (_SLOTS[heard] if kind in ("slots", "joint") else ())
    wanted = ("id", *said_by, *slots_by)
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise ValueError(f"expected a column {missing[0]}, found {', '.join(table.column_names) or 'none'}")
    table = table.set_column(table.column_names.index("id"), "id", table["id"].cast(pa.string())).sort_by("id")
    if not table.num_rows:
        raise ValueError("expected rows, found none")
    if any(table[column].null_count for column in wanted):
        raise ValueError("expected a value in every row, found rows without")
    if pc.count_distinct(table["id"]).as_py() < table.num_rows:
        raise ValueError("expected each id once, found one in two rows")
    said = _said(table, kind, said_by)
    judged = [
        Judged(
            gold=said.get("gold"),
            said=said.get(name),
            **_columns(table, of),
            **(_slot_counts(table, column) if column in slots_by else {}),
        )
        for name, of, column in zip(_SAID[1:], ("", "teacher_"), _SLOTS[1:], strict=True)
    ]
    return Predictions(kind, table, judged[0], judged[1] if taught else None)


def column_of(metric: Metric, judged: Sequence[Judged]) -> Column:
    """What the bootstrap resamples of some seeds' answers to the same rows: the mean of their scores."""

    def measure(weights: Weights) -> Weights:
        return np.asarray(np.mean([metric.measure(said, weights) for said in judged], axis=0))

    return Column(measure, np.mean([metric.evidence(said) for said in judged], axis=0)[:, None])


def _kind_of(table: pa.Table) -> Kind:
    names = table.column_names
    if "gold_slots" in names:
        return "joint" if "gold" in names else "slots"
    if "in_scope" in names:
        return "out-of-scope"
    return "regression" if "gold" in names and pa.types.is_floating(table["gold"].type) else "classes"


def _said(table: pa.Table, kind: Kind, columns: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """What is gold and what was said, (rows,) each: amounts, or codes of the labels that stand in any column."""
    if kind == "slots":
        return {}
    if kind == "regression":
        return {column: table[column].to_numpy() for column in columns}
    said = {column: table[column].cast(pa.string()).combine_chunks() for column in columns}
    labels = pc.unique(pa.concat_arrays(list(said.values()))).sort()
    return {column: pc.index_in(values, labels).to_numpy(zero_copy_only=False) for column, values in said.items()}


def _columns(table: pa.Table, of: str) -> dict[str, npt.NDArray[Any]]:
    named = {"confidence": f"{of}confidence", "entropy": f"{of}entropy", "in_scope": "in_scope"}
    return {name: table[column].to_numpy() for name, column in named.items() if column in table.column_names}


def _slot_counts(table: pa.Table, column: str) -> dict[str, npt.NDArray[Any]]:
    rows = zip(table["gold_slots"].to_pylist(), table[column].to_pylist(), strict=True)
    counts = [SlotCounts.of(gold, said) for gold, said in rows]
    return {
        "right_slots": np.array([count.right for count in counts]),
        "reference_slots": np.array([count.reference for count in counts]),
        "said_slots": np.array([count.said for count in counts]),
        "slot_errors": np.array([count.errors for count in counts]),
    }
