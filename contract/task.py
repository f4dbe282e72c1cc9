"""The task: utterances with their labels and splits, one form for every kind of task.

Read by the service (utterances to contextualize, held-out text) and by distill (labels to learn, tests to pass).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput, NotFound
from contract.manifest import hash_file
from contract.rows import BadRow, OnBadRow, column_names, format_of, read_rows, refuse_bad_rows
from contract.schemas import TASK

Target = Literal["label", "intent", "domain"]
OnBatch = Callable[[Path, pa.Int64Array, pa.RecordBatch], None]  # a file, the rows' numbers there, the rows
TARGETS: tuple[Target, ...] = ("intent", "label", "domain")  # in the order in which one is chosen
SPLITS = ("train", "valid", "validation", "dev", "test")

# Column names that need no --map, tried in this order when the file lacks ours.
_ALIASES = {
    "text": ("sentence1", "sentence", "utterance", "premise", "question1"),
    "text_pair": ("sentence2", "hypothesis", "question2"),
}
_OPTIONAL = pa.schema([TASK.field(name).with_nullable(name != "text") for name in TASK.names])


@dataclass(frozen=True)
class Task:
    """A task in memory: `table` in the TASK schema, `id` the hash of the files and of how their columns were read."""

    name: str
    id: str
    table: pa.Table

    @property
    def splits(self) -> list[str]:
        """The splits it has, sorted."""
        return sorted(pc.unique(self.table["split"]).to_pylist())

    def split(self, name: str) -> pa.Table:
        """The rows of one split, in order; BadInput when there are none."""
        rows = self.table.filter(pc.equal(self.table["split"], name))
        if not rows.num_rows:
            raise BadInput(
                f"Task {self.name} has no rows of split {name!r}; it has {', '.join(self.splits) or 'no rows'}"
            )
        return rows

    def target(self, wanted: Target | None = None) -> Target:
        """The column to predict: the wanted one, else the first of intent, label, domain that has values."""
        filled = [column for column in TARGETS if self.table[column].null_count < self.table.num_rows]
        if wanted is None and filled:
            return filled[0]
        if wanted in filled:
            assert wanted is not None
            return wanted
        raise BadInput(
            f"Task {self.name} has no {wanted or 'intent, label or domain'} column with values; "
            f"it has {', '.join(filled) or 'none to predict'}; map one with --map label=COLUMN"
        )


def read_task(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad_row: OnBadRow = refuse_bad_rows,
    on_batch: OnBatch | None = None,
) -> Task:
    """Read a task file, or a directory with one file a split (train.csv, test.csv …).

    `columns` maps our column names to the file's. A row without a split belongs to the split its file is named after,
    else to train. A row without an id gets split-number. `on_batch` sees every batch as it is read, and may refuse it.
    Raises BadInput and NotFound.
    """
    files = _task_files(path)
    _check_map(path, files, columns or {})
    tables, digest = [], hashlib.sha256(json.dumps(sorted((columns or {}).items())).encode())
    for file in files:
        digest.update(f"{file.stem}\0{hash_file(file)}\n".encode())
        tables.append(_read_file(file, columns or {}, on_bad_row, on_batch, path.is_dir()))
    table = pa.concat_tables(tables)
    if not table.num_rows:
        raise BadInput(f"{path} has no rows; expected utterances with a text column")
    _check_unique(path, table)
    return Task(path.name.split(".")[0], digest.hexdigest()[:32], table)


def few_shot(rows: pa.Table, target: Target, shots: int, *, seed: int) -> pa.Table:
    """`shots` rows of every class (all of a class that has fewer), drawn with `seed`, in their order in `rows`."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(rows[target].to_pylist()):
        if label is not None:
            members[label].append(row)
    draw = random.Random(seed)
    kept = [row for label in sorted(members) for row in draw.sample(members[label], min(shots, len(members[label])))]
    return rows.take(pa.array(sorted(kept), pa.int64()))


def _task_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and _is_split(file))
        if not files:
            raise BadInput(f"{path} holds no file we read; expected train.jsonl, test.jsonl or the like")
        return files
    if not path.is_file():
        raise NotFound(f"There is no task file {path}")
    return [path]


