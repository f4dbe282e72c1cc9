"""The reader: reads task files in processes of their own, with size, memory and time bounded.

A stranger's file may decompress without end, lie about its sizes, or crash the library that reads it: what ends then
is a process made for that one file. They are forked off one that has Arrow loaded, since loading takes longer than
reading most tasks does. The two sides talk in lines of JSON.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet  # loaded before the fork, not after each

from contract.errors import BadInput, NotFound, TransfersetError
from contract.manifest import Json
from contract.rows import BadRow
from contract.task import TARGETS, Target, Task, read_task

KEPT_BAD_ROWS = 10_000  # of a file full of them no more are kept; all are counted
_LEAN = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class ReadingLimits:
    """What one task may take: rows and text once decompressed, and what the process that reads it may."""

    rows: int = 1_000_000
    text_bytes: int = 256 * 1024**2
    text_chars: int = 10_000
    memory_bytes: int = 2 * 1024**3
    seconds: int = 60


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task without holding it: enough to plan a transfer set for it."""

    name: str
    id: str
    rows: int
    splits: Mapping[str, int]  # rows of each, by name
    targets: Sequence[Target]  # the columns to predict that have values
    bad_rows: int = 0
    bad: Sequence[BadRow] = ()  # the first of them


class Unreadable(TransfersetError):
    """A file beyond a limit, or with a bad row: the sentence, and where and what as fields of their own."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        row: int | None = None,
        limit: int | None = None,
        found: Json = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.row = row
        self.limit = limit
        self.found = found


def facts_of(task: Task, bad: Sequence[BadRow] = (), bad_rows: int = 0) -> TaskFacts:
    counted = pc.value_counts(task.table["split"].combine_chunks())
    splits = dict(sorted((entry["values"].as_py(), entry["counts"].as_py()) for entry in counted))
    targets = [column for column in TARGETS if task.table[column].null_count < task.table.num_rows]
    return TaskFacts(task.name, task.id, task.table.num_rows, splits, targets, bad_rows, bad)


class Readers:
    """So many readers, each a process that forks one more for every file. Safe to use from many threads."""

    def __init__(self, limits: ReadingLimits, count: int = 2) -> None:
        self.limits = limits
        self._free: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(_Reader())

    def read(self, path: Path, columns: Mapping[str, str], *, skip_bad_rows: bool) -> TaskFacts:
        """The facts of a task file. Raises Unreadable, BadInput or NotFound."""
        asked = {"path": str(path), "columns": dict(columns), "skip_bad_rows": skip_bad_rows}
        with self._reader() as reader:
            reply = reader.ask(asked | {"limits": asdict(self.limits)})
        if "facts" in reply:
            bad = [BadRow(**row) for row in reply["facts"].pop("bad")]
            return TaskFacts(**reply["facts"], bad=bad)
        kind = {"BadInput": BadInput, "NotFound": NotFound}.get(reply["kind"], Unreadable)
        raise kind(reply["message"], **reply.get("where", {}))

    def close(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().close()

    @contextmanager
    def _reader(self) -> Iterator[_Reader]:
        reader = self._free.get()
        try:
            yield reader
        finally:
            self._free.put(reader)


class _Reader:
    """Our side of one reading process, started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, asked: Mapping[str, Json]) -> dict[str, Any]:
        line = json.dumps(asked).encode() + b"\n"
        for _ in range(2):  # one that was killed from outside is started again
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(line)
                process.stdin.flush()
            reply = process.stdout.readline()
            if reply:
                answer: dict[str, Any] = json.loads(reply)
                return answer
            self.close()
        return _failure("Unreadable", "The file could not be read: its reader ended without a word; send it again")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            here = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.reader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | _LEAN | {"PYTHONPATH": here},
                start_new_session=True,  # Ctrl-C in a terminal is for the server, which closes its readers
            )
        return self._process


