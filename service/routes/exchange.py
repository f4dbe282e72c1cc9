"""/v1/exchange: what workers that share no volume fetch and send. With API keys on, keys of scope admin only.

An artifact is sent in three steps, each of which may be repeated: its manifest (the answer says what is missing), its
files, and the word that it is whole. Until then nobody sees it; another sender of it has a place of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel

from contract.arrival import Arrival
from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import MANIFEST, FileEntry, Kind, hash_file, read_manifest
from contract.store import FOLDERS
from service.forms import ArtifactInfo, Name, artifact_info
from service.orders import check_disk
from service.problems import TooLarge
from service.routes.context import CONFLICT, EVERYWHERE, FULL, PROBLEM, Here, Service
from service.routes.files import checked_path, send_file

router = APIRouter(prefix="/v1/exchange", tags=["exchange"], dependencies=EVERYWHERE)

Fetched = Literal["transfer-sets", "teachers", "labels", "runs"]
Sent = Literal["teachers", "labels", "runs"]
KINDS: dict[str, Kind] = {folder: kind for kind, folder in FOLDERS.items()}
File = Annotated[str, PathParameter(max_length=200)]
ArrivalId = Annotated[str, PathParameter(pattern="^[0-9a-f]{16}$")]
BYTES = {"content": {"application/octet-stream": {}}, "description": "The file; `ETag` is its sha256"}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}
MANIFEST_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


class TaskFile(BaseModel):
    name: str
    bytes: int
    sha256: str


class TaskFiles(BaseModel):
    """A task as it lies in the tasks folder."""

    columns: dict[str, str]
    files: list[TaskFile]


class ArrivalInfo(BaseModel):
    """An artifact on its way: `missing` files are sent next, unless it is finished here already."""

    arrival: str
    missing: list[str]
    is_finished: bool


@router.get("/tasks/{name}", summary="List the files of a task")
def list_task_files(here: Here, name: Name) -> TaskFiles:
    placed = here.tasks.place(name)
    files = [
        TaskFile(name=str(file.relative_to(here.tasks.root)), bytes=file.stat().st_size, sha256=hash_file(file))
        for file in placed.files
    ]
    return TaskFiles(columns=placed.columns, files=files)


@router.get(
    "/tasks/{name}/files/{file:path}", summary="Fetch a file of a task", response_class=Response, responses={200: BYTES}
)
def fetch_task_file(here: Here, request: Request, name: Name, file: File) -> Response:
    for path in here.tasks.place(name).files:
        if str(path.relative_to(here.tasks.root)) == file:
            return _sent(request, path, hash_file(path))
    raise NotFound(f"The task {name} has no file of that name")


@router.get("/{kind}/{name}", summary="Fetch a manifest", response_class=Response, responses={200: BYTES})
def fetch_manifest(here: Here, kind: Fetched, name: Name) -> Response:
    """As it lies there, attachments and all."""
    path = here.store.path(KINDS[kind], name) / MANIFEST
    if not path.is_file():
        raise NotFound(f"There is no finished {KINDS[kind]} {name}")
    return Response(path.read_bytes(), media_type="application/json")


@router.get("/{kind}/{name}/files/{file:path}", summary="Fetch a file", response_class=Response, responses={200: BYTES})
def fetch_file(here: Here, request: Request, kind: Fetched, name: Name, file: File) -> Response:
    directory = here.store.path(KINDS[kind], name)
    if not (directory / MANIFEST).is_file():
        raise NotFound(f"There is no finished {KINDS[kind]} {name}")
    artifact = Artifact(directory, read_manifest(directory))
    try:
        entry = artifact.manifest.entry(file)
    except KeyError:
        raise NotFound(f"The {KINDS[kind]} {name} has no file of that name") from None
    return _sent(request, checked_path(artifact, file), entry.sha256)


@router.put(
    "/{kind}/{name}",
    summary="Begin to send an artifact",
    responses=CONFLICT | FULL,
    openapi_extra=MANIFEST_BODY,
)
async def begin(here: Here, request: Request, kind: Sent, name: Name) -> ArrivalInfo:
    """The body is its manifest.json. The same manifest again is the same arrival, and says what is still missing."""
    content = await request.body()
    return await run_sync(_begin, here, KINDS[kind], name, content)


@router.put(
    "/{kind}/{name}/arrivals/{arrival}/{file:path}",
    status_code=204,
    summary="Send a file",
    responses=FULL,
    openapi_extra=BODY,
)
async def receive(here: Here, request: Request, kind: Sent, name: Name, arrival: ArrivalId, file: File) -> None:
    """Kept when it is what the manifest promises; refused otherwise."""
    begun = await run_sync(Arrival.begun, here.store, KINDS[kind], name, arrival)
    entry = next((entry for entry in begun.entries if entry.name == file), None)
    if entry is None:
        raise NotFound(f"The manifest of {KINDS[kind]} {name} names no such file")
    await run_sync(check_disk, here.settings, entry.bytes)
    partial = begun.partial(entry, shared=False)
    try:
        with begun.going_on(), _as_sent():
            await _write(request, entry, partial)
            await run_sync(begun.take, entry, partial)
    finally:
        partial.unlink(missing_ok=True)


@router.post(
    "/{kind}/{name}/arrivals/{arrival}:finish",
    status_code=201,
    summary="Finish an artifact",
    responses=CONFLICT | FULL | {404: {**PROBLEM, "description": "It was not begun"}},
)
def finish(here: Here, kind: Sent, name: Name, arrival: ArrivalId) -> ArtifactInfo:
    """From now on it is there. Finished before is as finished now."""
    directory = here.store.path(KINDS[kind], name)
    try:
        made = Arrival.begun(here.store, KINDS[kind], name, arrival).finish()
    except NotFound:
        if not (directory / MANIFEST).is_file():
            raise
        made = Artifact(directory, read_manifest(directory))
    return artifact_info(here.store, KINDS[kind], name, made.manifest)


def _begin(here: Service, kind: Kind, name: str, content: bytes) -> ArrivalInfo:
    with _as_sent():
        arrival = Arrival(here.store, kind, name, content, most_bytes=here.settings.max_artifact_bytes)
    if arrival.is_there:
        return ArrivalInfo(arrival=arrival.id, missing=[], is_finished=True)
    missing = arrival.missing()
    check_disk(here.settings, sum(entry.bytes for entry in missing))
    arrival.begin()
    return ArrivalInfo(arrival=arrival.id, missing=[entry.name for entry in missing], is_finished=False)


@contextmanager
def _as_sent() -> Iterator[None]:
    """What is damaged is what the client sent (422), not what lies here (500)."""
    try:
        yield
    except CorruptArtifact as error:
        raise BadInput(error.message) from error


async def _write(request: Request, entry: FileEntry, path: Path) -> None:
    got = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            got += len(chunk)
            if got > entry.bytes:
                raise TooLarge(entry.bytes, got)
            await run_sync(file.write, chunk)


def _sent(request: Request, path: Path, sha256: str) -> Response:
    return send_file(request, path, filename=path.name, media_type="application/octet-stream", sha256=sha256)
