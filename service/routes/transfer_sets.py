"""/v1/transfer-sets: order one, as a job; look into those that are finished; fetch their rows and shards."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic_core import to_json

from contract.artifact import Artifact
from contract.errors import NotFound
from contract.manifest import Json, read_manifest
from jobs.job import Job
from jobs.problem import Refused
from service.forms import ArtifactInfo, Example, Name, ShardInfo, TransferSetOrder, shard_infos
from service.inspection import Inspection, inspect_transfer_set
from service.orders import check_order
from service.pages import Limit, Page, PageToken, bad_token, read_token, token_of
from service.plan import open_transfer_set
from service.routes.context import EVERYWHERE, PROBLEM, Here, info, infos
from service.routes.files import checked_path, is_known, send_file
from service.routes.ordering import ORDERED, IdempotencyKey, place_order
from service.strict import StrictRoute

PARQUET = "application/vnd.apache.parquet"
router = APIRouter(prefix="/v1", tags=["transfer sets"], dependencies=EVERYWHERE, route_class=StrictRoute)

EXAMPLES = {
    "retrieved": {
        "summary": "Ten utterances a class, each with its 20 nearest passages",
        "value": {
            "name": "clinc",
            "index": "web",
            "task": "clinc150",
            "retriever": "lexical",
            "k": 20,
            "shots": 10,
        },
    },
    "as-large-at-random": {
        "summary": "As many generic texts, drawn at random: the arm to compare with",
        "value": {"name": "clinc-random", "index": "web@1", "task": "clinc150", "retriever": "random", "k": 2},
    },
    "policy": {
        "summary": "Seven generic texts to three of the task, at most 2,000, no passage of more than 30 words",
        "value": {
            "name": "clinc-7-3",
            "index": "web",
            "task": "clinc150",
            "k": 5,
            "policy": {"generic_share": 0.7, "budget_rows": 2000, "max_words": 30},
        },
    },
    "diverse": {
        "summary": "Of the 60 nearest passages of each utterance 20 that are unlike one another, as many texts a class",
        "value": {
            "name": "clinc-diverse",
            "index": "web",
            "task": "clinc150",
            "k": 20,
            "policy": {"diversity": 0.5, "pool": 60, "budget_generic": 2000, "per_class": True},
        },
    },
    "two-rounds": {
        "summary": "Each utterance's 10 nearest passages, and 10 that its best three of them find",
        "value": {"name": "clinc-rounds", "index": "web", "task": "clinc150", "k": 10, "rounds": 2, "askers": 3},
    },
    "task-only": {
        "summary": "The task's own utterances, without any neighbours",
        "value": {"name": "clinc-task", "task": "clinc150", "retriever": "none"},
    },
}


@router.post(
    "/transfer-sets",
    status_code=202,
    summary="Build a transfer set, as a job",
    responses=ORDERED,
)
def order_transfer_set(
    here: Here,
    http: Request,
    response: Response,
    body: Annotated[TransferSetOrder, Body(openapi_examples=EXAMPLES)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """What can be seen to be wrong is refused now: names, splits, columns, retriever, limits, a name that is taken.

    With an `Idempotency-Key` the same order again is the same job, and another order with that key is refused. The job
    keeps the version of the index that is newest now, whatever arrives meanwhile.
    """
    request: dict[str, Json] = body.model_dump(mode="json", exclude={"name"}, exclude_unset=True)
    return place_order(
        here,
        http,
        response,
        "transfer-set",
        body.name,
        request,
        idempotency_key,
        lambda: check_order(here.settings, here.tasks, here.indexes, body, request),
    )


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


@router.get("/transfer-sets/{name}/rows", summary="Read rows of a transfer set", response_model=Page[Example])
def list_rows(
    here: Here,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=200, description="rows on a page")] = 20,
    page_token: PageToken = None,
) -> Response:
    """Utterances with their neighbours, in the order of the shards. For all of them fetch the shards."""
    artifact = open_transfer_set(here.store, name)
    first = 0 if page_token is None else _first_row(page_token, artifact)
    last = min(first + limit, artifact.rows)
    token = token_of([artifact.id, last]) if last < artifact.rows else None
    page = {"items": _rows(artifact, first, last), "next_page_token": token}
    return Response(to_json(page, inf_nan_mode="null"), media_type="application/json")


@router.get(
    "/transfer-sets/{name}/manifest",
    summary="Fetch the manifest of a transfer set",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}}, "description": "manifest.json; `ETag` is the artifact's id"},
        304: {"description": "It is what `If-None-Match` names"},
    },
)
def fetch_manifest(here: Here, request: Request, name: Name) -> Response:
    """With all shards beside it, it makes a folder an artifact that every program of this project opens.

    Attachments, which are no part of its id and speak of the machine it was made on, are left out.
    """
    artifact = open_transfer_set(here.store, name)
    headers = {"ETag": f'"{artifact.id}"', "Cache-Control": "no-cache"}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    content = replace(artifact.manifest, attachments=()).to_json()
    return Response(content, media_type="application/json", headers=headers)


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
def fetch_shard(
    here: Here, request: Request, name: Name, number: Annotated[int, PathParameter(ge=0, lt=2**31)]
) -> Response:
    artifact = open_transfer_set(here.store, name)
    if number >= len(artifact.shards):
        raise NotFound(f"Transfer set {name} has no shard {number}; it has {len(artifact.shards)}, numbered from 0")
    entry = artifact.shards[number]
    path = checked_path(artifact, entry.name)
    return send_file(request, path, filename=f"{name}-{entry.name}", media_type=PARQUET, sha256=entry.sha256)


def _first_row(token: str, artifact: Artifact) -> int:
    match read_token(token, list):
        case [str(artifact_id), int(row)] if 0 <= row < artifact.rows:
            if artifact_id == artifact.id:
                return row
            raise Refused(
                "page_token belongs to another transfer set of this name; begin again without it", field="page_token"
            )
    raise bad_token()


def _rows(artifact: Artifact, first: int, last: int) -> list[dict[str, Json]]:
    """Rows [first, last), out of shards whose hashes were compared once."""
    offset = 0
    for shard in artifact.shards:
        if offset < last and offset + shard.rows > first:
            checked_path(artifact, shard.name)
        offset += shard.rows
    known = _opened_once(artifact.directory, artifact.id)
    return [row for batch in known.batches(start=first, stop=last, batch_rows=64) for row in batch.to_pylist()]


@lru_cache(maxsize=64)
def _opened_once(directory: Path, _artifact_id: str) -> Artifact:
    return Artifact(directory, read_manifest(directory))


@lru_cache(maxsize=64)
def _inspected_once(directory: Path, _artifact_id: str) -> Inspection:
    return inspect_transfer_set(Artifact(directory, read_manifest(directory)))