def _is_split(file: Path) -> bool:
    """Whether a directory's file is part of the task; a README.txt is not, a train.txt is."""
    kind = format_of(file)
    return kind is not None and file.name[0] != "." and (kind != "text" or file.name.split(".")[0] in SPLITS)


def _read_file(
    file: Path, columns: Mapping[str, str], on_bad_row: OnBadRow, on_batch: OnBatch | None, in_folder: bool
) -> pa.Table:
    stem = file.name.split(".")[0]
    default_split = stem if stem in SPLITS else "train"
    if in_folder and stem not in SPLITS and columns.get("split", "split") not in column_names(file):
        raise BadInput(
            f"{file} says of no row which split it is: in a task's folder a file has a column 'split' or is named "
            f"after one ({', '.join(SPLITS)}); rename it, or move it out of the folder"
        )
    batches = []
    for numbers, batch in read_rows(file, _OPTIONAL, columns=with_aliases(file, columns), on_bad_row=on_bad_row):
        if on_batch is not None:
            on_batch(file, numbers, batch)
        split = pc.fill_null(batch.column("split"), default_split)
        ids = pc.coalesce(batch.column("id"), pc.binary_join_element_wise(split, numbers.cast(pa.string()), "-"))
        batch = batch.set_column(batch.schema.get_field_index("split"), "split", split)
        batch = batch.set_column(batch.schema.get_field_index("id"), "id", ids)
        batches.append(_drop_uneven_slots(file, numbers, batch, on_bad_row))
    return pa.Table.from_batches(batches).cast(TASK) if batches else TASK.empty_table()


def _check_map(path: Path, files: list[Path], columns: Mapping[str, str]) -> None:
    """BadInput when a mapping names a column that a task has not, or one that no file has."""
    found = {name for file in files for name in column_names(file)} if columns else set()
    for ours, theirs in columns.items():
        if ours not in TASK.names:
            raise BadInput(f"--map {ours}={theirs}: a task has no column {ours!r}, only {', '.join(TASK.names)}")
        if found and theirs not in found:
            listed = ", ".join(sorted(found)[:12])
            raise BadInput(f"{path} has no column {theirs!r}, which --map {ours}={theirs} names; found {listed}")


def with_aliases(file: Path, columns: Mapping[str, str]) -> Mapping[str, str]:
    """`columns`, and a known alias for each of ours that the file has only under that name."""
    found = column_names(file)
    aliased = {
        ours: alias
        for ours, aliases in _ALIASES.items()
        if ours not in found and ours not in columns
        for alias in reversed(aliases)
        if alias in found
    }
    return {**aliased, **columns}


def _drop_uneven_slots(
    file: Path, numbers: pa.Int64Array, batch: pa.RecordBatch, on_bad_row: OnBadRow
) -> pa.RecordBatch:
    tokens = pc.fill_null(pc.list_value_length(batch.column("tokens")), 0)
    slots = pc.list_value_length(batch.column("slots"))
    uneven = pc.fill_null(pc.not_equal(tokens, slots), False)
    if not pc.any(uneven).as_py():
        return batch
    for row in pc.indices_nonzero(uneven).to_pylist():
        found = f"{tokens[row]} tokens and {slots[row]} slots"
        on_bad_row(BadRow(str(file), numbers[row].as_py(), "slots", f"expected one slot a token, found {found}"))
    return batch.filter(pc.invert(uneven))


def _check_unique(path: Path, table: pa.Table) -> None:
    """The rows are named, not their id: jobs keep what is said here, and an id may be a text (law 13)."""
    ids = table["id"].combine_chunks()
    for entry in pc.value_counts(ids):
        if entry["counts"].as_py() > 1:
            first, second = pc.indices_nonzero(pc.equal(ids, entry["values"]))[:2].to_pylist()
            raise BadInput(
                f"{path}: one id stands in more than one row, first in {first + 1:,} and {second + 1:,} "
                "(bad ones not counted); ids must be unique"
            )
