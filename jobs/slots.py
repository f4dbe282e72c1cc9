"""The slot: a worker's name, held while it lives, so that the others can tell a dead worker from a slow one.

Beside a SQLite file it is a locked file; on Postgres an advisory lock, since workers on several hosts share no folder.
Either lock goes with its holder: the kernel drops a killed worker's files and its connection. A worker that is merely
stopped, or slow, keeps both.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url

from contract.errors import Busy

SLOTS = 1000
# Postgres ends the session of a host that vanished (power, network) after about 25 s of silence; a frozen worker's
# kernel goes on answering.
_KEEPALIVE = (("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 5), ("tcp_keepalives_count", 3))
# A lock may be gone though its worker lives, until that takes it again: Postgres was restarted, or a session broke.
SETTLING_S = 6.0  # in the first case
FREE_FOR_S = 3.0  # in the second


class Slots(ABC):
    """The slots of one database. Used by one thread at a time.

    What is locked is a name: `worker-N` by one alone, `queue-NAME` by all that listen to that queue.
    """

    held: str | None = None

    def __init__(self) -> None:
        self._queues: tuple[str, ...] = ()
        self._free_since: dict[str, float] = {}

    def take(self, queues: Sequence[str] = ()) -> str:
        """Hold the first free slot, and attend these queues -> its name."""
        for number in range(SLOTS):
            name = f"worker-{number}"
            if self._lock(name):
                self.held, self._queues = name, tuple(queues)
                self._attend(self._queues)
                return name
        raise Busy(f"All {SLOTS} worker slots of the jobs' database are taken; stop some workers")

    def hold(self) -> bool:
        """Whether the slot is still held: taken again where its lock was lost; False when another has it now."""
        return True

    def release(self) -> None:
        """Let go of everything."""
        self.held = None

    @contextmanager
    def if_dead(self, name: str) -> Iterator[bool]:
        """Whether nobody holds a slot; while this lasts nobody else takes it."""
        is_free = self._lock(name)
        try:
            yield is_free and self._has_been_free(name)
        finally:
            if is_free:
                self._unlock(name)
            else:
                self._free_since.pop(name, None)

    @abstractmethod
    def _has_been_free(self, name: str) -> bool:
        """Whether a slot found free is free for so long that its worker must be dead."""

    @abstractmethod
    def is_attended(self, queue: str) -> bool:
        """Whether a living worker listens to a queue."""

    @abstractmethod
    def _lock(self, name: str) -> bool: ...

    @abstractmethod
    def _unlock(self, name: str) -> None: ...

    @abstractmethod
    def _attend(self, queues: Sequence[str]) -> None: ...


def slots_of(database_url: str) -> Slots:
    """The slots that belong to a jobs' database."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return FileSlots(Path(url.database or "").absolute().parent / ".workers")
    return DatabaseSlots(url)


class FileSlots(Slots):
    """Locked files in a folder beside the SQLite file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._handles: dict[str, int] = {}

    def hold(self) -> bool:
        """Somebody may have cleared the folder away: the lock on a removed file keeps nobody out."""
        if self.held is None or self._is_there(self.held):
            return True
        for name in [*self._handles]:
            self._unlock(name)
        if not self._lock(self.held):
            return False
        self._attend(self._queues)
        return True

    def release(self) -> None:
        super().release()
        for name in [*self._handles]:
            self._unlock(name)

    def is_attended(self, queue: str) -> bool:
        name = f"queue-{queue}"
        if not (self._folder / f"{name}.lock").exists():
            return False
        handle = self._open(name)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    def _has_been_free(self, name: str) -> bool:
        return name in self._handles  # a file's lock goes with its holder and at no other time

    def _lock(self, name: str) -> bool:
        handle = self._open(name)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handles[name] = handle
        return True

    def _unlock(self, name: str) -> None:
        os.close(self._handles.pop(name))

    def _attend(self, queues: Sequence[str]) -> None:
        for queue in queues:
            handle = self._open(f"queue-{queue}")
            fcntl.flock(handle, fcntl.LOCK_SH)  # waits for one who looks, a moment
            self._handles[f"queue-{queue}"] = handle

    def _is_there(self, name: str) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handles[name]), (self._folder / f"{name}.lock").stat())
        except (FileNotFoundError, KeyError):
            return False

    def _open(self, name: str) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


class DatabaseSlots(Slots):
    """Advisory locks of one Postgres session, which is opened again when it was lost."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._session: psycopg.Connection | None = None
        self._opened_at = 0.0

    def hold(self) -> bool:
        if self._answers():
            return True
        self._close()
        if self.held is None or not self._lock(self.held):
            return False
        self._attend(self._queues)
        return True

    def release(self) -> None:
        super().release()
        if self._session is not None:
            with suppress(psycopg.Error):  # the end of the session would do, a moment later
                self._one("SELECT pg_advisory_unlock_all() IS NOT NULL")
        self._close()

    def is_attended(self, queue: str) -> bool:
        key = _key(f"queue-{queue}") & (2**64 - 1)
        return self._one(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_locks.database = pg_database.oid "
            "WHERE locktype = 'advisory' AND datname = current_database() AND granted "
            "AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1)",
            key >> 32,
            key & (2**32 - 1),
        )

    def _has_been_free(self, name: str) -> bool:
        now = time.monotonic()
        since = self._free_since.setdefault(name, now)
        return now - self._opened_at > SETTLING_S and now - since > FREE_FOR_S

    def _lock(self, name: str) -> bool:
        return self._one("SELECT pg_try_advisory_lock(%s)", _key(name))

    def _unlock(self, name: str) -> None:
        with suppress(psycopg.Error):  # a lost session has let go
            self._one("SELECT pg_advisory_unlock(%s)", _key(name))

    def _attend(self, queues: Sequence[str]) -> None:
        for queue in queues:
            self._one("SELECT pg_advisory_lock_shared(%s) IS NOT NULL", _key(f"queue-{queue}"))

    def _one(self, query: str, *values: object) -> bool:
        if self._session is None or self._session.closed:
            self._session = self._open()
        try:
            row = self._session.execute(query.encode(), values).fetchone()
        except psycopg.Error:
            self._close()
            raise
        return bool(row and row[0])

    def _open(self) -> psycopg.Connection:
        session = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5, application_name="transferset")
        for name, value in _KEEPALIVE:
            session.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
        self._opened_at = time.monotonic()
        return session

    def _answers(self) -> bool:
        try:
            return self._session is not None and self._one("SELECT true")
        except psycopg.Error:
            return False

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None


class Attendance:
    """Whether a queue has a worker, as many threads ask it: looked up at most once a second."""

    def __init__(self, slots: Slots, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float | None, bool]] = {}

    def has_worker(self, queue: str) -> bool:
        with self._lock:
            at, found = self._known.get(queue, (None, True))
            if at is None or self._clock() - at > 1:
                with suppress(psycopg.Error):  # the database went away: nothing is known
                    found = self._slots.is_attended(queue)
                self._known[queue] = self._clock(), found
        return found

    def close(self) -> None:
        with self._lock:
            self._slots.release()


def _key(name: str) -> int:
    """A lock's number: 64 bits, signed, of our own; locks of others in that database do not meet them."""
    digest = hashlib.sha256(f"transferset/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
