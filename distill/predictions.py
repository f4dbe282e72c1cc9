"""What a run's student and teacher said on each test row: predictions.parquet, from the pipeline, for comparing.

Rows are kept in the order of their ids, so that two runs are paired by row id, whatever order they were written in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact
from distill.metrics import macro_f1

PREDICTIONS_FILE = "predictions.parquet"
_COLUMNS = ("id", "gold", "predicted", "teacher")


@dataclass(frozen=True, eq=False)
class Predictions:
    """The classes as codes into `labels`: three int arrays (rows,), in the order of the rows' ids."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    gold: np.ndarray
    predicted: np.ndarray
    teacher: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Per row whether the student is right, bool (rows,)."""
        return np.asarray(self.predicted == self.gold)

    @property
    def teacher_correct(self) -> np.ndarray:
        """Per row whether the teacher is right, bool (rows,)."""
        return np.asarray(self.teacher == self.gold)

    @property
    def agreement(self) -> float:
        """The share of rows where student and teacher say the same."""
        return float(np.mean(self.predicted == self.teacher))

    @property
    def macro_f1(self) -> float:
        return macro_f1(self.gold, self.predicted)

    @property
    def teacher_macro_f1(self) -> float:
        return macro_f1(self.gold, self.teacher)

    @cached_property
    def test_id(self) -> str:
        """A hash of the rows' ids and gold labels: only runs that share it were tested on the same."""
        digest = hashlib.sha256()
        for row, code in zip(self.ids, self.gold.tolist(), strict=True):
            digest.update(f"{len(row)} {row} {self.labels[code]}\0".encode())
        return digest.hexdigest()[:32]


def read_predictions(run: Artifact, name: str) -> Predictions:
    """The predictions of a finished run; BadInput when it has none, CorruptArtifact when they are not ours."""
    if PREDICTIONS_FILE not in (entry.name for entry in run.manifest.files):
        raise BadInput(f"Run {name} has no {PREDICTIONS_FILE}, so that it cannot be compared; distil it again")
    path = run.path(PREDICTIONS_FILE)
    try:
        return predictions_of(pq.read_table(path))
    except (pa.ArrowException, ValueError) as error:
        raise CorruptArtifact(
            f"{path} does not hold one row a test utterance with the columns {', '.join(_COLUMNS)}"
            f" ({error}); distil the run again"
        ) from error


def predictions_of(table: pa.Table) -> Predictions:
    """The predictions of a table (id, gold, predicted, teacher: strings); ValueError when a row lacks one."""
    missing = [column for column in _COLUMNS if column not in table.column_names]
    if missing:
        raise ValueError(f"expected a column {missing[0]}, found {', '.join(table.column_names) or 'none'}")
    table = table.select(_COLUMNS).sort_by("id")
    if not table.num_rows:
        raise ValueError("expected rows, found none")
    if any(table[column].null_count for column in _COLUMNS):
        raise ValueError("expected a value in every row, found rows without")
    ids = table["id"].cast(pa.string()).to_pylist()
    if len(set(ids)) < len(ids):
        raise ValueError("expected each id once, found one in two rows")
    said = {column: table[column].cast(pa.string()).combine_chunks() for column in _COLUMNS[1:]}
    labels = pc.unique(pa.concat_arrays(list(said.values()))).sort()
    codes = {column: pc.index_in(values, labels).to_numpy(zero_copy_only=False) for column, values in said.items()}
    return Predictions(tuple(ids), tuple(labels.to_pylist()), codes["gold"], codes["predicted"], codes["teacher"])
