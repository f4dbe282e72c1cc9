"""/v1/runs: order one, as a job; look at those that are finished; fetch the student."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import WithJsonSchema

from contract.artifact import Artifact, open_artifact
from contract.errors import CorruptArtifact, NotFound
from contract.manifest import FileEntry, Json
from contract.run import REPORT, REPORT_PAGE, RUN_VERSION, STUDENT, order_schema
from jobs.job import Job
from service.archive import Archive, member
from service.forms import ArtifactInfo, Name
from service.pages import Limit, Page, PageToken
from service.routes.context import EVERYWHERE, PROBLEM, Here, Service, info, infos
from service.routes.files import checked_path, is_known, range_of, send_file
from service.routes.ordering import ORDERED, IdempotencyKey, place_order
from service.run_orders import check_form, check_run
from service.strict import StrictRoute

router = APIRouter(prefix="/v1", tags=["runs"], dependencies=EVERYWHERE, route_class=StrictRoute)

# What transformers needs of a student, and nothing that could run: no pickles, no code.
STUDENT_FILES = (".json", ".safetensors", ".txt", ".model")
MEDIA_TYPES = {".json": "application/json", ".parquet": "application/vnd.apache.parquet", ".txt": "text/plain"}
# The page brings its styles along and draws with SVG; a script in one would be a stranger's.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; sandbox"
)
FILE: dict[int | str, dict[str, Any]] = {
    206: {"description": "The part asked for with `Range`"},
    304: {"description": "It is what `If-None-Match` names"},
    416: {**PROBLEM, "description": "The range lies outside the file"},
}
RunOrder = Annotated[dict[str, Any], WithJsonSchema(order_schema())]

EXAMPLES = {
    "small": {
        "summary": "A student of two layers, 128 wide, on the transfer set clinc",
        "value": {
            "name": "clinc-small",
            "task": {"name": "clinc150", "shots": 10},
            "transfer_set": {"name": "clinc"},
            "student": {"layers": 2, "width": 128},
        },
    },
    "without": {
        "summary": "The same without distillation: what it is compared with",
        "value": {"name": "clinc-plain", "task": {"name": "clinc150", "shots": 10}, "student": {"layers": 2}},
    },
    "settings": {
        "summary": "A teacher, an objective and lengths of one's own",
        "value": {
            "name": "clinc-long",
            "task": {"name": "clinc150", "target": "intent"},
            "transfer_set": {"name": "clinc"},
            "teacher": {"model": "minilm", "updates": 300},
            "student": {"from": "skip", "layers": 3},
            "objective": {"soft_weight": 0.7, "hard_weight": 0.3, "temperature": 4},
            "distill": {"updates": 4000, "batch_size": 64},
            "finetune": {"updates": 200},
            "seed": 1,
        },
    },
}


@router.post("/runs", status_code=202, summary="Distil a student, as a job", responses=ORDERED)
def order_run(
    here: Here,
    http: Request,
    response: Response,
    body: Annotated[RunOrder, Body(openapi_examples=EXAMPLES)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """What can be seen to be wrong is refused now: fields, names, splits, models, limits, a name that is taken.

    Settings that do not go together the job says. It ends with the student's and the teacher's metrics in its `result`.
    With an `Idempotency-Key` the same order again is the same job, and another order with that key is refused.
    """
    check_form(body)
    request: dict[str, Json] = {key: value for key, value in body.items() if key != "name"}

    def check() -> None:
        check_run(here, body)

    return place_order(here, http, response, "run", body["name"], request, idempotency_key, check)


@router.get("/runs", summary="List the runs")
def list_runs(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[ArtifactInfo]:
    """Finished runs by name. One that is broken is listed with its `fault`."""
    return infos(here.store, "run", limit, page_token)


@router.get("/runs/{name}", summary="Look at a run")
def get_run(here: Here, name: Name) -> ArtifactInfo:
    """`files` are fetched at `/v1/runs/{name}/files/{file}`."""
    return info(here.store, "run", name)


@router.get(
    "/runs/{name}/report",
    summary="See how good the student is",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "report.json"},
        304: FILE[304],
    },
)
def get_report(here: Here, request: Request, name: Name) -> Response:
    """Scores of student and teacher with their intervals, sizes, times, losses and all settings, as `transferset
    distill` writes them."""
    return _sent(here, request, name, REPORT)


@router.get(
    "/runs/{name}/page",
    summary="The report as a page",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {}}, "description": "One page that loads nothing else"},
        304: FILE[304],
    },
)
def show_page(here: Here, request: Request, name: Name) -> Response:
    run = _open(here, name)
    path, entry = _file(run, REPORT_PAGE)
    headers = {"ETag": f'"{entry.sha256}"', "Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="text/html", headers=headers)


@router.head("/runs/{name}/files/{file:path}", include_in_schema=False)
@router.get(
    "/runs/{name}/files/{file:path}",
    summary="Fetch a file of a run",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "`ETag` is its sha256"}, **FILE},
)
def fetch_file(
    here: Here, request: Request, name: Name, file: Annotated[str, PathParameter(max_length=200)]
) -> Response:
    """The student's files, and the predictions for the test's rows: those that `GET /v1/runs/{name}` lists."""
    return _sent(here, request, name, file)


@router.head("/runs/{name}/model", include_in_schema=False)
@router.get(
    "/runs/{name}/model",
    summary="Fetch the student",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}, "description": "A zip; `ETag` names its bytes"}, **FILE},
)
def fetch_model(here: Here, request: Request, name: Name) -> Response:
    """A zip of one folder, the run's name, which transformers opens: configuration, tokenizer, safetensors."""
    run = _open(here, name)
    entries = [entry for entry in run.manifest.files if _is_of_student(entry)]
    if not entries:
        raise NotFound(f"The run {name} holds no student")
    digest = hashlib.sha256("\n".join([name, *(f"{e.name} {e.sha256}" for e in entries)]).encode()).hexdigest()
    etag = f'"{digest[:32]}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{name}.zip"',
    }
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    for entry in entries:
        checked_path(run, entry.name)
    archive = _archived_once(run.directory, run.id, name)
    start, stop = range_of(request, archive.bytes, etag)
    headers["Content-Length"] = str(stop - start)
    is_part = (start, stop) != (0, archive.bytes)
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{archive.bytes}"
    content = archive.read(start, stop) if request.method == "GET" else ()
    return StreamingResponse(content, 206 if is_part else 200, headers, "application/zip")


