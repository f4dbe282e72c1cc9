"""Rates: how fast one caller may ask. A bucket of tokens each, filled steadily, emptied by requests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CALLERS = 10_000  # remembered; who has not come for longest has a full bucket anyway


class Rates:
    """So many requests a second for every caller, after a burst. Used on the event loop alone."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, caller: str) -> float:
        """Take a token -> 0, or the seconds until there is one."""
        if not self.per_second:
            return 0.0
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - then) * self.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.per_second
        self._buckets[caller] = (tokens - 1 if not wait else tokens, now)
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        return wait
