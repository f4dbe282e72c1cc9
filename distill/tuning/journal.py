"""The journal: a study's history as a file of one host, one JSON line an event, written and read by Optuna.

Two things are ours. The lock is the kernel's, so that a killed worker holds up nobody (Optuna's own is a link that
stays for 30 seconds). And a last line that a kill or a full disk cut in two is cut off before the next is written;
else both were one line that nobody can read, and the study lost.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

_TAIL = 1 << 16


@contextmanager
def kernel_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Whether the lock was got; it goes with its holder. Without `wait` another holder is not waited for."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


class Journal(JournalFileBackend):
    """The file at `path`, which outlives the death of any of its writers."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._lock_path = path.with_name(f".{path.name}.lock")
        with kernel_lock(self._lock_path):
            mend(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with kernel_lock(self._lock_path):
            mend(self._path)
            with self._path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())


def mend(path: Path) -> None:
    """Cut off a last line without its end."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            end = start if found < 0 else start + found + 1
            if found >= 0:
                break
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
