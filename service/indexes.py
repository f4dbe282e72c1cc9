"""The indexes a server has open: each opened once, shared by all requests, opened anew when its files were replaced."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from contract.manifest import MANIFEST
from contract.store import Store
from service.neighbours import SearchIndex

Opener = Callable[[Store, str], SearchIndex]
Stamp = tuple[int, int] | None  # of the manifest: a rebuilt index has another


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: Stamp = None
    index: SearchIndex | None = None


class OpenIndexes:
    """At most `capacity` open indexes, the least recently asked for closed first. Safe to use from many threads."""

    def __init__(self, store: Store, opener: Opener, capacity: int) -> None:
        self._store = store
        self._opener = opener
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def get(self, name: str) -> SearchIndex:
        """The index, opened if need be: slow then. Others wait only when they ask for the same one."""
        stamp = self._stamp(name)
        with self._entry(name) as entry:
            if entry.index is None or entry.stamp != stamp:
                entry.index = None  # before the other is opened, so that not both lie in memory
                entry.index, entry.stamp = self._opener(self._store, name), stamp
            return entry.index

    @contextmanager
    def _entry(self, name: str) -> Iterator[_Entry]:
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            self._entries.move_to_end(name)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        with entry.lock:
            try:
                yield entry
            except BaseException:
                with self._lock:
                    if self._entries.get(name) is entry and entry.index is None:
                        del self._entries[name]  # names that lead nowhere shall not push out those that do
                raise

    def _stamp(self, name: str) -> Stamp:
        try:
            found = (self._store.path("index", name) / MANIFEST).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino
