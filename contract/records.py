"""Records out of text files, compressed or not: JSONL, CSV and plain lines. A bad line is a problem, not an end.

The line side of `contract.rows`, which checks the records against a schema.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, AnyStr, BinaryIO, Literal, Protocol, cast

import pyarrow as pa

from contract.errors import BadInput

LineFormat = Literal["jsonl", "csv", "tsv", "text"]
Problem = tuple[str, str]  # (column, reason)
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
MAX_LINE_BYTES = 64 * 1024 * 1024  # a line beyond this is a broken file, not a text
NOT_UTF8 = "expected UTF-8, found bytes that are not"
LOOKED_AT = 100  # records whose keys say which columns a JSONL file has; more only while a wanted one is missing


class RowsFile(Protocol):
    """A file of rows wherever it lies: a Path is one, and so is an object in somebody's store.

    `str(file)` is what messages call it.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    @property
    def suffixes(self) -> list[str]: ...

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The bytes from the beginning on."""
        ...


def read_records(file: RowsFile, kind: LineFormat) -> Iterator[dict[str, Any] | Problem]:
    """The file's records in order, or what is wrong with one. BadInput when a CSV's rows cannot be told apart."""
    if kind in ("csv", "tsv"):
        yield from _csv(file, kind)
        return
    with _opened(file) as stream:
        yield from _jsonl(stream) if kind == "jsonl" else _lines(stream)


def record_names(file: RowsFile, kind: LineFormat, wanted: Collection[str] = ()) -> list[str]:
    """The names of the columns: of the header, or of the first records' keys; empty for an empty file.

    Any JSONL record may lack a key, so that a wanted one is looked for to the end.
    """
    if kind in ("csv", "tsv"):
        return next((fields for fields in _csv_rows(file, kind) if isinstance(fields, list)), [])
    records = (record for record in read_records(file, kind) if isinstance(record, dict))
    names = {name: None for record in islice(records, LOOKED_AT) for name in record}
    missing = set(wanted) - names.keys()
    while missing and (record := next(records, None)) is not None:
        names |= dict.fromkeys(missing & record.keys())
        missing -= record.keys()
    return list(names)


def _jsonl(stream: BinaryIO) -> Iterator[dict[str, Any] | Problem]:
    for line in _raw_lines(stream):
        if isinstance(line, tuple):
            yield line
            continue
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_nothing)
        except UnicodeDecodeError:
            yield "", NOT_UTF8
        except (ValueError, RecursionError) as error:
            yield "", f"expected one JSON object a line, found something else ({str(error)[:60]})"
        else:
            yield record if isinstance(record, dict) else ("", f"expected a JSON object, found {type(record).__name__}")


def _nothing(constant: str) -> None:
    """NaN and Infinity are how pandas and others write what is missing; JSON has no such numbers."""


def _lines(stream: BinaryIO) -> Iterator[dict[str, Any] | Problem]:
    for line in _raw_lines(stream):
        if isinstance(line, tuple):
            yield line
            continue
        try:
            yield {"text": line.decode("utf-8")}
        except UnicodeDecodeError:
            yield "text", NOT_UTF8


def _raw_lines(stream: BinaryIO) -> Iterator[bytes | Problem]:
    """Lines that are not blank; one that is too long is passed over in pieces, so that memory stays bounded."""
    mark = codecs.BOM_UTF8  # only at the file's beginning
    while line := stream.readline(MAX_LINE_BYTES):
        if _is_piece(line, b"\n"):
            while _is_piece(stream.readline(MAX_LINE_BYTES), b"\n"):
                pass
            yield "", f"expected lines of at most {MAX_LINE_BYTES} bytes, found a longer one"
        elif line.removeprefix(mark).strip():
            yield line.removeprefix(mark).rstrip(b"\r\n")
        mark = b""


def _is_piece(line: AnyStr, *ends: AnyStr) -> bool:
    """Whether `readline(MAX_LINE_BYTES)` stopped before the line's end."""
    return len(line) == MAX_LINE_BYTES and not line.endswith(ends)


def _csv(file: RowsFile, kind: LineFormat) -> Iterator[dict[str, Any] | Problem]:
    rows = _csv_rows(file, kind)
    header = next(rows, [])
    for fields in rows:
        if isinstance(fields, tuple):
            yield fields
        elif len(fields) != len(header):
            yield "", f"expected {len(header)} columns as in the header, found {len(fields)}"
        else:
            yield {name: value or None for name, value in zip(header, fields, strict=True)}


def _csv_rows(file: RowsFile, kind: LineFormat) -> Iterator[list[str] | Problem]:
    """The header's fields, then each row's. A row that is no CSV costs itself, unless its end cannot be told."""
    csv.field_size_limit(MAX_LINE_BYTES)
    with _opened(file) as stream:
        lines = _CsvLines(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
        reader = csv.reader(lines, delimiter="\t" if kind == "tsv" else ",", strict=True)
        is_header = True
        while True:
            begin = lines.taken
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if is_header or lines.taken - begin > 1:
                    raise BadInput(
                        f"{file}, line {begin + 1}: expected CSV, found a row that is not ({error}); "
                        "mend the file, or write it as JSONL"
                    ) from error
                yield "", f"expected CSV, found a row that is not ({error})"
                continue
            if fields is None:
                return
            if fields:
                yield fields
                is_header = False


class _CsvLines:
    """The lines of a CSV file; one that is too long is passed over in pieces and is an error."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE_BYTES)
        if not line:
            raise StopIteration
        self.taken += 1
        if _is_piece(line, "\n", "\r"):
            while _is_piece(self._text.readline(MAX_LINE_BYTES), "\n", "\r"):
                pass
            raise csv.Error(f"a line of more than {MAX_LINE_BYTES} characters")
        return line


@contextmanager
def _opened(file: RowsFile) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked as its name says."""
    with file.open("rb") as raw, _unpacked(raw, file.suffix.lower()) as stream:
        yield stream


def _unpacked(raw: BinaryIO, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(raw, "rb"))
    if suffix == ".bz2":
        return cast(BinaryIO, bz2.open(raw, "rb"))
    if suffix == ".xz":
        return cast(BinaryIO, lzma.open(raw, "rb"))
    if suffix == ".zst":
        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"), 1 << 20))
    return raw
