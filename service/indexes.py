"""The indexes a server has open: each opened once, shared by all requests, opened anew when its files were replaced.

A plain name is the newest finished version of an index; each version is opened by itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from contract.errors import NotFound, TransfersetError
from contract.manifest import MANIFEST, read_manifest
from contract.store import Store, exact_name
from service import metrics
from service.neighbours import SEARCHING, SearchIndex

Opener = Callable[[Store, str], SearchIndex]
Stamp = tuple[int, int] | None  # of the manifest: a rebuilt index has another
WARMING = "one two three"  # what a new index is asked first, so that no user waits for its parts to load


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
        self._loading: set[str] = set()
        self._faults: dict[str, tuple[Stamp, str]] = {}

    def exact(self, name: str) -> str:
        """The name of the version that `name` means now: web -> web@2."""
        return exact_name(self._store.find("index", name))

    def get(self, name: str) -> SearchIndex:
        """The index, opened and loaded if need be: slow then. Others wait only when they ask for the same one."""
        exact = self.exact(name)
        stamp = self._stamp(exact)
        with self._entry(exact) as entry:
            is_open = entry.index is not None and entry.stamp == stamp
            metrics.CACHE.labels("indexes", "hit" if is_open else "miss").inc()
            if not is_open:
                entry.index = None  # before the other is opened, so that not both lie in memory
                entry.index, entry.stamp = self._load(exact, stamp), stamp
            assert entry.index is not None
            return entry.index

    def look(self, name: str) -> SearchIndex:
        """The index, to be asked what it can do: an open one, else one whose parts are not loaded."""
        exact = self.exact(name)
        with self._lock:
            entry = self._entries.get(exact)
            if entry is not None and entry.index is not None and entry.stamp == self._stamp(exact):
                return entry.index
        return self._opener(self._store, exact)

    def fault(self) -> str | None:
        """Why not all is well: an index that is being loaded, or one that was found broken and still is."""
        with self._lock:
            loading, faults = sorted(self._loading), dict(self._faults)
        for name, (stamp, said) in faults.items():
            now = self._stamp(name)
            if now == stamp and now is not None:
                return f"Index {name} cannot be opened: {said}"
            self._faults.pop(name, None)  # removed or rebuilt since
        return f"Index {', '.join(loading)} is being opened" if loading else None

    def _load(self, exact: str, stamp: Stamp) -> SearchIndex:
        """Open an index and search it once by each of its retrievers: what is damaged shows now, not to a user."""
        with self._lock:
            self._loading.add(exact)
        try:
            index = self._opener(self._store, exact)
            for retriever in SEARCHING:
                if retriever in index.retrievers and retriever != "random":
                    index.passages(index.search([WARMING], 1, retriever).rows.ravel()[:1])
            metrics.INDEX_BYTES.labels(exact).set(_bytes_of(self._store.find("index", exact)))
        except Exception as error:
            # What may be said of it aloud: our own sentences, of another error its kind.
            said = error.message if isinstance(error, TransfersetError) else type(error).__name__
            if not isinstance(error, NotFound):
                self._faults[exact] = (stamp, said)
            raise
        finally:
            with self._lock:
                self._loading.discard(exact)
        self._faults.pop(exact, None)
        return index

    @contextmanager
    def _entry(self, name: str) -> Iterator[_Entry]:
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            self._entries.move_to_end(name)
            while len(self._entries) > self._capacity:
                closed, _ = self._entries.popitem(last=False)
                _forget(closed)
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
            found = (self._store.find("index", name) / MANIFEST).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino


def _bytes_of(directory: Path) -> int:
    return sum(entry.bytes for entry in read_manifest(directory).files)


def _forget(name: str) -> None:
    with suppress(KeyError):
        metrics.INDEX_BYTES.remove(name)
