"""An artifacts folder behind an fsspec URL (s3://…, file://…) as exchange. Needs fsspec, and what the URL needs."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.arrival import Arrival
from contract.errors import BadInput, Busy, MissingExtra, NameTaken, NotFound
from contract.fetch import CHUNK, OnBytes, Opened, Source
from contract.manifest import MANIFEST, FileEntry, Kind, parse_manifest, read_manifest
from contract.rows import format_of
from contract.store import FOLDERS, Store, check_name
from contract.task_folder import COLUMNS, PlacedTask, find_task, task_name_of

TRIES = 10


class FolderExchange:
    """See `distill.exchange.exchange.Exchange`."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingExtra(f"--exchange {url.partition('://')[0]}://… needs {error}; pip install it") from error
        except ValueError as error:
            raise BadInput(
                f"--exchange: expected http://…, or a URL that fsspec opens, found another ({error})"
            ) from None
        self._is_local = "file" in (self._files.protocol if isinstance(self._files.protocol, tuple) else ())

    def task(self, name: str, folder: Path) -> PlacedTask:
        files = self._task_files(check_name("task", name))
        stamp = hashlib.sha256("\n".join(self._files.ukey(path) for path in files).encode()).hexdigest()[:16]
        kept = folder / stamp
        if not kept.is_dir():
            arriving = folder / f".{stamp}.partial"
            shutil.rmtree(arriving, ignore_errors=True)
            for path in files:
                here = arriving / path.removeprefix(f"{self._root}/tasks/")
                here.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(path, str(here))
            try:
                arriving.rename(kept)
            except OSError:  # another worker on this folder was first
                shutil.rmtree(arriving)
        return find_task(kept, name)

    def manifest(self, kind: Kind, name: str) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(f"{self._place(kind, name)}/{MANIFEST}")
        except FileNotFoundError:
            return None
        return content

    def source(self, kind: Kind, name: str) -> Source:
        return _FolderSource(self._files, self._place(kind, name))

    def send(self, kind: Kind, name: str, directory: Path, on_bytes: OnBytes) -> None:
        content = (directory / MANIFEST).read_bytes()
        if self._is_local:
            self._copy(Arrival(Store(Path(self._root)), kind, name, content), directory, on_bytes)
            return
        there = self.manifest(kind, name)
        for _ in range(TRIES):
            if there is not None:
                if parse_manifest(there, name).id != read_manifest(directory).id:
                    raise NameTaken(f"The exchange has another {kind} {name}; choose another name, or remove it")
                if self._holds_what_it_says(kind, name, there):
                    return
            self._put(kind, name, directory, content, on_bytes)
            there = self.manifest(kind, name)

    def close(self) -> None: ...

    def _copy(self, arrival: Arrival, directory: Path, on_bytes: OnBytes) -> None:
        """Into a folder of this machine: finished in one move."""
        for tries_left in reversed(range(TRIES)):
            if arrival.is_there:
                return
            try:
                with arrival.going_on():
                    _copied(arrival, directory, on_bytes)
                return
            except (NotFound, Busy):  # another sender of the same has just finished, or is about to
                if not tries_left:
                    raise
            time.sleep(1)

    def _put(self, kind: Kind, name: str, directory: Path, content: bytes, on_bytes: OnBytes) -> None:
        """All files, then the manifest: there is no moving of folders in an object store."""
        manifest, done = read_manifest(directory), 0
        entries = (*manifest.files, *manifest.attachments)
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            self._files.put_file(str(directory / entry.name), f"{self._place(kind, name)}/{entry.name}")
            done += entry.bytes
            on_bytes(done, total)
        self._files.pipe_file(f"{self._place(kind, name)}/{MANIFEST}", content)

    def _holds_what_it_says(self, kind: Kind, name: str, content: bytes) -> bool:
        """Whether the attachments are this manifest's: of two workers that send at once, each has its own times."""
        for entry in parse_manifest(content, name).attachments:
            found = self._files.cat_file(f"{self._place(kind, name)}/{entry.name}")
            if hashlib.sha256(found).hexdigest() != entry.sha256:
                return False
        return True

    def _place(self, kind: Kind, name: str) -> str:
        return f"{self._root}/{FOLDERS[kind]}/{check_name(kind, name)}"

    def _task_files(self, name: str) -> list[str]:
        """The files of a task there, with that which names its columns."""
        root = f"{self._root}/tasks"
        found: list[dict[str, Any]] = self._files.ls(root, detail=True) if self._files.isdir(root) else []
        for item in sorted(found, key=lambda item: (item["type"] != "directory", item["name"])):
            path = Path(item["name"])
            if item["type"] == "directory" and path.name == name:
                inside = self._files.ls(item["name"], detail=False)
                return sorted(file for file in inside if format_of(Path(file)) or Path(file).name == COLUMNS)
            if item["type"] == "file" and format_of(path) and task_name_of(path) == name:
                return [item["name"]]
        raise NotFound(f"The exchange has no task {name} in its folder tasks; put it there")


class _FolderSource:
    def __init__(self, files: Any, place: str) -> None:
        self._files = files
        self._place = place

    @contextmanager
    def open(self, entry: FileEntry, start: int) -> Iterator[Opened]:
        with self._files.open(f"{self._place}/{entry.name}", "rb") as file:
            file.seek(start)
            yield Opened(start, iter(lambda: file.read(CHUNK), b""))


def _copied(arrival: Arrival, directory: Path, on_bytes: OnBytes) -> None:
    arrival.begin()
    missing = arrival.missing()
    total = sum(entry.bytes for entry in arrival.entries)
    done = total - sum(entry.bytes for entry in missing)
    for entry in missing:
        partial = arrival.partial(entry, shared=False)
        shutil.copyfile(directory / entry.name, partial)
        arrival.take(entry, partial)
        done += entry.bytes
        on_bytes(done, total)
    arrival.finish()
