"""Once: an order with an idempotency key is answered by one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.problem import Refused


class Once:
    """The keys of the orders that are being answered now, in this process. Across processes the database decides."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    @contextmanager
    def answering(self, key: str | None) -> Iterator[None]:
        """Refuse (409) what comes while the first order with its key is still looked at; without a key nothing is."""
        if key is None:
            yield
            return
        with self._lock:
            if key in self._keys:
                raise Refused(
                    "A request with this Idempotency-Key is being answered now; ask again in a moment for its answer",
                    status=409,
                    kind="in-flight",
                    field="Idempotency-Key",
                    retry_after=1,
                )
            self._keys.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(key)
