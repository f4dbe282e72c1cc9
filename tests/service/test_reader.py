"""The reader: what it says of a task is what the task is, and no file whatever takes more than it may."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import BadInput, NotFound
from contract.task import read_task
from service.reader import Readers, ReadingLimits, Unreadable, facts_of

MIB = 1024 * 1024
SMALL = ReadingLimits(rows=1000, text_bytes=MIB, text_chars=100, memory_bytes=256 * MIB, seconds=2)


@pytest.fixture(scope="module")
def strict() -> Iterator[Readers]:
    readers = Readers(SMALL, 1)
    yield readers
    readers.close()


def write(folder: Path, content: bytes, name: str = "t.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def lines(texts: list[Any]) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def refusal(readers: Readers, path: Path, *, skip_bad_rows: bool = False) -> Unreadable:
    with pytest.raises(Unreadable) as raised:
        readers.read(path, {}, skip_bad_rows=skip_bad_rows)
    return raised.value


def test_its_facts_are_those_of_the_task_itself(readers: Readers, tmp_path: Path) -> None:
    rows = [{"say": f"a {n}", "intent": f"i{n % 3}", "split": "test" if n % 4 == 0 else "train"} for n in range(40)]
    path = write(tmp_path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    columns = {"text": "say"}
    assert readers.read(path, columns, skip_bad_rows=False) == facts_of(read_task(path, columns=columns), [])


def test_a_bad_row_is_refused_with_its_place_as_fields(readers: Readers, tmp_path: Path) -> None:
    said = refusal(readers, write(tmp_path, lines(["a", "b", 3])))
    assert (said.field, said.row, said.status) == ("text", 3, 422)
    assert "row 3, column 'text': expected a string, found int" in said.message


def test_bad_rows_are_counted_and_kept_when_they_may_be(readers: Readers, tmp_path: Path) -> None:
    found = readers.read(write(tmp_path, lines(["a", 3, "b", ""])), {}, skip_bad_rows=True)
    assert (found.rows, found.bad_rows, [bad.row for bad in found.bad]) == (2, 2, [2, 4])


def test_what_the_files_reader_says_is_passed_on_as_it_is(readers: Readers, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no task file"):
        readers.read(tmp_path / "none.jsonl", {}, skip_bad_rows=False)
    with pytest.raises(BadInput, match="no rows"):
        readers.read(write(tmp_path, b""), {}, skip_bad_rows=False)


@pytest.mark.parametrize(
    ("content", "field", "limit", "found"),
    [
        (lines(["a"] * 1001), "file", 1000, 1001),
        (lines(["a" * 101]), "text", 100, 101),
        (lines([3] * 1001), "file", 1000, 1001),  # bad rows are rows too
    ],
)
def test_a_task_beyond_a_limit_is_refused_with_the_limit_and_what_was_found(
    strict: Readers, tmp_path: Path, content: bytes, field: str, limit: int, found: int
) -> None:
    said = refusal(strict, write(tmp_path, content), skip_bad_rows=True)
    assert (said.field, said.limit, said.found) == (field, limit, found)


def test_a_long_text_is_refused_with_its_row(strict: Readers, tmp_path: Path) -> None:
    assert refusal(strict, write(tmp_path, lines(["a", "b", "c" * 500, "d"]))).row == 3


def test_text_is_counted_as_it_is_once_decompressed(strict: Readers, tmp_path: Path) -> None:
    """The same 99 letters in 900 rows: nothing on the disk, twice the limit in memory."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 900, pa.int32()), ["x" * 99])
    pq.write_table(pa.table({"text": column, "label": ["y" * 2000] * 900}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    said = refusal(strict, tmp_path / "t.parquet")
    assert said.limit == MIB
    assert said.found > MIB


def test_a_parquet_bomb_ends_its_own_process_and_no_other(strict: Readers, tmp_path: Path) -> None:
    """A megabyte of text, ten thousand times: one row of a dictionary on the disk, ten gigabytes when it is read."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["x" * MIB])
    pq.write_table(pa.table({"text": column}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    said = refusal(strict, tmp_path / "t.parquet")
    assert (said.limit, said.status) == (SMALL.memory_bytes, 422)
    assert "bytes of memory" in said.message
    assert strict.read(write(tmp_path, lines(["a"])), {}, skip_bad_rows=False).rows == 1


def test_a_gzip_bomb_of_rows_is_left_at_the_limit(strict: Readers, tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(lines(["a"]) * 500_000), "t.jsonl.gz")
    assert path.stat().st_size < 50_000
    assert refusal(strict, path).limit == SMALL.rows


def test_a_gzip_bomb_of_nothing_is_left_when_its_time_is_up(strict: Readers, tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"\n" * 200 * MIB, 1), "t.jsonl.gz")
    began = time.monotonic()
    said = refusal(strict, path)
    assert "longer than the 2 seconds" in said.message
    assert time.monotonic() - began < 20


def test_a_reader_that_was_killed_is_started_again(strict: Readers, tmp_path: Path) -> None:
    path = write(tmp_path, lines(["a"]))
    strict.read(path, {}, skip_bad_rows=False)
    reader = strict._free.get()
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    reader._process.wait()
    strict._free.put(reader)
    assert strict.read(path, {}, skip_bad_rows=False).rows == 1


def test_many_may_read_at_once(readers: Readers, tmp_path: Path) -> None:
    paths = [write(tmp_path, lines(["a"] * (n + 1)), f"{n}.jsonl") for n in range(12)]
    with ThreadPoolExecutor(6) as threads:
        found = threads.map(lambda path: readers.read(path, {}, skip_bad_rows=False).rows, paths)
    assert list(found) == list(range(1, 13))


def test_a_reading_process_whose_server_was_killed_ends_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "task.jsonl").write_text('{"text": "a"}\n')
    asked = {"path": str(tmp_path / "task.jsonl"), "columns": {}, "skip_bad_rows": False}
    line = json.dumps({**asked, "limits": asdict(ReadingLimits())}).encode() + b"\n"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-m", "service.reader"], stdin=pipe, stdout=pipe, stderr=pipe) as reading:
        assert reading.stdin is not None
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.close()
        reading.stdin.write(line)
        reading.stdin.flush()
        assert reading.wait(30) == 0
        assert reading.stderr.read() == b""
