"""DELETE: what may go when somebody asks over HTTP, and who may ask."""

from __future__ import annotations

import shutil
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from contract.errors import BadInput
from contract.removal import remove_artifact
from jobs.job import Job, JobKind
from jobs.problem import Refused
from jobs.retention import check_no_job_needs
from service.forms import Name
from service.routes.context import CONFLICT, EVERYWHERE, Here, Service

GONE: dict[str, Any] = {"status_code": 204, "response_class": Response, "responses": CONFLICT}
router = APIRouter(prefix="/v1", tags=["removals"], dependencies=EVERYWHERE)

EvenIfUsed = Annotated[bool, Query(description="though a run, or an export, was made from it")]


@router.delete("/jobs/{job_id}", summary="Forget a job", **GONE)
def remove_job(here: Here, request: Request, job_id: str) -> None:
    """A job that has ended is forgotten; what it made stays. Its `Idempotency-Key` orders anew from then on.

    With API keys on, a key removes what it ordered, one with scope admin all.
    """
    _check_owner(request, [here.jobs.get(job_id)], f"Job {job_id}")
    here.jobs.remove(job_id)


@router.delete("/transfer-sets/{name}", summary="Remove a transfer set", **GONE)
def remove_transfer_set(here: Here, request: Request, name: Name, even_if_used: EvenIfUsed = False) -> None:
    """Finished or half built. Refused while a job needs it, and while there is a run that was made from it."""
    _remove(here, request, "transfer-set", name, even_if_used)


@router.delete("/runs/{name}", summary="Remove a run", **GONE)
def remove_run(here: Here, request: Request, name: Name, even_if_used: EvenIfUsed = False) -> None:
    """The student with its report, or what was half built. Refused while a job is at it."""
    _remove(here, request, "run", name, even_if_used)


@router.delete("/tasks/{name}", summary="Remove a task", **GONE)
def remove_task(here: Here, request: Request, name: Name) -> None:
    """A task that was uploaded. With API keys on, one with scope admin does this: nobody is noted as its owner."""
    here.tasks.path(name)  # says that there is none
    _check_owner(request, [], f"The task {name}")
    check_no_job_needs(here.jobs, "task", name)
    folder = here.tasks.root / name
    if not folder.is_dir():
        raise BadInput(f"The task {name} was not uploaded: expected one that was; who laid its file there removes it")
    hidden = folder.with_name(f".{name}.removed")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _remove(here: Service, request: Request, kind: JobKind, name: str, even_if_used: bool) -> None:
    _check_owner(request, here.jobs.of(kind, name)[:1], f"The {kind} {name}")
    check_no_job_needs(here.jobs, kind, name)
    remove_artifact(here.store, kind, name, even_if_used=even_if_used)


def _check_owner(request: Request, jobs: list[Job], what: str) -> None:
    """With keys on: the key that ordered it, or one with scope admin."""
    key = request.scope.get("key")
    if key is None or request.scope["is_admin"] or any(job.key == key for job in jobs):
        return
    raise Refused(
        f"{what} was made with another key; only that one, or one with scope admin, removes it",
        status=403,
        kind="scope",
    )
