"""Stuck connections: those whose client does nothing for too long are ended, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.connections import Stuck


@dataclass
class Flow:
    write_paused: bool = False


@dataclass(eq=False)
class Cycle:
    response_complete: bool = False


@dataclass
class Transport:
    held: int = 0
    aborted: bool = False

    def get_write_buffer_size(self) -> int:
        return self.held

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class Connection:
    """As much of a uvicorn protocol as is looked at."""

    cycle: Cycle | None = None
    flow: Flow = field(default_factory=Flow)
    transport: Transport = field(default_factory=Transport)


def watched(connection: Connection, *moments: float) -> bool:
    """Whether it was ended by the last of some looks, of ten seconds' patience."""
    stuck = Stuck(10)
    for moment in moments:
        assert not connection.transport.aborted
        stuck.end([connection], moment)
    return connection.transport.aborted


def test_one_that_never_ends_its_head_is_ended() -> None:
    assert watched(Connection(), 0, 5, 10, 10.5)
    assert not watched(Connection(), 0, 5, 10)


def test_one_whose_request_is_at_work_is_not() -> None:
    assert not watched(Connection(Cycle()), 0, 1000)


def test_one_that_asks_again_and_again_is_not() -> None:
    stuck, connection = Stuck(10), Connection()
    for moment in range(100):
        connection.cycle = Cycle(response_complete=True)  # seen only between its requests
        stuck.end([connection], moment)
    assert not connection.transport.aborted


def test_one_that_takes_nothing_of_its_answer_is_ended_and_a_slow_one_is_not() -> None:
    stuck = Stuck(10)
    still, slow = (Connection(Cycle(), Flow(write_paused=True), Transport(1000)) for _ in range(2))
    for moment in range(30):
        slow.transport.held -= 1
        stuck.end([still, slow], moment)
    assert still.transport.aborted
    assert not slow.transport.aborted


def test_what_has_gone_is_forgotten() -> None:
    stuck = Stuck(10)
    stuck.end([Connection() for _ in range(5)], 0)
    assert stuck.end([Connection()], 100) == 0
    assert len(stuck._since) == 1
