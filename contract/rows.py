"""Rows out of people's files: Parquet, Arrow, JSONL, CSV and plain text, compressed or not, as batches of one schema.

Read by the indexer (corpora) and by the task reader. A bad row gets a sentence that says where it stands.
"""

from __future__ import annotations

import errno
import lzma
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.errors import BadInput, NotFound
from contract.records import COMPRESSIONS, NOT_UTF8, LineFormat, Problem, RowsFile, read_records, record_names

Format = LineFormat | Literal["parquet", "arrow"]
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".arrow": "arrow",
}
BATCH_BYTES = 64 * 1024 * 1024  # about how much text a batch may hold, where rows are books
READ_BYTES = 4 * 1024 * 1024  # of a Parquet column at a time, however large its row groups are
_ARROW_FILE = b"ARROW1"  # how an Arrow file begins; an Arrow stream begins otherwise
_DAMAGE = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, pa.ArrowException)
_NO_TEXT = "expected text, found nothing"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: the file, its number there (from 1), the column, and what is wrong with it."""

    file: str
    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column else ""
        return f"{self.file}, row {self.row}{column}: {self.reason}"


OnBadRow = Callable[[BadRow], None]


def refuse_bad_rows(bad: BadRow) -> None:
    """The default: the first bad row ends the reading."""
    raise BadInput(f"{bad}; mend the row, or keep the good rows with --skip-bad-rows")


def format_of(file: RowsFile) -> Format | None:
    """The format a file's name announces, None when it announces none we read."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    is_compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    if is_compressed:
        suffixes.pop()
    kind = _FORMATS.get(suffixes[-1]) if suffixes else None
    return None if is_compressed and kind in ("parquet", "arrow") else kind


def read_rows(
    file: RowsFile,
    schema: pa.Schema,
    *,
    columns: Mapping[str, str] | None = None,
    batch_rows: int = 8192,
    on_bad_row: OnBadRow = refuse_bad_rows,
) -> Iterator[tuple[pa.Int64Array, pa.RecordBatch]]:
    """Batches in `schema`, each with its rows' numbers in the file: from 1, bad rows counted, blank lines not.

    A batch has at most `batch_rows` rows, fewer where they are long: memory follows the batch. `columns` maps a column
    of the schema to the file's name for it. A column that the schema lets be null may be missing from the file.
    Raises BadInput (unknown format, missing column, damaged file) and NotFound.
    """
    kind = _readable(file)
    names = {field.name: (columns or {}).get(field.name, field.name) for field in schema}
    with _reading(file, kind):
        if kind == "parquet" or kind == "arrow":
            batches = _parquet_batches if kind == "parquet" else _arrow_batches
            with file.open("rb") as raw:
                yield from _checked(file, schema, names, batches(raw, file, schema, names, batch_rows), on_bad_row)
        else:
            yield from _record_batches(file, kind, schema, names, batch_rows, on_bad_row)


def column_names(file: RowsFile, wanted: Collection[str] = ()) -> list[str]:
    """The names of a file's columns: from the schema, the header or the first records; empty for an empty file.

    A JSONL file is read on while a `wanted` one is missing: any of its records may lack a key.
    """
    kind = _readable(file)
    with _reading(file, kind):
        if kind == "parquet" or kind == "arrow":
            with file.open("rb") as raw:
                return list(pq.read_schema(raw).names if kind == "parquet" else _arrow_reader(raw).schema.names)
        return record_names(file, kind, wanted)


def _readable(file: RowsFile) -> Format:
    if isinstance(file, Path) and not file.is_file():
        raise (
            BadInput(f"{file} is a directory, a file was expected")
            if file.is_dir()
            else NotFound(f"There is no file {file}")
        )
    kind = format_of(file)
    if kind is None:
        listed = f"{', '.join(_FORMATS)} (text ones also {', '.join(COMPRESSIONS)})"
        raise BadInput(f"{file} has a format we do not read; expected {listed}")
    return kind


@contextmanager
def _reading(file: RowsFile, kind: Format) -> Iterator[None]:
    """Say what is wrong with a file that is not whole."""
    try:
        yield
    except _DAMAGE as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # what the caller writes meanwhile, not what is read here
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"{file} is damaged or cut short: it cannot be read as {kind} ({detail}); copy it again"
        ) from error


