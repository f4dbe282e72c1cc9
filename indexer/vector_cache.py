"""The vector cache: passages' vectors kept from search to search, in files beside the indexes, each written once.

Written and read by `indexer.on_demand`. A file appears whole under a name of its own and is never changed: any number
of processes read and write at once, and a kill costs the file in the making. Every vector carries a hash of its own and
is believed only with it. What is here can always be made again, so the whole may be deleted at any time.

NAME.vectors: magic, rows and dim (8 bytes each, little-endian), then the columns keys (16 bytes a row), checks (8) and
vectors (2 dim).
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np

from contract.manifest import move_into_place

FOLDER = ".vectors"  # in the folder of all indexes
SUFFIX = ".vectors"
MAX_BYTES = 4_000_000_000  # of all caches of a folder together; the oldest files go first
_MAGIC = np.uint64(0x3176_6365_765F_7374)
_HEADER = 24
_KEY, _CHECK = 16, 8
_SMALL = 4096  # vectors: files with fewer are put together
_MANY = 32  # small files that are let stand
_STALE_S = 3600  # an unfinished file this old has lost its writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """One file, memory-mapped."""

    path: Path
    keys: np.ndarray  # (n, 2) uint64
    checks: np.ndarray  # (n,) uint64
    vectors: np.ndarray  # (n, dim) float16


class VectorCache:
    """The cached vectors of one encoder. Not to be shared between threads without a lock."""

    def __init__(self, directory: Path, dim: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._dim = dim
        self._max_bytes = max_bytes
        self._files: dict[str, _File] = {}
        self._places = _Places.of([])

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `keys` (n, 2) are here, (n,) bool, and their vectors, (n, dim) float16, zeros where they are not."""
        self._look()
        found, vectors = np.zeros(len(keys), bool), np.zeros((len(keys), self._dim), np.float16)
        number, row = self._places.find(keys[:, 0])
        for name, at in ((name, np.flatnonzero(number == i)) for i, name in enumerate(self._places.names)):
            file, rows = self._files[name], row[at]
            read = file.vectors[rows]
            # Half a key that another shares by chance is damage too, by far the likelier.
            sound = (file.keys[rows] == keys[at]).all(axis=1) & (file.checks[rows] == checks_of(keys[at], read))
            found[at[sound]], vectors[at[sound]] = True, read[sound]
            if not sound.all():
                _remove(file.path, "holds a vector that does not match its hash")
        return found, vectors

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keep vectors (n, dim) float16. Where nothing can be written they are not kept, and the log says so once."""
        if not len(keys) or not self._max_bytes:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            _write(self._directory, keys, vectors)
            self._tidy()
        except OSError as error:
            log.warning("vectors are not kept in %s: %s", self._directory, error.strerror)
            self._max_bytes = 0

    def _look(self) -> None:
        """Take up the files that appeared since; those that went are let go."""
        there = {path.name: path for path in sorted(self._directory.glob(f"*{SUFFIX}"))}
        if there.keys() == self._files.keys():
            return
        kept = {name: file for name, file in self._files.items() if name in there}
        opened = {name: _open(path, self._dim) for name, path in there.items() if name not in kept}
        self._files = kept | {name: file for name, file in opened.items() if file is not None}
        self._places = _Places.of([(name, file.keys[:, 0]) for name, file in sorted(self._files.items())])

    def _tidy(self) -> None:
        """Put small files together, and keep to the bound. One process at a time; the others need not wait."""
        with _alone(self._directory) as is_alone:
            if not is_alone:
                return
            self._merge()
            for path in _oldest_beyond(self._directory.parent, self._max_bytes):
                path.unlink(missing_ok=True)
            for path in self._directory.glob(".*.partial"):
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _STALE_S:
                        path.unlink()

    def _merge(self) -> None:
        self._look()
        small = [file for file in self._files.values() if len(file.keys) < _SMALL]
        if len(small) <= _MANY:
            return
        keys, vectors = np.concatenate([f.keys for f in small]), np.concatenate([f.vectors for f in small])
        sound = np.concatenate([f.checks for f in small]) == checks_of(keys, vectors)
        _, first = np.unique(keys, axis=0, return_index=True)
        first = first[sound[first]]
        _write(self._directory, keys[first], vectors[first])
        for file in small:
            file.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Places:
    """Where each key lies, by its first half."""

    names: Sequence[str]
    halves: np.ndarray  # (n,) uint64, ascending
    number: np.ndarray  # (n,) int32, of the file in `names`
    row: np.ndarray  # (n,) int32

    @classmethod
    def of(cls, files: Sequence[tuple[str, np.ndarray]]) -> _Places:
        halves = np.concatenate([np.zeros(0, np.uint64), *(keys for _, keys in files)])
        number = np.repeat(np.arange(len(files), dtype=np.int32), [len(keys) for _, keys in files])
        row = np.concatenate([np.zeros(0, np.int32), *(np.arange(len(keys), dtype=np.int32) for _, keys in files)])
        order = np.argsort(halves, kind="stable")
        return cls([name for name, _ in files], halves[order], number[order], row[order])

    def find(self, halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The file's number and the row of each, (n,); -1 where there is none."""
        if not len(self.halves):
            return np.full(len(halves), -1), np.full(len(halves), -1)
        at = np.minimum(np.searchsorted(self.halves, halves), len(self.halves) - 1)
        is_here = self.halves[at] == halves
        return np.where(is_here, self.number[at], -1), np.where(is_here, self.row[at], -1)


