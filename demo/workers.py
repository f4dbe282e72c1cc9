"""Workers: processes that run commands side by side, one each at a time; one that dies takes down no other.

A run computes with one thread, so two runs side by side take as long as one. A worker runs many commands, so that
libraries load once, and ends with the process that started it.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from contract.errors import TransfersetError
from demo.commands import Command, run_command


@dataclass(frozen=True)
class Ended:
    """A command that is over: what it answered, and in one sentence why it failed, if it did."""

    command: Command
    said: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection


def run_side_by_side(
    commands: Sequence[Command],
    artifacts: Path,
    *,
    workers: int | None = None,
    before: Mapping[tuple[str, ...], Command] | None = None,
) -> Iterator[Ended]:
    """Run commands that do not need each other, begun in their order, on so many workers [one a core].

    What a command needs `before` it runs on the same worker. Each comes back as soon as it is over, whether it failed
    or not.
    """
    needed = before or {}
    waiting, busy = list(reversed(commands)), dict[Connection, tuple[_Worker, Command, float]]()

    def give(worker: _Worker) -> None:
        if waiting:
            command = waiting.pop()
            first = needed.get(tuple(command))
            worker.pipe.send([tuple(each) for each in (first, command) if each is not None])
            busy[worker.pipe] = worker, command, time.monotonic()
        else:
            _end(worker)

    try:
        for _ in range(min(workers or _cores(), len(waiting))):
            give(_start(artifacts))
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker, command, began = busy.pop(pipe)
                try:
                    said, error = pipe.recv()
                except (EOFError, ConnectionResetError):
                    said, error, worker = "", _last_words(worker), _start(artifacts)
                seconds = time.monotonic() - began
                give(worker)
                yield Ended(command, said, seconds, error)
    finally:
        for worker, *_ in busy.values():
            _end(worker)


def _start(artifacts: Path) -> _Worker:
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_work, args=(theirs, artifacts), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.process.terminate()
    worker.process.join()
    worker.pipe.close()


def _last_words(worker: _Worker) -> str:
    worker.process.join()
    code = worker.process.exitcode
    worker.pipe.close()
    return f"its process died (exit code {code}; -9 is often a lack of memory); the same command goes on from there"


def _work(pipe: Connection, artifacts: Path) -> None:
    """What a worker does: one command after the other, until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        said, error = "", None
        for command in pipe.recv():
            said, error = _run_quietly(command, artifacts)
            if error is not None:
                break
        pipe.send((said, error))


def _run_quietly(command: Command, artifacts: Path) -> tuple[str, str | None]:
    """What the command answers, without its progress: two bars on one terminal would write over each other."""
    said, error = io.StringIO(), None
    with redirect_stdout(said), redirect_stderr(io.StringIO()):
        try:
            run_command(command, artifacts)
        except TransfersetError as failure:
            error = failure.message
        except (Exception, SystemExit) as failure:
            error = _unforeseen(failure)
    return said.getvalue(), error


def _unforeseen(failure: BaseException) -> str:
    """A fault of ours in one line, with the place to look at."""
    where = traceback.extract_tb(failure.__traceback__)[-1]
    first = (str(failure).strip().splitlines() or [""])[0]
    return f"{type(failure).__name__} at {Path(where.filename).name}:{where.lineno}: {first[:200]}"


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too: the same command, typed again, shall not find its runs taken."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)))
