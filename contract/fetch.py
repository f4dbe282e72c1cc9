"""The fetch: files of an artifact brought here, each compared with its hash, taken up where it broke off.

Whoever can open a file at a byte (HTTP with Range, an object store) is a source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contract.errors import CorruptArtifact
from contract.manifest import FileEntry, hash_file, move_into_place

OnBytes = Callable[[int, int], None]  # done, total
TRIES = 5
CHUNK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """A file being read: the byte it begins with, which may be 0 where another was asked for, and what follows."""

    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Where files are. Raises ConnectionError when the way to it breaks: then it is asked again, for the rest."""

    def open(self, entry: FileEntry, start: int) -> AbstractContextManager[Opened]: ...


def fetch_files(source: Source, entries: Sequence[FileEntry], folder: Path, on_bytes: OnBytes) -> None:
    """Bring files into `folder`; those that are there are kept. CorruptArtifact when bytes stay wrong."""
    done, total = 0, sum(entry.bytes for entry in entries)
    for entry in entries:
        path = folder / entry.name
        if not (path.is_file() and path.stat().st_size == entry.bytes and hash_file(path) == entry.sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(source, entry, path, lambda got, done=done: on_bytes(done + got, total))  # type: ignore[misc]
        done += entry.bytes
        on_bytes(done, total)


def _fetch(source: Source, entry: FileEntry, path: Path, on_bytes: Callable[[int], None]) -> None:
    """One file: what of it is there already is kept; wrong bytes are fetched anew."""
    partial = path.with_name(f".{path.name}.partial")
    for tries_left in reversed(range(TRIES)):
        try:
            _append(source, entry, partial, on_bytes)
        except ConnectionError:
            if not tries_left:
                raise
            continue
        if partial.stat().st_size < entry.bytes:
            continue
        if hash_file(partial) == entry.sha256:
            move_into_place(partial, path)
            return
        partial.unlink()
    raise CorruptArtifact(
        f"{entry.name} does not match its sha256 as it is sent; have it looked at where it comes from"
    )


def _append(source: Source, entry: FileEntry, partial: Path, on_bytes: Callable[[int], None]) -> None:
    has = partial.stat().st_size if partial.exists() else 0
    if has >= entry.bytes:
        partial.touch()  # a file without content
        return
    with source.open(entry, has) as opened:
        assert opened.start in (0, has)
        got = opened.start
        with partial.open("ab" if got else "wb") as file:
            for chunk in opened.chunks:
                file.write(chunk)
                got += len(chunk)
                if got > entry.bytes:  # more than was promised; the hash will not be right
                    break
                on_bytes(got)
