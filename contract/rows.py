"""Rows out of people's files: Parquet, JSONL, CSV and plain text, compressed or not, as Arrow batches of one schema.

Read by the indexer (corpora) and by the task reader. A bad row gets a sentence that says where it stands.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.errors import BadInput, NotFound

Format = Literal["parquet", "jsonl", "csv", "tsv", "text"]
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
MAX_LINE_BYTES = 64 * 1024 * 1024  # a line beyond this is a broken file, not a text
_DAMAGE = (OSError, EOFError, pa.ArrowException, gzip.BadGzipFile)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: the file, its number there (from 1), the column, and what is wrong with it."""

    file: str
    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}, column {self.column!r}: {self.reason}"


OnBadRow = Callable[[BadRow], None]
Problem = tuple[str, str]  # (column, reason)


def refuse_bad_rows(bad: BadRow) -> None:
    """The default: the first bad row ends the reading."""
    raise BadInput(f"{bad}; mend the row, or keep the good rows with --skip-bad-rows")


def format_of(path: Path) -> Format | None:
    """The format a file's name announces, None when it announces none we read."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1].lower()) if suffixes else None


def read_rows(
    path: Path,
    schema: pa.Schema,
    *,
    columns: Mapping[str, str] | None = None,
    batch_rows: int = 8192,
    on_bad_row: OnBadRow = refuse_bad_rows,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches in `schema`, each with the number of rows read before it, the bad ones counted.

    `columns` maps a column of the schema to the file's name for it. A column that the schema lets be null may be
    missing from the file. Raises BadInput (unknown format, missing column, damaged file) and NotFound.
    """
    kind = format_of(path)
    names = {field.name: (columns or {}).get(field.name, field.name) for field in schema}
    with _reading(path, kind):
        if kind == "parquet":
            yield from _parquet_batches(path, schema, names, batch_rows, on_bad_row)
        else:
            yield from _record_batches(path, kind, schema, names, batch_rows, on_bad_row)


def column_names(path: Path) -> list[str]:
    """The names of a file's columns: from the schema, the header or the first record; empty for an empty file."""
    kind = format_of(path)
    with _reading(path, kind):
        if kind == "parquet":
            return list(pq.read_schema(path).names)
        with _open_stream(path) as stream:
            return next((list(record) for record in _records(path, kind, stream) if isinstance(record, dict)), [])


@contextmanager
def _reading(path: Path, kind: Format | None) -> Iterator[None]:
    """Say what is wrong with a file that is not there, not ours or not whole."""
    if kind is None:
        raise BadInput(f"{path} has a format we do not read; expected {', '.join(_FORMATS)} (text ones also .gz, .zst)")
    if not path.is_file():
        raise NotFound(f"There is no file {path}")
    try:
        yield
    except _DAMAGE as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"{path} is damaged or cut short: it cannot be read as {kind} ({detail}); copy it again"
        ) from error


def _records(path: Path, kind: Format | None, stream: BinaryIO) -> Iterator[dict[str, Any] | Problem]:
    if kind == "jsonl":
        return _jsonl(stream)
    return _lines(stream) if kind == "text" else _csv(stream, kind, path)


def _parquet_batches(
    path: Path, schema: pa.Schema, names: Mapping[str, str], batch_rows: int, on_bad_row: OnBadRow
) -> Iterator[tuple[int, pa.RecordBatch]]:
    with pq.ParquetFile(path) as file:
        found = file.schema_arrow.names
        _check_columns(path, schema, names, found)
        wanted = [name for name in names.values() if name in found]
        before = 0
        for batch in file.iter_batches(batch_rows, columns=wanted):
            arrays = [_parquet_column(path, field, names[field.name], batch) for field in schema]
            yield (
                before,
                _drop_null_rows(path, pa.RecordBatch.from_arrays(arrays, schema=_nullable(schema)), before, on_bad_row),
            )
            before += batch.num_rows


def _parquet_column(path: Path, field: pa.Field, name: str, batch: pa.RecordBatch) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(name)
    try:
        column = column.cast(field.type)
        column.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise BadInput(
            f"{path}, column {name!r}: expected {field.type}, found {batch.column(name).type} ({error})"
        ) from error
    return column


def _drop_null_rows(path: Path, batch: pa.RecordBatch, before: int, on_bad_row: OnBadRow) -> pa.RecordBatch:
    """`batch` without the rows whose text is null or blank, each of them reported."""
    if "text" not in batch.schema.names:
        return batch
    good = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(batch.column("text")), ""), False)
    if pc.all(good).as_py() is not False:
        return batch
    for row, is_good in enumerate(good.to_pylist()):
        if not is_good:
            on_bad_row(BadRow(str(path), before + row + 1, "text", "expected text, found nothing"))
    return batch.filter(good)


