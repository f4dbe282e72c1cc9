"""API keys: who may ask this service for what. Kept as hashes, in a file the operator's commands write.

A key is 256 random bits, so its plain sha256 cannot be guessed back; it is shown once, when it is made. What the log
and the jobs name is its fingerprint. Once the file is there, every request needs a key, also when all are revoked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from contract.errors import BadInput, CorruptArtifact, NameTaken, NotFound
from contract.manifest import move_into_place
from contract.store import check_name

Scope = Literal["read", "write", "admin"]  # each may do what those before it may
SCOPES: tuple[Scope, ...] = get_args(Scope)
_FORM = re.compile(r"tset_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Key:
    """A key as it is kept. `revoked_at` is null while it holds."""

    name: str
    fingerprint: str
    sha256: str
    scope: Scope
    created_at: int
    revoked_at: int | None = None

    @property
    def holds(self) -> bool:
        return self.revoked_at is None

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class KeyRing:
    """The keys of one file, read again when it was touched. Safe to use from many threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}  # by sha256
        self._was_there = False

    @property
    def is_asked_for(self) -> bool:
        """Whether requests need a key; a ring that was there once is never taken off by removing its file."""
        self._refresh()
        return self._was_there

    def entries(self) -> list[Key]:
        """All keys, those revoked too, in the order they were made."""
        self._refresh()
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.name))

    def find(self, secret: str) -> Key | None:
        """The key that holds with this secret."""
        self._refresh()
        key = self._keys.get(_hash(secret)) if _FORM.fullmatch(secret) else None
        return key if key is not None and key.holds else None

    def create(self, name: str, scope: Scope) -> tuple[Key, str]:
        """Make a key -> (as it is kept, its secret, which nobody can give out again)."""
        check_name("key", name)
        if scope not in SCOPES:
            raise BadInput(f"scope: expected {', '.join(SCOPES)}, found {scope!r}")
        secret = f"tset_{secrets.token_urlsafe(32)}"
        key = Key(name, _hash(secret)[:8], _hash(secret), scope, int(self._clock()))
        with self._changing() as keys:
            if any(other.name == name and other.holds for other in keys.values()):
                raise NameTaken(f"There is a key {name} already; revoke it first, or choose another name")
            keys[key.sha256] = key
        return key, secret

    def revoke(self, name_or_fingerprint: str) -> Key:
        """End a key: requests with it are refused from the next one on."""
        with self._changing() as keys:
            for key in keys.values():
                if key.holds and name_or_fingerprint in (key.name, key.fingerprint):
                    keys[key.sha256] = replace(key, revoked_at=int(self._clock()))
                    return keys[key.sha256]
            holding = ", ".join(key.name for key in keys.values() if key.holds) or "none"
            raise NotFound(f"There is no key {name_or_fingerprint[:40]!r} that holds; those that do: {holding}")

    def _refresh(self) -> None:
        with self._lock:
            try:
                found = self.path.stat()
            except FileNotFoundError:
                self._keys, self._stamp = {}, None
                return
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._keys, self._stamp, self._was_there = _read(self.path), stamp, True

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, to be changed by one process at a time, and written whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            keys = dict(_read(self.path)) if self.path.exists() else {}
            yield keys
            _write(self.path, keys)
        finally:
            os.close(handle)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(path: Path) -> Mapping[str, Key]:
    try:
        content = path.read_bytes()
    except PermissionError as error:
        raise CorruptArtifact(f"{path} cannot be read by this process; give it to the user who runs it") from error
    try:
        found = [Key(**entry) for entry in json.loads(content)["keys"]]
        if not all(key.scope in SCOPES and re.fullmatch("[0-9a-f]{64}", key.sha256) for key in found):
            raise ValueError("an entry that is no key")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptArtifact(
            f"{path} is no file of API keys this version can read ({type(error).__name__}); "
            "restore it, or remove it and make new keys"
        ) from error
    return {key.sha256: key for key in found}


def _write(path: Path, keys: Mapping[str, Key]) -> None:
    """Nobody but its owner reads the file, not even for a moment."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"keys": [asdict(key) for key in keys.values()]}, file, indent=2)
    move_into_place(partial, path)
