"""The connections of a server: one that never ends its request's head, or never takes its answer, is ended.

uvicorn waits for both without end, so that a few thousand such clients would keep everyone else out. A body that stops
is the guard's (408), a connection that rests between two requests uvicorn's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Stuck:
    """How long each connection has waited for the same thing. Look at them now and then: every second or so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Any, tuple[object, float]] = {}

    def end(self, connections: Iterable[Any], now: float) -> int:
        """End those that have waited too long (`now` is of any monotonic clock) -> how many."""
        since = {}
        for connection in connections:
            if (waits := _waits_for(connection)) is not None:
                known = self._since.get(connection)
                since[connection] = known if known is not None and known[0] == waits else (waits, now)
        self._since = since
        ended = [connection for connection, (_, then) in since.items() if now - then > self._seconds]
        for connection in ended:
            connection.transport.abort()
        return len(ended)


def _waits_for(connection: Any) -> tuple[object, ...] | None:
    """What a uvicorn protocol waits for its client to do; each request, and each byte taken, makes it another thing."""
    if connection.flow.write_paused:
        return ("take", connection.transport.get_write_buffer_size())
    if connection.cycle is None or connection.cycle.response_complete:
        return ("ask", connection.cycle)
    return None
