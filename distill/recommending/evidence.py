"""The evidence: one row a run, whose choices, task and scores are facts; no text, no names but a task's.

evidence.parquet ships with the product and is made by `python -m experiments recommend --build`. A user's own table,
`evidence.parquet` in the folder of the artifacts, is written by `transferset recommend --add-runs`; both are read by
`recommend`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import as_file, files
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from contract.errors import CorruptArtifact
from contract.manifest import canonical_json, move_into_place
from distill.recommending.recipe import NO_DISTILLATION, Recipe
from distill.recommending.task_features import TaskFeatures

BoardName = Literal["distiller", "transferset"]
EVIDENCE = "evidence.parquet"
TITLES: Mapping[BoardName, str] = {
    "distiller": "Pipelines, by the published runs of Distiller",
    "transferset": "Transfer sets and settings, by Transferset's own runs",
}
_LEAST_GAP = 0.005  # teacher minus plain student: below half a point their quotient is noise


@dataclass(frozen=True)
class Run:
    """One run. Runs are compared inside a board, where they were made alike.

    `task_key` tells tasks apart (a task at another number of shots is another), `task` is its name. `metric` is None
    where the source does not say. `plain_score` is the same student's without distillation, where that was run.
    """

    run: str
    board: BoardName
    task: str
    task_key: str
    features: TaskFeatures
    student: str
    teacher: str
    recipe: Recipe
    score: float
    teacher_score: float
    metric: str | None = None
    shots: int | None = None
    seed: int | None = None
    plain_score: float | None = None
    updates: int | None = None
    seconds: float | None = None

    @property
    def kept(self) -> float:
        """The student's score as a share of the teacher's."""
        return self.score / self.teacher_score

    @property
    def distillation_ratio(self) -> float | None:
        """(student - plain) / (teacher - plain); None where the plain student is unknown or as good as the teacher."""
        if self.plain_score is None or self.teacher_score - self.plain_score < _LEAST_GAP:
            return None
        return (self.score - self.plain_score) / (self.teacher_score - self.plain_score)

    @property
    def context(self) -> tuple[str, str]:
        """What is given before a recipe is chosen: (student, teacher)."""
        return self.student, self.teacher


_NESTED: Mapping[str, type[TaskFeatures] | type[Recipe]] = {"features": TaskFeatures, "recipe": Recipe}
_TYPES: Mapping[str, pa.DataType] = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def _schema() -> pa.Schema:
    """A column a field, features and recipe laid out flat; a field may be null where its type has a None."""
    return pa.schema([field for item in fields(Run) for field in _columns(item.name, str(item.type))])


def _columns(name: str, kind: str) -> list[pa.Field]:
    if name in _NESTED:
        return [field for item in fields(_NESTED[name]) for field in _columns(item.name, str(item.type))]
    plain, _, none = kind.partition(" | ")
    return [pa.field(name, _TYPES.get(plain, pa.string()), nullable=bool(none))]


SCHEMA = _schema()


def shipped_evidence() -> list[Run]:
    """The runs that come with the product."""
    with as_file(files("distill.recommending").joinpath(EVIDENCE)) as path:
        return read_evidence(path)


def read_evidence(path: Path) -> list[Run]:
    """The runs of a table; CorruptArtifact when it is not one of ours."""
    try:
        table = pq.read_table(path).cast(SCHEMA)
        return [_run(row) for row in table.to_pylist()]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(
            f"{path} is no table of evidence this version reads ({type(error).__name__}); remove it, and add your runs "
            "again with --add-runs"
        ) from error


def write_evidence(runs: Sequence[Run], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table whole or not at all; the same runs give the same bytes in whatever order they come."""
    rows = [_row(run) for run in sorted(runs, key=lambda run: (run.board, run.task_key, run.run))]
    schema = SCHEMA.with_metadata(dict(metadata or {}))
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(rows, schema), partial, compression="zstd")
    move_into_place(partial, path)


def merged(*tables: Iterable[Run]) -> list[Run]:
    """All runs, each once by its id, the first to come, and each beside its plain student."""
    once: dict[str, Run] = {}
    for run in (run for table in tables for run in table):
        once.setdefault(run.run, run)
    return _beside_plain(list(once.values()))


def identity(runs: Iterable[Run]) -> str:
    """A hash of what the runs say, in whatever order: what was judged on them stands or falls with it."""
    lines = sorted(canonical_json(_row(run)) for run in runs)
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:32]


def boards_of(runs: Iterable[Run]) -> dict[BoardName, list[Run]]:
    """The runs by board, in the order of the titles, each board's in a fixed order."""
    ordered = sorted(runs, key=lambda run: (run.task_key, run.run))
    found = {name: [run for run in ordered if run.board == name] for name in TITLES}
    return {name: board for name, board in found.items() if board}


def _beside_plain(runs: list[Run]) -> list[Run]:
    """Every run with the mean score of the runs without distillation of its task, student and teacher."""
    plain: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for run in runs:
        if run.recipe.retriever == NO_DISTILLATION:
            plain[run.task_key, *run.context].append(run.score)
    means = {key: fmean(scores) for key, scores in plain.items()}
    return [replace(run, plain_score=means.get((run.task_key, *run.context), run.plain_score)) for run in runs]


def _row(run: Run) -> dict[str, Any]:
    row = asdict(run)
    return {**{k: v for k, v in row.items() if k not in _NESTED}, **row["features"], **row["recipe"]}


def _run(row: Mapping[str, Any]) -> Run:
    values: dict[str, Any] = {item.name: row.get(item.name) for item in fields(Run)}
    for name, kind in _NESTED.items():
        values[name] = kind(**{item.name: row[item.name] for item in fields(kind)})
    return Run(**values)