def _open(here: Service, name: str) -> Artifact:
    return open_artifact(here.store.path("run", name), "run", version=RUN_VERSION)


def _file(run: Artifact, file: str) -> tuple[Path, FileEntry]:
    try:
        entry = run.manifest.entry(file)
    except KeyError:
        raise NotFound(f"The run {run.directory.name} has no file of that name; GET /v1/runs/NAME lists them") from None
    return checked_path(run, file), entry


def _sent(here: Service, request: Request, name: str, file: str) -> Response:
    path, entry = _file(_open(here, name), file)
    media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return send_file(request, path, filename=path.name, media_type=media_type, sha256=entry.sha256)


def _is_of_student(entry: FileEntry) -> bool:
    return entry.name.startswith(STUDENT) and entry.name.endswith(STUDENT_FILES)


@lru_cache(maxsize=64)
def _archived_once(directory: Path, run_id: str, name: str) -> Archive:
    """The zip of a student whose files were compared with their hashes."""
    run = open_artifact(directory, "run", version=RUN_VERSION)
    if run.id != run_id:
        raise CorruptArtifact(f"The run {name} changed while it was read; ask again")
    entries = sorted((entry for entry in run.manifest.files if _is_of_student(entry)), key=lambda entry: entry.name)
    return Archive([member(directory / e.name, f"{name}/{e.name.removeprefix(STUDENT)}") for e in entries])
