"""Clients of a service: connections that ask as fast as they are answered, or as often as a clock says. One process.

    python -m benchmarks.service.clients < LOAD.json

Written for measuring: it sends bodies made beforehand and reads of an answer its status and length alone, so that it
takes little of the machine it shares with the server. What it took of the processor is in what it says.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

TIMED_OUT, BROKEN = -1, 0  # beside the statuses of HTTP
_HEAD_ENDS = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What is asked: the bodies in turn, by so many connections in step with the answers, or at a rate."""

    port: int
    bodies: Sequence[str]
    seconds: float
    connections: int = 1
    per_second: float = 0.0  # 0: each connection asks again once it is answered
    path: str = "/v1/neighbours"
    patience: float = 10.0  # seconds for an answer; then it is a time-out
    warm_up: float = 0.0  # seconds before anything counts


@dataclass(frozen=True)
class Heard:
    """What came back: the seconds of each answered request (200), and how many had which status."""

    seconds: Sequence[float]
    statuses: dict[str, int]
    clock: float
    processor: float  # of the clients' own process
    answered_bytes: int

    @property
    def per_second(self) -> float:
        """Goodput: requests answered with 200."""
        return len(self.seconds) / self.clock

    @property
    def failed(self) -> int:
        """Neither answered nor told to come again."""
        return sum(times for status, times in self.statuses.items() if status not in ("200", "429"))

    def share(self, status: int) -> float:
        return self.statuses.get(str(status), 0) / max(sum(self.statuses.values()), 1)

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def hear(load: Load) -> Heard:
    """Put a load on a service from a process of its own."""
    order = [sys.executable, "-m", "benchmarks.service.clients"]
    done = subprocess.run(order, input=json.dumps(asdict(load)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the clients ended with {done.returncode}: {done.stderr[-2000:]}")
    return Heard(**json.loads(done.stdout))


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; `status` resolves when its answer is whole."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._head = bytearray()
        self._status = self._left = self._bytes = 0

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._resolve(BROKEN)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes, patience: float) -> tuple[int, int]:
        """The status of the answer and its bytes."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._head.clear()
        self._transport.write(request)
        timer = asyncio.get_running_loop().call_later(patience, self._give_up)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._take(len(data))
            return
        self._head += data
        end = self._head.find(_HEAD_ENDS)
        if end < 0:
            return
        head = bytes(self._head[:end]).lower()
        self._status = int(head[9:12])
        self._left = self._bytes = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        self._take(len(self._head) - end - len(_HEAD_ENDS))

    def _take(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._resolve(self._status)

    def _give_up(self) -> None:
        self._resolve(TIMED_OUT)
        self.close()

    def _resolve(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, self._bytes))


class _Crowd:
    """All connections, and what they heard."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = [_request(load, body) for body in load.bodies]
        self._asked = 0
        self._made: list[_Connection] = []
        self._idle: list[_Connection] = []
        self._from = time.perf_counter() + load.warm_up
        self._until = self._from + load.seconds
        self._seconds: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._bytes = 0

    async def run(self) -> Heard:
        work = self._at_a_rate() if self._load.per_second else self._in_step()
        counting = asyncio.create_task(self._processor())
        await work
        for connection in self._made:
            connection.close()
        return Heard(self._seconds, dict(self._statuses), self._load.seconds, await counting, self._bytes)

    async def _in_step(self) -> None:
        async def again() -> None:
            while time.perf_counter() < self._until:
                await self._ask()

        await asyncio.gather(*(again() for _ in range(self._load.connections)))

    async def _at_a_rate(self) -> None:
        """Arrivals as of many who know nothing of each other: exponential gaps, the same each time."""
        gaps, asking = random.Random(0), set()
        due = time.perf_counter()
        while due < self._until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
            due += gaps.expovariate(self._load.per_second)
        await asyncio.gather(*asking)

    async def _ask(self) -> None:
        request = self._requests[self._asked % len(self._requests)]
        self._asked += 1
        began = time.perf_counter()
        status, size = BROKEN, 0
        while status == BROKEN:
            connection = self._waiting_one()
            is_new = connection is None
            try:
                connection = connection or await self._connect()
            except OSError:
                break
            status, size = await connection.ask(request, self._load.patience)
            if connection.is_open:
                self._idle.append(connection)
            if is_new:  # one that waited may be closed by the server at the moment it is used: that is no failure
                break
        ended = time.perf_counter()
        # What belongs to the measured time by when it ended counts as served then; at a rate, by when it was asked.
        counts = self._from <= (began if self._load.per_second else ended) < self._until
        if counts:
            self._statuses[str(status)] += 1
            self._bytes += size
            if status == 200:
                self._seconds.append(ended - began)

    def _waiting_one(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self) -> _Connection:
        _, made = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._load.port)
        self._made.append(made)
        return made

    async def _processor(self) -> float:
        """Processor seconds of this process within the time that counts."""
        await asyncio.sleep(max(0.0, self._from - time.perf_counter()))
        before = time.process_time()
        await asyncio.sleep(max(0.0, self._until - time.perf_counter()))
        return time.process_time() - before


def _request(load: Load, body: str) -> bytes:
    content = body.encode()
    head = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


if __name__ == "__main__":
    load = Load(**json.load(sys.stdin))
    json.dump(asdict(asyncio.run(_Crowd(load).run())), sys.stdout)