def _record_batches(
    path: Path, kind: Format | None, schema: pa.Schema, names: Mapping[str, str], batch_rows: int, on_bad_row: OnBadRow
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches from the line formats: each record is checked by itself, so one bad line costs one row."""
    with _open_stream(path) as stream:
        records = _records(path, kind, stream)
        first = next(records, None)
        if first is None:
            return
        if isinstance(first, dict):
            _check_columns(path, schema, names, list(first))
        before, rows = 0, []
        for seen, record in enumerate(itertools.chain([first], records), start=1):
            problem = record if isinstance(record, tuple) else None
            row = None if isinstance(record, tuple) else _row(record, schema, names)
            if isinstance(row, tuple):
                problem, row = row, None
            if problem:
                on_bad_row(BadRow(str(path), seen, *problem))
            if row is not None:
                rows.append(row)
            if len(rows) == batch_rows:
                yield before, pa.RecordBatch.from_pylist(rows, schema=_nullable(schema))
                before, rows = seen, []
        if rows:
            yield before, pa.RecordBatch.from_pylist(rows, schema=_nullable(schema))


def _row(record: Mapping[str, Any], schema: pa.Schema, names: Mapping[str, str]) -> dict[str, Any] | Problem:
    row: dict[str, Any] = {}
    for field in schema:
        name = names[field.name]
        value = record.get(name)
        if pa.types.is_list(field.type):
            if isinstance(value, str):
                value = value.split()  # CSV has no lists: words between spaces
            if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                return name, f"expected a list of strings, found {type(value).__name__}"
        elif value is not None and pa.types.is_string(field.type):
            if isinstance(value, (bool, list, dict)) or (field.name == "text" and not isinstance(value, str)):
                return name, f"expected a string, found {type(value).__name__}"
            value = str(value)
            if not _is_unicode(value):
                return name, "expected UTF-8, found bytes that are not"
        if field.name == "text" and (value is None or not value.strip()):
            return name, "expected text, found nothing"
        row[field.name] = value
    return row


def _is_unicode(text: str) -> bool:
    """False for text that holds surrogates: bytes that were no UTF-8, or halves of characters in JSON escapes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _jsonl(stream: BinaryIO) -> Iterator[dict[str, Any] | Problem]:
    for line in _raw_lines(stream):
        if isinstance(line, tuple):
            yield line
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            yield "", "expected UTF-8, found bytes that are not"
        except (ValueError, RecursionError) as error:
            yield "", f"expected one JSON object a line, found something else ({str(error)[:60]})"
        else:
            yield record if isinstance(record, dict) else ("", f"expected a JSON object, found {type(record).__name__}")


def _lines(stream: BinaryIO) -> Iterator[dict[str, Any] | Problem]:
    for line in _raw_lines(stream):
        if isinstance(line, tuple):
            yield line
            continue
        try:
            yield {"text": line.decode("utf-8")}
        except UnicodeDecodeError:
            yield "text", "expected UTF-8, found bytes that are not"


def _raw_lines(stream: BinaryIO) -> Iterator[bytes | Problem]:
    """Lines that are not blank; one that is too long is passed over in pieces, so that memory stays bounded."""
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while len(stream.readline(MAX_LINE_BYTES)) == MAX_LINE_BYTES:
                pass
            yield "", f"expected lines of at most {MAX_LINE_BYTES} bytes, found a longer one"
        elif line.strip():
            yield line.rstrip(b"\r\n")


def _csv(stream: BinaryIO, kind: Format | None, path: Path) -> Iterator[dict[str, Any] | Problem]:
    csv.field_size_limit(MAX_LINE_BYTES)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.DictReader(text, delimiter="\t" if kind == "tsv" else ",", restkey="", strict=True)
    width = len(reader.fieldnames or [])
    try:
        for record in reader:
            if "" in record or None in record.values():
                yield "", f"expected {width} columns as in the header, found another number"
            else:
                yield {name: value or None for name, value in record.items()}
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {reader.line_num}: not CSV ({error}); mend the file, or write it as JSONL"
        ) from error


def _open_stream(path: Path) -> BinaryIO:
    compression = _COMPRESSIONS.get(path.suffix)
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if compression == "zstd":
        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")))
    return path.open("rb")


def _check_columns(path: Path, schema: pa.Schema, names: Mapping[str, str], found: list[str]) -> None:
    for field in schema:
        if not field.nullable and names[field.name] not in found:
            raise BadInput(
                f"{path} has no column {names[field.name]!r}: expected one for {field.name!r}, found "
                f"{', '.join(map(repr, found[:12]))}; name the right one with --map {field.name}=COLUMN"
            )


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The same schema with every column nullable: files are checked row by row, not by Arrow."""
    return pa.schema([field.with_nullable(True) for field in schema])
