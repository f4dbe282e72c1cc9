"""Worker processes of this machine: each gets the work once, then numbers; one that dies costs its shard only.

They are new interpreters, since no threads of numba, torch or FAISS survive a fork, and they do not import the caller's
main module. They end with their parent, however that ends: each watches its end of the socket between them. What goes
through that socket is pickled by `multiprocessing`, between this program and itself, and never touches a disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from contract.errors import WorkerLost

Result = TypeVar("Result")

BYTES_A_PROCESS = 150_000_000  # what a worker takes for its libraries before it does anything
MAX_DEATHS = 3  # of workers at one shard
_AHEAD = 8  # calls a worker may be ahead of the one whose result is next


def map_in_processes(work: Callable[[int], Result], numbers: Sequence[int], at_once: int) -> Iterator[Result]:
    """`work(number)` for every number in `at_once` processes, results in the numbers' order.

    The first exception is raised here, with the worker's traceback as a note. A shard whose worker dies is given to a
    new one; WorkerLost when that happens MAX_DEATHS times to the same one.
    """
    pickled = bytes(ForkingPickler.dumps(work))
    at_once = min(at_once, len(numbers))
    threads = max(1, len(os.sched_getaffinity(0)) // max(at_once, 1))
    crew: list[_Worker] = []
    try:
        crew += [_Worker.start(pickled, threads) for _ in range(at_once)]
        yield from _Dispatch(crew, numbers).results()
    finally:
        for worker in crew:
            worker.end()


class _Dispatch:
    """Who has which number, what is still to be given out, and what came back out of turn."""

    def __init__(self, crew: list[_Worker], numbers: Sequence[int]) -> None:
        self._crew = crew
        self._numbers = numbers
        self._waiting = deque(range(len(numbers)))  # positions in `numbers`
        self._given: dict[_Worker, int] = {}
        self._done: dict[int, Any] = {}
        self._deaths: Counter[int] = Counter()
        self._next = 0  # the position whose result comes next

    def results(self) -> Iterator[Any]:
        while self._next < len(self._numbers):
            for worker in list(self._crew):
                self._give(worker)
            for worker in self._heard():
                self._take(worker)
            while self._next in self._done:
                result = self._done.pop(self._next)
                self._next += 1
                yield result

    def _give(self, worker: _Worker) -> None:
        if worker in self._given or not self._waiting:
            return
        if self._waiting[0] >= self._next + _AHEAD * len(self._crew):
            return
        position = self._waiting.popleft()
        self._given[worker] = position
        with suppress(OSError):  # it is dead, and taking its answer will say so
            worker.connection.send(self._numbers[position])

    def _heard(self) -> list[_Worker]:
        ready = wait([worker.connection for worker in self._given])
        return [worker for worker in list(self._given) if worker.connection in ready]

    def _take(self, worker: _Worker) -> None:
        position = self._given.pop(worker)
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker, position)
        else:
            self._done[position] = result_of(*answer)

    def _bury(self, worker: _Worker, position: int) -> None:
        """A worker died: its shard goes first in line again, a new worker takes its place."""
        self._deaths[position] += 1
        how = worker.end()
        if self._deaths[position] == MAX_DEATHS:
            raise WorkerLost(
                f"Shard {self._numbers[position]} was given to {MAX_DEATHS} worker processes and each died ({how}); "
                "what is finished is kept: free some memory, or give less of it with --workers 1 or a smaller "
                "--memory-budget, and run the same command"
            )
        self._waiting.appendleft(position)
        self._crew[self._crew.index(worker)] = _Worker.start(worker.pickled, worker.threads)


@dataclass(frozen=True, eq=False)
class _Worker:
    """One worker process, and our end of the socket to it."""

    pickled: bytes
    threads: int
    connection: Connection
    process: subprocess.Popen[bytes]

    @staticmethod
    def start(pickled: bytes, threads: int) -> _Worker:
        ours, theirs = Pipe()
        command = [sys.executable, "-c", f"from indexer.engines.workers import serve; serve({theirs.fileno()})"]
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": path}
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what a command answers is not a library's to write in
        )
        theirs.close()
        worker = _Worker(pickled, threads, ours, process)
        with suppress(OSError):  # it died at once, and whoever takes its answer will see
            ours.send_bytes(pickled)
        return worker

    def end(self) -> str:
        """Kill it, if it still lives, and say how it ended; it loses at most a shard that it was making."""
        self.connection.close()
        self.process.kill()
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, as the kernel does when memory runs out"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def result_of(result: Result, error: BaseException | None, trace: str) -> Result:
    """The result of an `attempt`; raises the error it met, with the worker's traceback as a note."""
    if error is not None:
        error.add_note(f"In a worker process:\n{trace}")
        raise error
    return result


def serve(descriptor: int) -> None:
    """A worker's life: the work, then numbers, each answered by what `attempt` says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    connection = Connection(descriptor)
    heard: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, heard), daemon=True).start()
    work = _Unpacked(heard.get())
    while True:
        connection.send(attempt(work, ForkingPickler.loads(heard.get())))


def attempt(work: Callable[[int], Result], number: int) -> tuple[Result | None, BaseException | None, str]:
    """`work(number)`, or what it raised and where, both fit to travel to another process."""
    try:
        return work(number), None, ""
    except BaseException as error:
        return None, _portable(error), traceback.format_exc()


class _Unpacked:
    """The work, unpickled when it is first called, so that what goes wrong then is an answer too."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    def __call__(self, number: int) -> Any:
        return self._work(number)

    @cached_property
    def _work(self) -> Callable[[int], Any]:
        work: Callable[[int], Any] = ForkingPickler.loads(self._pickled)
        return work


def _listen(connection: Connection, heard: SimpleQueue[bytes]) -> None:
    """Hear what the parent says, at all times: when it is gone this process has no reason to be."""
    while True:
        try:
            heard.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """The error as it is, when it can be pickled and read again, else its name and words."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
