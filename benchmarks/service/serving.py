"""Serving: neighbours over HTTP beside the library's own speed, one utterance in a crowd, and four times too much.

The server is a process of its own, and so are its clients; all share this machine, so that what the clients take, the
server lacks. The library is asked the same batches, by as many threads as the service searches with, in turn with it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service.clients import Heard, Load, hear
from benchmarks.service.server import Server, beside, serving
from benchmarks.service.table import Row
from contract.store import Store
from indexer.index import Index, open_index
from service.neighbours import Searching, find_neighbours

BATCH = 64
CROWD = 16
SATURATING = (4, 8, 16)  # connections; the best counts
OVERLOAD = 4


@dataclass(frozen=True)
class Measured:
    """What is asked of which index, and how long each measure takes."""

    artifacts: Path
    index: str
    retriever: Searching
    texts: Sequence[str]
    seconds: float
    turns: int
    threads: int
    k: int = 10

    def bodies(self, batch: int) -> list[str]:
        return [
            json.dumps({"index": self.index, "utterances": texts, "k": self.k, "retriever": self.retriever})
            for texts in self.batches(batch)
        ]

    def batches(self, batch: int) -> list[Sequence[str]]:
        whole = len(self.texts) // batch * batch
        return [self.texts[first : first + batch] for first in range(0, whole, batch)]


@dataclass(frozen=True)
class Speed:
    """Utterances a second by the clock, and a second of the processor; the clients' share of a core."""

    per_second: float = 0.0
    per_processor_second: float = 0.0
    clients: float = 0.0

    def best(self, other: Speed) -> Speed:
        return max(self, other, key=lambda speed: speed.per_second)

    def __str__(self) -> str:
        return f"{self.per_second:,.0f} utterances/s ({self.per_processor_second:,.0f} a CPU second)"


def measure_batches(asked: Measured, folder: Path) -> list[Row]:
    """Batches over HTTP beside the library's own utterances a second, by the clock and by the processor's time."""
    index = open_index(Store(asked.artifacts), asked.index)
    bodies, batches = asked.bodies(BATCH), asked.batches(BATCH)
    find_neighbours(index, batches[0], asked.k, asked.retriever)
    own, served = Speed(), Speed()
    with serving(beside(asked.artifacts, folder), asked.index, search_threads=asked.threads) as server:
        for _ in range(asked.turns):
            own = own.best(_library(index, asked, batches))
            for connections in SATURATING:
                load = Load(server.port, bodies, asked.seconds / 2, connections, warm_up=asked.seconds / 4)
                served = served.best(_served(server, load))
        ceiling = _library(index, asked, asked.batches(min(16 * BATCH, len(asked.texts))))
    what = f"{asked.retriever}, {index.rows:,} passages, batches of {BATCH}, k = {asked.k}"
    said = (
        f"service {served}, library {own} with {asked.threads} threads (asked 1,024 at a time: {ceiling}); "
        f"the clients took {served.clients:.0%} of a core"
    )
    share = served.per_second / own.per_second
    return [Row(what, "at least 90 % of the library", f"{share:.0%}", share >= 0.9, said)]


def _served(server: Server, load: Load) -> Speed:
    before = server.processor()
    heard = hear(load)
    done = BATCH * len(heard.seconds)
    share = load.seconds / (load.seconds + load.warm_up)  # of what the server did, what counts
    spent = (server.processor() - before) * share
    return Speed(BATCH * heard.per_second, done / spent if spent else 0.0, heard.processor / heard.clock)


def _library(index: Index, asked: Measured, batches: Sequence[Sequence[str]]) -> Speed:
    """Utterances a second by `find_neighbours`, on as many threads as the service searches with."""
    turns = itertools.cycle(batches)
    began, processor = time.perf_counter(), time.process_time()
    until = began + asked.seconds / 2

    def work() -> int:
        done = 0
        while time.perf_counter() < until:
            batch = next(turns)
            find_neighbours(index, batch, asked.k, asked.retriever)
            done += len(batch)
        return done

    with ThreadPoolExecutor(asked.threads) as pool:
        done = sum(pool.map(lambda _: work(), range(asked.threads)))
    return Speed(done / (time.perf_counter() - began), done / (time.process_time() - processor))


def measure_crowd(asked: Measured, folder: Path) -> list[Row]:
    """One utterance a request: alone, among sixteen, and four times as often as can be answered."""
    bodies = asked.bodies(1)
    artifacts = beside(asked.artifacts, folder)
    with serving(artifacts, asked.index, search_threads=asked.threads) as server:
        turns = [
            [hear(Load(server.port, bodies, asked.seconds, n, warm_up=asked.seconds / 4)) for n in (1, CROWD)]
            for _ in range(asked.turns)
        ]
        crowds = [
            hear(Load(server.port, bodies, asked.seconds, n, warm_up=asked.seconds / 2)) for n in (2 * CROWD, 4 * CROWD)
        ]
        peak = max(heard.per_second for heard in (*crowds, *(turn[1] for turn in turns)))
        rate = OVERLOAD * peak
        over = hear(Load(server.port, bodies, 2 * asked.seconds, per_second=rate, warm_up=asked.seconds / 2))
    with serving(artifacts, asked.index, search_threads=asked.threads, search_together=1) as server:
        apart = hear(Load(server.port, bodies, asked.seconds, CROWD, warm_up=asked.seconds / 4))
    alone, crowd = min(turns, key=lambda turn: turn[1].quantile(0.99) / turn[0].quantile(0.5))
    return [_among(asked, alone, crowd, apart), _beyond(asked, peak, rate, over)]


def _among(asked: Measured, alone: Heard, crowd: Heard, apart: Heard) -> Row:
    times = crowd.quantile(0.99) / alone.quantile(0.5)
    said = (
        f"alone p50 {_ms(alone, 0.5)}, p99 {_ms(alone, 0.99)}; among {CROWD} p50 {_ms(crowd, 0.5)}, "
        f"p99 {_ms(crowd, 0.99)}, {crowd.per_second:.0f} requests/s; were each searched by itself "
        f"p99 {_ms(apart, 0.99)}, {apart.per_second:.0f} requests/s"
    )
    good = times < 4 and not crowd.failed
    return Row(
        f"{asked.retriever}, one utterance, {CROWD} clients", "p99 under 4 x p50 of one", f"{times:.1f} x", good, said
    )


def _beyond(asked: Measured, peak: float, rate: float, over: Heard) -> Row:
    said = (
        f"peak {peak:.0f} requests/s; asked {rate:.0f} a second: {over.per_second:.0f} answered in p50 "
        f"{_ms(over, 0.5)}, p99 {_ms(over, 0.99)}, {over.share(429):.0%} told 429, {over.failed} failed or timed out; "
        f"the clients took {over.processor / over.clock:.0%} of a core"
    )
    good = over.per_second >= 0.9 * peak and not over.failed
    target = "429, no time-out, goodput at least 90 % of the peak"
    return Row(f"{asked.retriever}, {OVERLOAD} x overload", target, f"{over.per_second / peak:.0%}", good, said)


def _ms(heard: Heard, share: float) -> str:
    return f"{1000 * heard.quantile(share):.0f} ms"
