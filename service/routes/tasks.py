"""POST /v1/tasks: a task file uploaded, read whole, kept under a name; GET: which tasks there are."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile

from jobs.problem import Refused
from service.forms import BadRowInfo, Name, TaskInfo, TaskName, bad_row_infos, task_info
from service.orders import check_disk
from service.pages import Limit, Page, PageToken, page_of
from service.routes.context import CONFLICT, EVERYWHERE, FULL, Here

router = APIRouter(prefix="/v1", tags=["tasks"], dependencies=EVERYWHERE)


@router.post(
    "/tasks",
    status_code=201,
    summary="Upload a task",
    responses=CONFLICT | FULL | {200: {"model": TaskInfo, "description": "It was there, with the same content"}},
)
def upload_task(
    here: Here,
    response: Response,
    file: Annotated[UploadFile, File(description=".parquet, .jsonl, .csv or .tsv (text ones also .gz, .zst)")],
    name: Annotated[Name, Form(description="the task's name from now on", examples=["clinc150"])],
    columns: Annotated[
        str,
        Form(description="our column names -> the file's, as JSON", examples=['{"text": "sentence"}']),
    ] = "{}",
    skip_bad_rows: Annotated[bool, Form(description="keep the file though some of its rows cannot be used")] = False,
) -> TaskInfo:
    """The file is read whole before it is kept, with its size, memory and time bounded.

    The first row that is not as expected refuses it, with its place; with `skip_bad_rows` the file is kept, and
    `GET /v1/tasks/{name}/errors` lists those rows.
    """
    mapping = _read_columns(columns)
    check_disk(here.settings, file.size or 0)
    found, is_new = here.tasks.add(name, file.filename or "", file.file, mapping, skip_bad_rows=skip_bad_rows)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/tasks/{name}"
    return task_info(name, found, mapping)


@router.get("/tasks", summary="List the tasks")
def list_tasks(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[TaskName]:
    return page_of(here.tasks.names(), limit, page_token, lambda name: TaskName(name=name, href=f"/v1/tasks/{name}"))


@router.get("/tasks/{name}", summary="Look at a task")
def get_task(here: Here, name: Name) -> TaskInfo:
    """What is shown is what a build would find: the file is read again when it was touched."""
    return task_info(name, here.tasks.read(name), here.tasks.columns(name))


@router.get("/tasks/{name}/errors", summary="List the rows of an uploaded task that cannot be used")
def list_errors(here: Here, name: Name) -> Page[BadRowInfo]:
    """At most the first 10,000 of them, on one page; `bad_rows` of the task counts all."""
    return Page(items=bad_row_infos(here.tasks.errors(name)))


def _read_columns(text: str) -> dict[str, str]:
    try:
        columns = json.loads(text)
    except (ValueError, RecursionError):
        columns = None
    if not isinstance(columns, dict) or not all(isinstance(value, str) for value in columns.values()):
        raise Refused('columns: expected a JSON object of names, as {"text": "sentence"}', field="columns")
    return columns
