"""/v1/transfer-sets: order one, as a job; look into those that are finished; fetch their shards."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from contract.artifact import Artifact
from contract.errors import NotFound
from contract.manifest import Json, read_manifest
from service.forms import ArtifactInfo, Name, ShardInfo, TransferSetOrder, shard_infos
from service.inspection import Inspection, inspect_transfer_set
from service.jobs import Job
from service.pages import Limit, Page, PageToken
from service.problems import Refused
from service.routes.context import CONFLICT, PROBLEM, Here, info, infos
from service.transfer_set import open_transfer_set

PARQUET = "application/vnd.apache.parquet"
router = APIRouter(prefix="/v1", tags=["transfer sets"])


@router.post(
    "/transfer-sets",
    status_code=202,
    summary="Build a transfer set, as a job",
    responses=CONFLICT | {202: {"description": "The job: `Location` says where to ask for it, `Retry-After` when"}},
)
def order_transfer_set(
    here: Here,
    response: Response,
    body: TransferSetOrder,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Job:
    """Names are checked now, all else is the job's. With an `Idempotency-Key` the same order again is the same job."""
    request: dict[str, Json] = body.model_dump(mode="json", exclude={"name"}, exclude_unset=True)
    _refuse_odd_characters(request)
    here.tasks.path(body.task)
    if body.index is not None:
        info(here.store, "index", body.index)
    if body.size_of is not None:
        open_transfer_set(here.store, body.size_of)
    job, _ = here.jobs.submit("transfer-set", body.name, request, key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "1"
    return job


@router.get("/transfer-sets", summary="List the transfer sets")
def list_transfer_sets(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[ArtifactInfo]:
    """Finished transfer sets by name. One that is broken is listed with its `fault`."""
    return infos(here.store, "transfer-set", limit, page_token)


@router.get("/transfer-sets/{name}", summary="Look at a transfer set")
def get_transfer_set(here: Here, name: Name) -> ArtifactInfo:
    return info(here.store, "transfer-set", name)


@router.get("/transfer-sets/{name}/report", summary="See what is in a transfer set")
def get_report(here: Here, name: Name) -> Inspection:
    """Sizes, sources, ranks, scores, variety, drops by reason, nearness to the task: measures, no text."""
    return _inspected_once(here.store.path("transfer-set", name), open_transfer_set(here.store, name).id)


@router.get("/transfer-sets/{name}/shards", summary="List the shards of a transfer set")
def list_shards(here: Here, name: Name) -> Page[ShardInfo]:
    return Page(items=shard_infos(name, open_transfer_set(here.store, name)))


@router.head("/transfer-sets/{name}/shards/{number}", include_in_schema=False)
@router.get(
    "/transfer-sets/{name}/shards/{number}",
    summary="Fetch a shard",
    response_class=FileResponse,
    responses={
        200: {"content": {PARQUET: {}}, "description": "Parquet; `ETag` is its sha256"},
        206: {"description": "The part asked for with `Range`"},
        304: {"description": "It is what `If-None-Match` names"},
        416: {**PROBLEM, "description": "The range lies outside the file"},
    },
)
def fetch_shard(here: Here, request: Request, name: Name, number: Annotated[int, PathParameter(ge=0)]) -> Response:
    artifact = open_transfer_set(here.store, name)
    if number >= len(artifact.shards):
        raise NotFound(f"Transfer set {name} has no shard {number}; it has {len(artifact.shards)}, numbered from 0")
    entry = artifact.shards[number]
    headers = {"ETag": f'"{entry.sha256}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    path = _checked(artifact, entry.name)
    return FileResponse(path, filename=f"{name}-{entry.name}", media_type=PARQUET, headers=headers)


@lru_cache(maxsize=64)
def _inspected_once(directory: Path, _artifact_id: str) -> Inspection:
    return inspect_transfer_set(Artifact(directory, read_manifest(directory)))


def _checked(artifact: Artifact, shard: str) -> Path:
    try:
        found = (artifact.directory / shard).stat()
    except FileNotFoundError:
        return artifact.path(shard)  # says that it is missing
    return _checked_once(artifact.directory, artifact.id, shard, (found.st_mtime_ns, found.st_ino, found.st_size))


@lru_cache(maxsize=4096)
def _checked_once(directory: Path, _artifact_id: str, shard: str, _stamp: tuple[int, int, int]) -> Path:
    """A shard whose hash is the manifest's: compared once, then again when the file was touched (`_stamp`)."""
    return Artifact(directory, read_manifest(directory)).path(shard)


def _refuse_odd_characters(request: Json) -> None:
    """PostgreSQL holds neither NUL nor half a surrogate pair, and no name, column or class needs one."""
    text = json.dumps(request, ensure_ascii=False)
    if "\\u0000" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("The request holds a NUL character, or half a surrogate pair; remove it")
