"""The exchange: where a worker that shares no volume fetches what a run needs and sends what came of it.

The API (`distill.exchange.api`), or an artifacts folder behind any fsspec URL (`distill.exchange.folder`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from contract.arrival import Arrival
from contract.draft import locked
from contract.errors import Busy
from contract.fetch import OnBytes, Source, fetch_files
from contract.manifest import MANIFEST, Kind, parse_manifest, read_manifest
from contract.progress import Progress
from contract.removal import remove_artifact
from contract.store import Store
from contract.task_folder import PlacedTask

FETCHED: tuple[Kind, ...] = ("transfer-set", "teacher", "labels", "run")
MADE: tuple[Kind, ...] = ("teacher", "labels")  # on the way to a run, and of use to others
PAUSE_S = 0.5


class Exchange(Protocol):
    """Raises TransfersetError in a sentence when the other side refuses, ConnectionError when it is not reached."""

    def task(self, name: str, folder: Path) -> PlacedTask:
        """The task of that name, brought into `folder`."""

    def manifest(self, kind: Kind, name: str) -> bytes | None:
        """The manifest of a finished artifact, None when there is none."""

    def source(self, kind: Kind, name: str) -> Source:
        """Where its files are."""

    def send(self, kind: Kind, name: str, directory: Path, on_bytes: OnBytes) -> None:
        """Send a finished artifact. It is finished there or not there; sent again it is as sent once."""

    def close(self) -> None: ...


class FetchingStore(Store):
    """A store that is filled from an exchange: what is asked for, and is finished there, is brought here first.

    It is a folder of copies: one that is no longer what the exchange has under its name gives way.
    """

    def __init__(self, root: Path, exchange: Exchange, progress: Progress) -> None:
        super().__init__(root)
        self._here = Store(root)
        self._exchange = exchange
        self._progress = progress
        self._asked: dict[tuple[Kind, str], bool] = {}  # whether the exchange has it

    def path(self, kind: Kind, name: str, version: int = 1) -> Path:
        place = super().path(kind, name, version)
        if kind in FETCHED and version == 1 and (kind, name) not in self._asked:
            manifest = self._exchange.manifest(kind, name)
            self._asked[kind, name] = manifest is not None
            if manifest is not None:
                self._bring(kind, name, manifest)
        return place

    def has_there(self, kind: Kind, name: str) -> bool:
        """Whether the exchange had it when it was asked."""
        return self._asked.get((kind, name), False)

    def send_made(self) -> None:
        """Send the teacher and the labels that were made here, so that nobody makes them again."""
        for (kind, name), is_there in self._asked.items():
            if kind in MADE and not is_there and (self._here.path(kind, name) / MANIFEST).is_file():
                self.send(kind, name)

    def send(self, kind: Kind, name: str) -> None:
        self._exchange.send(kind, name, self._here.path(kind, name), self._told("sending", kind))
        self._asked[kind, name] = True

    def forget(self, kind: Kind, name: str) -> None:
        """Remove the copy, finished or half built."""
        remove_artifact(self._here, kind, name, even_if_used=True)

    def _bring(self, kind: Kind, name: str, content: bytes) -> None:
        place = self._here.path(kind, name)
        if (place / MANIFEST).is_file():
            if read_manifest(place).id == parse_manifest(content, f"The manifest of {kind} {name}").id:
                return
            self.forget(kind, name)
        arrival = Arrival(self._here, kind, name, content)
        with ExitStack() as stack:
            while not _entered(stack, arrival.folder):
                self._progress(f"waiting for {kind}", 0, None)
                time.sleep(PAUSE_S)
            if arrival.is_there:  # another worker on this folder has brought it
                return
            arrival.begin()
            on_bytes = self._told("fetching", kind)
            fetch_files(self._exchange.source(kind, name), arrival.missing(), arrival.folder, on_bytes)
            arrival.finish()

    def _told(self, what: str, kind: Kind) -> OnBytes:
        return lambda done, total: self._progress(f"{what} {kind}", done, total)


def open_exchange(where: str, key: str | None) -> Exchange:
    """The exchange of an address: the API's, or an artifacts folder's."""
    if where.startswith(("http://", "https://")):
        from distill.exchange.api import HttpExchange

        return HttpExchange(where, key)
    from distill.exchange.folder import FolderExchange

    return FolderExchange(where)


def _entered(stack: ExitStack, folder: Path) -> bool:
    try:
        stack.enter_context(locked(folder))
    except Busy:
        return False
    return True