@dataclass(frozen=True)
class CacheFolder:
    """What a folder of vectors holds of one encoder."""

    name: str
    vectors: int
    bytes: int


def keys_of(texts: Iterable[str]) -> np.ndarray:
    """A hash of each text, (n, 2) uint64."""
    digests = b"".join(blake2b(text.encode(), digest_size=_KEY).digest() for text in texts)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def checks_of(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A hash of each key and vector together, (n,) uint64."""
    pairs = zip(np.ascontiguousarray(keys), np.ascontiguousarray(vectors), strict=True)
    digests = b"".join(blake2b(key.tobytes() + vector.tobytes(), digest_size=_CHECK).digest() for key, vector in pairs)
    return np.frombuffer(digests, "<u8")


def list_caches(indexes: Path) -> list[CacheFolder]:
    """The caches beside the indexes of a folder, sorted."""
    return [_described(folder) for folder in sorted((indexes / FOLDER).glob("*")) if folder.is_dir()]


def empty_caches(indexes: Path) -> None:
    """Remove all vectors; searches that go on at this moment keep what they have opened."""
    for path in (indexes / FOLDER).glob("*/*"):
        if path.suffix in (SUFFIX, ".partial"):
            path.unlink(missing_ok=True)


def _described(folder: Path) -> CacheFolder:
    rows, size = 0, 0
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            header = np.frombuffer(file.read(_HEADER).ljust(_HEADER, b"\0"), "<u8")
            rows += int(header[1]) if header[0] == _MAGIC else 0
            size += path.stat().st_size
    return CacheFolder(folder.name, rows, size)


def _write(directory: Path, keys: np.ndarray, vectors: np.ndarray) -> None:
    name = uuid4().hex
    partial = directory / f".{name}.partial"
    try:
        with partial.open("wb") as file:
            file.write(np.array([_MAGIC, len(keys), vectors.shape[1]], "<u8").tobytes())
            for column in (keys.astype("<u8"), checks_of(keys, vectors).astype("<u8"), vectors.astype("<f2")):
                file.write(np.ascontiguousarray(column).data)
        move_into_place(partial, directory / f"{name}{SUFFIX}")
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _open(path: Path, dim: int) -> _File | None:
    """A file, mapped; None when it was removed meanwhile, or is not one of ours, whole and of this dimension."""
    content: np.ndarray
    try:
        content = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        return None
    except ValueError:  # it is empty
        content = np.zeros(0, np.uint8)
    magic, rows, width = content[:_HEADER].view("<u8").tolist() if len(content) >= _HEADER else (0, 0, 0)
    if magic != _MAGIC or width != dim or len(content) != _HEADER + rows * (_KEY + _CHECK + 2 * dim):
        _remove(path, "is not a whole file of vectors")
        return None
    checks, vectors = _HEADER + rows * _KEY, _HEADER + rows * (_KEY + _CHECK)
    return _File(
        path,
        content[_HEADER:checks].view("<u8").reshape(rows, 2),
        content[checks:vectors].view("<u8"),
        content[vectors:].view("<f2").reshape(rows, dim),
    )


def _oldest_beyond(folder: Path, most: int) -> Iterator[Path]:
    """The files that have to go, the oldest first, for all to take at most so many bytes."""
    files = []
    for path in folder.glob(f"*/*{SUFFIX}"):
        with suppress(FileNotFoundError):
            files.append((path.stat().st_mtime_ns, path.name, path, path.stat().st_size))
    over = sum(size for *_, size in files) - most
    for *_, path, size in sorted(files):
        if over <= 0:
            return
        over -= size
        yield path


def _remove(path: Path, why: str) -> None:
    """What cannot be believed goes, where it can; it is in no index by then."""
    log.warning("%s %s; it is removed, and its vectors are made again", path, why)
    with suppress(OSError):
        path.unlink()


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether no other process tidies up here now; the kernel drops the lock with its holder."""
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
