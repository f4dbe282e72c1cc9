"""Claims of the clients that measure a service: every request is counted once, as what it was, in the time it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import pytest

from benchmarks.service.clients import Heard, Load, _Crowd

BODIES = ['{"n": 1}', '{"n": 22}']
Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def reply(status: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: a/b\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def heard_of(answer: Answer, **given: float) -> tuple[Heard, list[bytes]]:
    """What a crowd hears of a server that gives each request to `answer`; the bodies the server got."""
    got: list[bytes] = []
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                got.append(await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2])))
                await answer(writer, got[-1])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            open_now.discard(writer)

    async def both() -> Heard:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        load = Load(port, BODIES, **({"seconds": 0.2, "connections": 3} | given))  # type: ignore[arg-type]
        heard = await asyncio.wait_for(_Crowd(load).run(), 20)
        server.close()
        while open_now:
            await asyncio.sleep(0)
        return heard

    return asyncio.run(both()), got


async def good(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(reply(200, b"x" * 10))


def test_every_answer_counts_once_and_bodies_go_out_in_turn() -> None:
    heard, got = heard_of(good)
    assert set(heard.statuses) == {"200"}
    assert len(got) - 3 <= heard.statuses["200"] == len(heard.seconds) <= len(got)
    assert heard.answered_bytes == 10 * len(heard.seconds)
    assert got[:4] == [body.encode() for body in BODIES * 2]
    assert heard.per_second == len(heard.seconds) / 0.2
    assert heard.failed == 0


def test_an_answer_in_pieces_is_one_answer() -> None:
    async def in_pieces(writer: asyncio.StreamWriter, body: bytes) -> None:
        for byte in reply(200, b"abc"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    heard, _ = heard_of(in_pieces, connections=1)
    assert set(heard.statuses) == {"200"}
    assert heard.answered_bytes == 3 * len(heard.seconds)


def test_refusals_are_no_goodput_and_no_failures() -> None:
    async def refuse_every_other(writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(reply(429 if b"22" in body else 200))

    heard, _ = heard_of(refuse_every_other)
    assert heard.share(429) == pytest.approx(0.5, abs=0.1)
    assert len(heard.seconds) == heard.statuses["200"]
    assert heard.failed == 0


def test_silence_is_a_time_out_and_a_broken_answer_a_failure() -> None:
    async def silent(writer: asyncio.StreamWriter, body: bytes) -> None:
        if b"22" in body:
            writer.close()

    heard, _ = heard_of(silent, connections=2, patience=0.05, seconds=0.3)
    assert not heard.seconds
    assert heard.statuses["-1"] >= 1
    assert heard.statuses["0"] >= 1
    assert heard.failed == sum(heard.statuses.values())


def test_a_connection_the_server_closed_while_it_waited_is_no_failure() -> None:
    """As servers do after seconds of silence: the request is asked again on a new one."""

    async def once_each(writer: asyncio.StreamWriter, body: bytes) -> None:
        if getattr(writer, "was_used", False):
            writer.transport.abort()
            return
        writer.was_used = True  # type: ignore[attr-defined]
        writer.write(reply(200))

    heard, _ = heard_of(once_each, connections=2)
    assert set(heard.statuses) == {"200"}


def test_at_a_rate_requests_come_whether_or_not_earlier_ones_are_answered() -> None:
    async def never(writer: asyncio.StreamWriter, body: bytes) -> None:
        return None

    heard, got = heard_of(never, per_second=500.0, patience=0.5, seconds=0.3)
    assert sum(heard.statuses.values()) == heard.statuses["-1"] >= 50
    assert len(got) >= 50


def test_what_comes_before_the_measured_time_does_not_count() -> None:
    heard, got = heard_of(good, warm_up=0.2, seconds=0.1)
    assert len(heard.seconds) < len(got)
    assert heard.clock == 0.1


def test_quantiles_are_of_the_answered_requests() -> None:
    heard = Heard([0.3, 0.1, 0.2, 0.4], {"200": 4}, 1.0, 0.0, 0)
    assert (heard.quantile(0.0), heard.quantile(0.5), heard.quantile(0.99), heard.quantile(1.0)) == (0.1, 0.3, 0.4, 0.4)


def test_a_load_passes_from_process_to_process_as_it_is() -> None:
    load = Load(1, BODIES, 2.0, per_second=3.5)
    assert Load(**asdict(load)) == load
