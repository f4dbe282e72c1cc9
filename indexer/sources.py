"""Sources: from what a user names (files, directories, globs) to batches of documents, always in the same order."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput, NotFound
from contract.manifest import Json, hash_file
from contract.progress import Progress, silent
from contract.rows import BadRow, OnBadRow, column_names, format_of, read_rows

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("lang", pa.string()),
    ]
)
BATCH_ROWS = 8192  # part of the form of a resume position: another value reads other batches


@dataclass(frozen=True)
class SourceFile:
    """One file of documents. `label` is its stem, made unique among the files: made ids begin with it."""

    path: Path
    label: str
    sha256: str

    def as_param(self) -> Json:
        """What the manifest says of it: its name and content, not where it lay."""
        return {"name": self.path.name, "sha256": self.sha256}


@dataclass(frozen=True)
class Position:
    """How far the sources were read: whole files, and batches of the file after them."""

    files: int = 0
    batches: int = 0


def find_files(sources: Sequence[str], *, progress: Progress = silent) -> list[SourceFile]:
    """The files the sources name, hashed: sources in their order, the files of one sorted, none of them twice.

    This is the seam for what is not a local path: whatever resolves to SourceFiles can be a source.
    """
    if not sources:
        raise BadInput("Expected at least one source (a file, a directory or a glob of documents), found none")
    paths = list(dict.fromkeys(path for source in sources for path in _files_of(source)))
    labels = _unique_labels(paths)
    files = []
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        files.append(SourceFile(path, label, hash_file(path)))
        progress("hash sources", number + 1, len(paths))
    return files


def read_documents(
    files: Sequence[SourceFile],
    on_bad_row: OnBadRow,
    *,
    columns: Mapping[str, str],
    start: Position = Position(),
) -> Iterator[tuple[Position, pa.RecordBatch]]:
    """Batches of documents from `start` on, each with the position after it; ids and sources filled in.

    Bad rows that lie before `start` are not reported again.
    """
    for number in range(start.files, len(files)):
        skipped = start.batches if number == start.files else 0
        yield from _documents_of(files[number], number, skipped, on_bad_row, columns)


def check_columns(files: Sequence[SourceFile], columns: Mapping[str, str]) -> None:
    """BadInput when a mapping names a column of ours that there is not, or one that a file has not."""
    for ours, theirs in columns.items():
        if ours not in DOCUMENT.names:
            raise BadInput(
                f"--map {ours}={theirs}: a document has no column {ours!r}, only {', '.join(DOCUMENT.names)}"
            )
    for file in files:
        found = column_names(file.path) if columns else []
        for ours, theirs in columns.items():
            if found and theirs not in found:
                raise BadInput(
                    f"{file.path} has no column {theirs!r}, which --map {ours}={theirs} names; "
                    f"it has {', '.join(found[:12])}"
                )


def _documents_of(
    file: SourceFile, number: int, skipped: int, on_bad_row: OnBadRow, columns: Mapping[str, str]
) -> Iterator[tuple[Position, pa.RecordBatch]]:
    read = 0  # batches

    def report(bad: BadRow) -> None:
        if read >= skipped:
            on_bad_row(bad)

    for numbers, batch in read_rows(file.path, DOCUMENT, columns=columns, batch_rows=BATCH_ROWS, on_bad_row=report):
        read += 1
        if read > skipped:
            yield Position(number, read), _filled_in(batch, file.label, numbers)


def _filled_in(batch: pa.RecordBatch, label: str, numbers: pa.Int64Array) -> pa.RecordBatch:
    """`batch` with an id and a source in every row."""
    given = batch.column("id")
    given = pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given)
    ids = pc.coalesce(given, pc.binary_join_element_wise(label, numbers.cast(pa.string()), "-"))
    source = pc.coalesce(batch.column("source"), pa.scalar(label))
    return pa.RecordBatch.from_arrays([ids, batch.column("text"), source, batch.column("lang")], names=DOCUMENT.names)


def _files_of(source: str) -> list[Path]:
    if "://" in source:
        raise BadInput(f"{source} is a URL: expected a file, a directory or a glob on this machine; download it first")
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_below(path)
    matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    found = [path for match in matches if (path := Path(match)).is_file() or path.is_dir()]  # not a pipe, not a device
    if not found:
        raise NotFound(f"No file matches the source {source!r}; expected a file, a directory or a glob of documents")
    return [file for match in found for file in (_files_below(match) if match.is_dir() else [match])]


def _files_below(directory: Path) -> list[Path]:
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and format_of(path) and not any(part[0] == "." for part in path.relative_to(directory).parts)
    )
    if not files:
        raise NotFound(
            f"The directory {directory} holds no file we read; expected .parquet, .jsonl, .csv, .tsv or .txt"
        )
    return files


def _unique_labels(paths: Sequence[Path]) -> list[str]:
    """The files' stems; a stem that is taken gets a number, so that ids made from it stay unique."""
    labels: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = path.name.split(".")[0] or "file"
        label, number = stem, 1
        while label in taken:
            number += 1
            label = f"{stem}.{number}"
        taken.add(label)
        labels.append(label)
    return labels