def _checked(
    file: RowsFile,
    schema: pa.Schema,
    names: Mapping[str, str],
    batches: Iterator[pa.RecordBatch],
    on_bad_row: OnBadRow,
) -> Iterator[tuple[pa.Int64Array, pa.RecordBatch]]:
    """Batches of a file's own columns as batches in `schema`, each row checked."""
    before = 0
    for batch in batches:
        arrays = {field.name: _column(file, field, names[field.name], batch) for field in schema}
        problems = _column_problems(arrays, names)
        for row in sorted(problems):
            on_bad_row(BadRow(str(file), before + row + 1, *problems[row]))
        good = pa.array([row for row in range(batch.num_rows) if row not in problems], pa.int64())
        checked = pa.RecordBatch.from_arrays(list(arrays.values()), schema=_nullable(schema))
        yield pc.add(good, before + 1), checked.take(good) if problems else checked
        before += batch.num_rows


def _parquet_batches(
    raw: BinaryIO, file: RowsFile, schema: pa.Schema, names: Mapping[str, str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(raw, buffer_size=READ_BYTES) as parquet:
        wanted = _wanted(file, schema, names, parquet.schema_arrow.names)
        yield from parquet.iter_batches(_rows_that_fit(parquet.metadata, batch_rows), columns=wanted)


def _rows_that_fit(metadata: pq.FileMetaData, batch_rows: int) -> int:
    """`batch_rows`, or fewer where a row group's mean row says that so many would be too much to hold."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(batch_rows, BATCH_BYTES // max(widest, 1)))


def _arrow_batches(
    raw: BinaryIO, file: RowsFile, schema: pa.Schema, names: Mapping[str, str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """An Arrow file's own batches, in slices; memory follows the batches it was written in."""
    reader = _arrow_reader(raw)
    wanted = _wanted(file, schema, names, reader.schema.names)
    streamed = isinstance(reader, pa.RecordBatchStreamReader)
    for batch in reader if streamed else map(reader.get_batch, range(reader.num_record_batches)):
        batch = batch.select(wanted)
        for column in batch.columns:
            _bytes_of(column).validate(full=True)  # Arrow believes a file's offsets, wherever they lead
        rows = max(1, min(batch_rows, BATCH_BYTES // max(batch.nbytes // max(batch.num_rows, 1), 1)))
        yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _arrow_reader(raw: BinaryIO) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    magic = raw.read(len(_ARROW_FILE))
    raw.seek(0)
    return pa.ipc.open_file(raw) if magic == _ARROW_FILE else pa.ipc.open_stream(raw)


def _bytes_of(column: pa.Array) -> pa.Array:
    """A string column as bytes: text that is no UTF-8 costs its row, not the file."""
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    return column.cast(pa.large_binary()) if pa.types.is_large_string(column.type) else column


def _wanted(file: RowsFile, schema: pa.Schema, names: Mapping[str, str], found: list[str]) -> list[str]:
    """The file's columns to read, each once."""
    _check_columns(file, schema, names, found)
    return [name for name in dict.fromkeys(names.values()) if name in found]


def _column(file: RowsFile, field: pa.Field, name: str, batch: pa.RecordBatch) -> pa.Array:
    """A column in its field's type. Strings may still hold bytes that are no UTF-8."""
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    found = batch.column(name)
    is_text = pa.types.is_string(field.type)
    try:
        if field.name == "text" and not _holds_text(found.type):
            raise pa.ArrowTypeError("text is never made of anything else")
        column = found.cast(field.type, safe=not is_text)
        if not is_text:
            column.validate(full=True)
    except pa.ArrowException as error:
        raise BadInput(f"{file}, column {name!r}: expected {field.type}, found {found.type} ({error})") from error
    return column


def _holds_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        return _holds_text(found.value_type)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary)
    return any(is_kind(found) for is_kind in (*kinds, pa.types.is_large_binary, pa.types.is_null))


def _column_problems(arrays: dict[str, pa.Array], names: Mapping[str, str]) -> dict[int, Problem]:
    """What is wrong, by row in the batch. Undecodable strings become null in `arrays`: no kernel takes them."""
    problems: dict[int, Problem] = {}
    for ours, column in arrays.items():
        if undecodable := _undecodable(column):
            problems |= dict.fromkeys(undecodable, (names[ours], NOT_UTF8))
            is_bad = pa.array([row in problems for row in range(len(column))])
            arrays[ours] = pc.if_else(is_bad, pa.scalar(None, column.type), column)
    if "text" in arrays:
        is_given = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(arrays["text"]), ""), False)
        if pc.all(is_given).as_py() is False:
            for row, given in enumerate(is_given.to_pylist()):
                if not given:
                    problems.setdefault(row, (names["text"], _NO_TEXT))
    return problems


def _undecodable(column: pa.Array) -> list[int]:
    """The rows of a string column whose bytes are no UTF-8."""
    if not pa.types.is_string(column.type):
        return []
    try:
        column.validate(full=True)
        return []
    except pa.ArrowInvalid:
        return [row for row, value in enumerate(column.cast(pa.binary()).to_pylist()) if not _decodes(value or b"")]


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record_batches(
    file: RowsFile, kind: LineFormat, schema: pa.Schema, names: Mapping[str, str], batch_rows: int, on_bad_row: OnBadRow
) -> Iterator[tuple[pa.Int64Array, pa.RecordBatch]]:
    """Batches from the line formats: each record is checked by itself, so one bad line costs one row."""
    found = record_names(file, kind, [names[field.name] for field in schema if not field.nullable])
    if found:
        _check_columns(file, schema, names, found)

    def batch() -> tuple[pa.Int64Array, pa.RecordBatch]:
        return pa.array(numbers, pa.int64()), pa.RecordBatch.from_pylist(rows, schema=_nullable(schema))

    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    held = 0  # characters of text
    for number, record in enumerate(read_records(file, kind), start=1):
        row = record if isinstance(record, tuple) else _row(record, schema, names)
        if isinstance(row, tuple):
            on_bad_row(BadRow(str(file), number, *row))
            continue
        numbers.append(number)
        rows.append(row)
        held += len(row.get("text") or "")
        if len(rows) == batch_rows or held >= BATCH_BYTES:
            yield batch()
            numbers, rows, held = [], [], 0
    if rows:
        yield batch()


def _row(record: Mapping[str, Any], schema: pa.Schema, names: Mapping[str, str]) -> dict[str, Any] | Problem:
    row: dict[str, Any] = {}
    for field in schema:
        name = names[field.name]
        value = record.get(name)
        if pa.types.is_list(field.type):
            if isinstance(value, str):
                value = value.split()  # CSV has no lists: words between spaces
            if value is not None and not isinstance(value, list):
                return name, f"expected a list of strings, found {type(value).__name__}"
            odd = next((item for item in value or [] if not isinstance(item, str)), "")
            if odd != "":
                return name, f"expected a list of strings, found {type(odd).__name__} in it"
            if not all(map(_is_unicode, value or [])):
                return name, NOT_UTF8
        elif value is not None and pa.types.is_string(field.type):
            if isinstance(value, (bool, list, dict)) or (field.name == "text" and not isinstance(value, str)):
                return name, f"expected a string, found {type(value).__name__}"
            value = str(value)
            if not _is_unicode(value):
                return name, NOT_UTF8
        if field.name == "text" and (value is None or not value.strip()):
            return name, _NO_TEXT
        row[field.name] = value
    return row


def _is_unicode(text: str) -> bool:
    """False for text that holds surrogates: bytes that were no UTF-8, or halves of characters in JSON escapes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _check_columns(file: RowsFile, schema: pa.Schema, names: Mapping[str, str], found: list[str]) -> None:
    for field in schema:
        name = names[field.name]
        if not field.nullable and name not in found:
            raise BadInput(
                f"{file} has no column {name!r}: expected one for {field.name!r}, found "
                f"{', '.join(map(repr, found[:12]))}; name the right one with --map {field.name}=COLUMN"
            )
        if found.count(name) > 1:
            raise BadInput(f"{file} has {found.count(name)} columns {name!r}, expected one; rename the others")


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The same schema with every column nullable: files are checked row by row, not by Arrow."""
    return pa.schema([field.with_nullable(True) for field in schema])