@dataclass
class _Watch:
    """Counts what is read, and refuses what is too much while it is read."""

    limits: ReadingLimits
    skip_bad_rows: bool
    rows: int = 0
    text_bytes: int = 0
    bad_rows: int = 0
    bad: list[BadRow] = field(default_factory=list)

    def on_batch(self, file: Path, numbers: pa.Int64Array, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self.text_bytes += batch.nbytes
        self._at_most(self.limits.rows, self.rows, "rows")
        self._at_most(self.limits.text_bytes, self.text_bytes, "bytes once decompressed")
        for column in ("text", "text_pair"):
            longest = pc.max(pc.utf8_length(batch.column(column))).as_py() or 0
            if longest > self.limits.text_chars:
                place = pc.index(pc.utf8_length(batch.column(column)), longest).as_py()
                row = numbers[place].as_py()
                raise Unreadable(
                    f"{file}, row {row}, column {column!r}: expected at most {self.limits.text_chars:,} characters, "
                    f"found {longest:,}; cut it short, or split it into several",
                    **{"field": column, "row": row, "limit": self.limits.text_chars, "found": longest},
                )

    def on_bad_row(self, bad: BadRow) -> None:
        if not self.skip_bad_rows:
            advice = "mend the row, or keep the good rows with --skip-bad-rows"
            raise Unreadable(f"{bad}; {advice}", field=bad.column or None, row=bad.row)
        self.bad_rows += 1
        self._at_most(self.limits.rows, self.rows + self.bad_rows, "rows")
        if len(self.bad) < KEPT_BAD_ROWS:
            self.bad.append(bad)

    def _at_most(self, limit: int, found: int, words: str) -> None:
        if found > limit:
            raise Unreadable(
                f"The task is too large: expected at most {limit:,} {words}, found {found:,} or more; send a part",
                field="file",
                limit=limit,
                found=found,
            )


def serve_readings() -> None:
    """The reading process: for every line of its input one fork, one line of output. Ends with its input."""
    pa.RecordBatch.from_pylist([{"text": "a"}])  # Arrow loads more for its first list, pandas where that is installed
    while line := sys.stdin.buffer.readline():
        from_child, to_parent = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(from_child)
            _answer_in_child(json.loads(line), to_parent)
        os.close(to_parent)
        with os.fdopen(from_child, "rb") as pipe:
            reply = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            reply = json.dumps(_of_signal(os.WTERMSIG(status), json.loads(line)["limits"])).encode()
        try:
            sys.stdout.buffer.write(reply + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(0)  # who asked was killed


def _answer_in_child(asked: Mapping[str, Json], to_parent: int) -> None:
    """Read, write the reply, and end without a trace: nothing of this process is worth an orderly exit."""
    try:
        limits = ReadingLimits(**asked["limits"])
        _bound(limits)
        reply = _reply(Path(asked["path"]), asked["columns"], _Watch(limits, asked["skip_bad_rows"]))
        with os.fdopen(to_parent, "wb") as pipe:
            pipe.write(json.dumps(reply).encode())
    finally:
        os._exit(0)


def _bound(limits: ReadingLimits) -> None:
    has_now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, limit in (
        (resource.RLIMIT_AS, has_now + limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(2 * limits.seconds)


def _reply(path: Path, columns: Mapping[str, str], watch: _Watch) -> dict[str, Any]:
    try:
        task = read_task(path, columns=columns, on_bad_row=watch.on_bad_row, on_batch=watch.on_batch)
        return {"facts": asdict(facts_of(task, watch.bad, watch.bad_rows))}
    except (TransfersetError, MemoryError) as error:
        if _for_want_of_memory(error):
            return _failure("Unreadable", _NO_MEMORY.format(watch.limits.memory_bytes), limit=watch.limits.memory_bytes)
        where = {key: value for key, value in vars(error).items() if key != "message"}
        return _failure(type(error).__name__, str(error), **where)
    except Exception as error:
        return _failure(
            "Unreadable", f"The file is damaged in an unforeseen way ({type(error).__name__}); write it anew"
        )


_NO_MEMORY = "Reading the file takes more than the {:,} bytes of memory a task may take; send it in parts"


def _for_want_of_memory(error: BaseException | None) -> bool:
    """Arrow says so with an error of its own, which the readers of files take for damage."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def _of_signal(number: int, limits: Mapping[str, int]) -> dict[str, Any]:
    if number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL):
        message = f"Reading the file takes longer than the {limits['seconds']:,} seconds a task may take"
        return _failure("Unreadable", f"{message}; send it in parts", limit=limits["seconds"])
    return _failure("Unreadable", "The file is damaged: its reader broke down over it; write it anew")


def _failure(kind: str, message: str, **where: Json) -> dict[str, Any]:
    return {"kind": kind, "message": message} | ({"where": where} if kind == "Unreadable" else {})


if __name__ == "__main__":
    serve_readings()
