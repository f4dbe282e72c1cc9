"""Sources: from what a user names (files, directories, globs, URLs) to batches of documents, in a fixed order."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput, NotFound
from contract.manifest import Json, hash_file
from contract.progress import Progress, silent
from contract.rows import BadRow, column_names, format_of, read_rows
from indexer.reading.remote import Options, RemoteFile, find_remote, is_url, shown

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("lang", pa.string()),
    ]
)
BATCH_ROWS = 8192  # part of the form of a resume position: another value reads other batches
NOTES = ("readme", "license", "licence", "notice", "copying", "changelog", "requirements")  # .txt beside the data
OnBadDocument = Callable[["SourceFile", BadRow], None]


@dataclass(frozen=True)
class SourceFile:
    """One file of documents. `label` is its stem, made unique among the files: made ids begin with it."""

    file: Path | RemoteFile
    label: str
    sha256: str
    stamp: str  # of the file when it was hashed

    def as_param(self) -> Json:
        """What the manifest says of it: its name and content, not where it lay."""
        return {"name": self.file.name, "sha256": self.sha256}


@dataclass(frozen=True)
class Position:
    """How far the sources were read: whole files, and batches of the file after them."""

    files: int = 0
    batches: int = 0


def find_files(
    sources: Sequence[str],
    *,
    earlier: Sequence[Json] = (),
    options: Options | None = None,
    progress: Progress = silent,
) -> list[SourceFile]:
    """The files the sources name, hashed: sources in their order, the files of one sorted, none of them twice.

    A file is what its name and its content say, wherever it lies; `earlier` are those, as params, that a corpus has.
    """
    if not sources:
        raise BadInput("Expected at least one source (a file, a directory, a glob or a URL of documents), found none")
    found = list({_key(file): file for source in sources for file in _files_of(source, options or {})}.values())
    hashed: dict[tuple[str, str], tuple[Path | RemoteFile, str]] = {}
    for number, file in enumerate(found):
        stamp = _stamp(file)
        sha256 = hash_file(file) if isinstance(file, Path) else file.sha256()
        hashed.setdefault((file.name, sha256), (file, stamp))
        progress("hash sources", number + 1, len(found))
    for param in earlier:
        hashed.pop((param["name"], param["sha256"]), None)
    labels = _unique_labels([*(param["name"] for param in earlier), *(name for name, _ in hashed)])[len(earlier) :]
    return [
        SourceFile(file, label, sha256, stamp)
        for label, ((_, sha256), (file, stamp)) in zip(labels, hashed.items(), strict=True)
    ]


def read_documents(
    files: Sequence[SourceFile],
    on_bad_row: OnBadDocument,
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
        found = column_names(file.file, columns.values()) if columns else []
        for ours, theirs in columns.items():
            if found and theirs not in found:
                raise BadInput(
                    f"{file.file} has no column {theirs!r}, which --map {ours}={theirs} names; "
                    f"it has {', '.join(found[:12])}"
                )


def _documents_of(
    file: SourceFile, number: int, skipped: int, on_bad_row: OnBadDocument, columns: Mapping[str, str]
) -> Iterator[tuple[Position, pa.RecordBatch]]:
    read = 0  # batches

    def report(bad: BadRow) -> None:
        if read >= skipped:
            on_bad_row(file, bad)

    _check_unchanged(file)
    rows = read_rows(file.file, DOCUMENT, columns=columns, batch_rows=BATCH_ROWS, on_bad_row=report)
    for numbers, batch in rows:
        read += 1
        if read > skipped:
            yield Position(number, read), _filled_in(batch, file.label, numbers)
    _check_unchanged(file)


def _check_unchanged(file: SourceFile) -> None:
    if _stamp(file.file) != file.stamp:
        raise BadInput(f"{file.file} changed while it was read, expected a file at rest; run the same command again")


def _stamp(file: Path | RemoteFile) -> str:
    if isinstance(file, RemoteFile):
        return file.stamp()
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _key(file: Path | RemoteFile) -> object:
    return file.key if isinstance(file, RemoteFile) else file


def _filled_in(batch: pa.RecordBatch, label: str, numbers: pa.Int64Array) -> pa.RecordBatch:
    """`batch` with an id and a source in every row."""
    given = batch.column("id")
    given = pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given)
    ids = pc.coalesce(given, pc.binary_join_element_wise(label, numbers.cast(pa.string()), "-"))
    source = pc.coalesce(batch.column("source"), pa.scalar(label))
    return pa.RecordBatch.from_arrays([ids, batch.column("text"), source, batch.column("lang")], names=DOCUMENT.names)


def _files_of(source: str, options: Options) -> list[Path | RemoteFile]:
    """The files of one source, sorted. One that was named is taken as it is; below a directory only documents are."""
    path = Path(source.removeprefix("file://"))
    is_here = source.startswith("file://") or path.exists() or not is_url(source)
    found: list[tuple[Path | RemoteFile, tuple[str, ...]]]
    found = [*_local(path)] if is_here else [*find_remote(source, options)]
    if not found:
        raise NotFound(
            f"No file matches the source {shown(source)!r}; expected a file, a directory or a glob of documents"
        )
    files = [file for file, below in found if _is_document(file, below)]
    if not files:
        raise NotFound(
            f"The directory {shown(source)} holds no file we read; "
            "expected .parquet, .arrow, .jsonl, .csv, .tsv or .txt"
        )
    return sorted(files, key=lambda file: file.parts)


def _local(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Each file, with the parts of its path below the directory it was found in: none when the file was named."""
    matches = [path] if path.exists() else [*map(Path, glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute
    for match in matches:
        if match.is_dir():
            yield from ((file, file.relative_to(match).parts) for file in match.rglob("*") if file.is_file())
        elif match.is_file():  # not a pipe, not a device
            yield match, ()


def _is_document(file: Path | RemoteFile, below: tuple[str, ...]) -> bool:
    kind = format_of(file)
    is_note = kind == "text" and file.name.split(".")[0].lower() in NOTES
    return not below or (kind is not None and not is_note and not any(part.startswith(".") for part in below))


def _unique_labels(names: Sequence[str]) -> list[str]:
    """The files' stems; a stem that is taken gets a number, so that ids made from it stay unique."""
    labels: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = name.split(".")[0] or "file"
        label, number = stem, 1
        while label in taken:
            number += 1
            label = f"{stem}.{number}"
        taken.add(label)
        labels.append(label)
    return labels
