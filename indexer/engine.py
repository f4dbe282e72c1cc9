"""The engine: where the shards of a long build are made, so many at once.

The same work on any engine leaves the same files: an engine decides where and when a shard is made, never how.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from contract.errors import BadInput
from indexer.engines.workers import BYTES_A_PROCESS, map_in_processes

Result = TypeVar("Result")

WORTH_PROCESSES_S = 20.0  # of work left: below, starting processes costs more than they save
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[KMGT]?I?)B?", re.IGNORECASE)


class Engine(Protocol):
    """What a build asks of an engine."""

    @property
    def memory_budget(self) -> int | None:
        """Bytes that one machine's share of the build may take; None leaves it to each part's default."""
        ...

    @property
    def workers(self) -> int:
        """About how many calls run at once."""
        ...

    def reach(self, folder: Path) -> None:
        """Raise a sentence when a machine of this engine cannot see `folder`, in which the work will read and write."""
        ...

    def map(self, work: Callable[[int], Result], numbers: Sequence[int], *, bytes_each: int = 0) -> Iterator[Result]:
        """`work(number)` for every number, results in the numbers' order; what it raises is raised here.

        `work` can be pickled and does its own looking for what is already done; `bytes_each` is about what one call
        holds in memory, from which an engine with a budget sees how many may run at once on a machine.
        """
        ...


class LocalEngine:
    """This machine's cores: by threads of this process, and by processes where there is work for long.

    A process that dies costs its shard only and shares no interpreter lock, but needs a second or more to start. So the
    first shards are made by threads, and the rest by processes when, as those went, it will take WORTH_PROCESSES_S
    seconds at least. `processes` decides otherwise.
    """

    def __init__(
        self, workers: int | None = None, memory_budget: int | None = None, *, processes: bool | None = None
    ) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self.memory_budget = memory_budget
        self._processes = processes

    def reach(self, folder: Path) -> None:
        """This machine sees its own folders."""

    def map(self, work: Callable[[int], Result], numbers: Sequence[int], *, bytes_each: int = 0) -> Iterator[Result]:
        at_once = self._at_once(bytes_each)
        apart = self._at_once(bytes_each + BYTES_A_PROCESS)
        if self._processes is not None:
            return map_in_processes(work, numbers, apart) if self._processes else map_in_threads(work, numbers, at_once)
        return self._map_as_it_goes(work, numbers, at_once, apart)

    def _map_as_it_goes(
        self, work: Callable[[int], Result], numbers: Sequence[int], at_once: int, apart: int
    ) -> Iterator[Result]:
        """By threads in rounds, each twice as long as the one before, until the rest is worth processes."""
        done, size = 0, at_once
        while done < len(numbers):
            started = time.monotonic()
            yield from map_in_threads(work, numbers[done : done + size], at_once)
            took = time.monotonic() - started
            done += size
            if apart > 1 and took / size * (len(numbers) - done) >= WORTH_PROCESSES_S:
                yield from map_in_processes(work, numbers[done:], apart)
                return
            size *= 2

    def _at_once(self, bytes_each: int) -> int:
        if self.memory_budget is None or not bytes_each:
            return self.workers
        return max(1, min(self.workers, self.memory_budget // bytes_each))


def open_engine(
    kind: str, *, address: str | None = None, workers: int | None = None, memory_budget: str | int | None = None
) -> Engine:
    """The engine a command names: `local`, or `ray` at an address (without one, a Ray of this machine is started)."""
    budget = read_bytes(memory_budget) if isinstance(memory_budget, str) else memory_budget
    if workers is not None and workers < 1:
        raise BadInput(f"Expected at least one worker, found {workers}; leave --workers out for one a core")
    if kind == "local":
        if address is not None:
            raise BadInput(f"A Ray address ({address}) needs --engine ray, found --engine local; leave one of them out")
        return LocalEngine(workers, budget)
    if kind == "ray":
        from indexer.engines.cluster import RayEngine  # Ray is an extra

        return RayEngine(address, workers=workers, memory_budget=budget)
    raise BadInput(f"Expected an engine out of local and ray, found {kind!r}")


def read_bytes(size: str) -> int:
    """`2GB`, `512 MiB`, `1500000000` -> bytes."""
    found = _SIZE.fullmatch(size.strip())
    if not found:
        raise BadInput(f"Expected a size as in 2GB, 512MiB or 1500000000, found {size!r}")
    return int(float(found["number"]) * _UNITS[found["unit"].upper()])


def map_in_threads(work: Callable[[int], Result], numbers: Sequence[int], at_once: int) -> Iterator[Result]:
    """`work(number)` for every number, so many at a time, in this process."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            yield from pool.map(work, numbers)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
