"""The API as exchange: /v1/exchange, with a key of scope admin where the service asks for keys."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from contract.errors import BadInput, Busy, NameTaken, NoSpace, NotFound, TransfersetError
from contract.fetch import CHUNK, OnBytes, Opened, Source, fetch_files
from contract.manifest import MANIFEST, FileEntry, Kind, canonical_json, read_manifest, stays_inside, write_whole
from contract.store import FOLDERS
from contract.task_folder import COLUMNS, PlacedTask, find_task

AGAIN = (429, 502, 503, 504)  # answers after which it is asked again
TRIES = 8
LONGEST_PAUSE_S = 30.0


class Unreached(TransfersetError, ConnectionError):
    """The API does not answer, however often it is asked."""

    status = 503


class HttpExchange:
    """See `distill.exchange.exchange.Exchange`."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(60, connect=10)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def task(self, name: str, folder: Path) -> PlacedTask:
        base = f"/v1/exchange/tasks/{name}"
        said: dict[str, Any] = self._answered("GET", base).json()
        entries = [FileEntry(file["name"], 0, file["bytes"], file["sha256"]) for file in said["files"]]
        if not all(stays_inside(entry.name) and not entry.name.startswith(".") for entry in entries):
            raise BadInput("The service names a task's file outside its folder; do not use this service")
        kept = folder / hashlib.sha256(canonical_json(said)).hexdigest()[:16]
        fetch_files(_HttpSource(self._http, base), entries, kept, _unheard)
        if said["columns"]:
            (kept / name).mkdir(parents=True, exist_ok=True)
            write_whole(kept / name / COLUMNS, canonical_json(said["columns"]))
        return find_task(kept, name)

    def manifest(self, kind: Kind, name: str) -> bytes | None:
        try:
            return self._answered("GET", _base(kind, name)).content
        except NotFound:
            return None

    def source(self, kind: Kind, name: str) -> Source:
        return _HttpSource(self._http, _base(kind, name))

    def send(self, kind: Kind, name: str, directory: Path, on_bytes: OnBytes) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                self._send(kind, name, directory, on_bytes)
                return
            except (NotFound, Busy):  # another sender of the same has just finished, or is about to
                if not tries_left:
                    raise
            time.sleep(1)

    def _send(self, kind: Kind, name: str, directory: Path, on_bytes: OnBytes) -> None:
        base, manifest = _base(kind, name), read_manifest(directory)
        entries = {entry.name: entry for entry in (*manifest.files, *manifest.attachments)}
        total = sum(entry.bytes for entry in entries.values())
        begun = self._answered("PUT", base, content=(directory / MANIFEST).read_bytes()).json()
        if begun["is_finished"]:
            return
        missing = [entries[file] for file in begun["missing"]]
        done = total - sum(entry.bytes for entry in missing)
        for entry in missing:
            path = f"{base}/arrivals/{begun['arrival']}/{entry.name}"
            self._put(path, directory / entry.name, lambda got, done=done: on_bytes(done + got, total))
            done += entry.bytes
        self._answered("POST", f"{base}/arrivals/{begun['arrival']}:finish")

    def close(self) -> None:
        self._http.close()

    def _put(self, path: str, file: Path, on_bytes: Any) -> None:
        def content() -> Iterator[bytes]:
            got = 0
            with file.open("rb") as opened:
                while chunk := opened.read(CHUNK):
                    yield chunk
                    got += len(chunk)
                    on_bytes(got)

        headers = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
        self._answered("PUT", path, content, headers)

    def _answered(
        self, method: str, path: str, content: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer; asked again while the way breaks or the service is busy: every request may be repeated."""
        for tries_left in reversed(range(TRIES)):
            pause = min(0.2 * 2.0 ** (TRIES - tries_left), LONGEST_PAUSE_S)
            try:
                body = content() if callable(content) else content
                response = self._http.request(method, path, content=body, headers=headers)
            except httpx.TransportError as error:
                if not tries_left:
                    raise Unreached(
                        f"The exchange does not answer ({type(error).__name__}); order the run again once it does: "
                        "what was made is kept"
                    ) from None
            else:
                if response.status_code not in AGAIN or not tries_left:
                    return _good(response)
                pause = _asked_to_wait(response, pause)
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")


class _HttpSource:
    def __init__(self, http: httpx.Client, base: str) -> None:
        self._http = http
        self._base = base

    @contextmanager
    def open(self, entry: FileEntry, start: int) -> Iterator[Opened]:
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{entry.sha256}"'} if start else {}
        try:
            with self._http.stream("GET", f"{self._base}/files/{entry.name}", headers=headers) as response:
                if response.is_error:
                    response.read()
                    if response.status_code in AGAIN:
                        time.sleep(_asked_to_wait(response, 1.0))
                        raise ConnectionError("asked to come again")
                    _good(response)
                yield Opened(start if response.status_code == 206 else 0, response.iter_bytes(CHUNK))
        except httpx.TransportError as error:
            time.sleep(0.5)
            raise ConnectionError(type(error).__name__) from error


def _base(kind: Kind, name: str) -> str:
    return f"/v1/exchange/{FOLDERS[kind]}/{name}"


def _good(response: httpx.Response) -> httpx.Response:
    """The response, when it is no refusal; a refusal in the service's own words."""
    if not response.is_error:
        return response
    said, kind = f"the service answered {response.status_code}", ""
    with suppress(ValueError, KeyError, TypeError):
        problem = response.json()
        said, kind = str(problem["detail"]), str(problem["type"]).rpartition(":")[2]
    known = {"not-found": NotFound, "busy": Busy, "name-taken": NameTaken, "no-space": NoSpace}
    error = known.get(kind, BadInput)(said if kind == "not-found" else f"The exchange refused: {said}")
    error.status = response.status_code
    raise error


def _unheard(_done: int, _total: int) -> None:
    """For what is small."""


def _asked_to_wait(response: httpx.Response, otherwise: float) -> float:
    with suppress(ValueError):
        return min(float(response.headers.get("retry-after", otherwise)), LONGEST_PAUSE_S)
    return otherwise
