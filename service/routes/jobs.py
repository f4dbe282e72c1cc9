"""/v1/jobs: how far each is, and an end to those no longer wanted."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.jobs import Job, Place
from service.pages import Limit, Page, PageToken, bad_token, read_token, token_of
from service.routes.context import CONFLICT, Here

router = APIRouter(prefix="/v1", tags=["jobs"])


@router.get("/jobs", summary="List the jobs, newest first")
def list_jobs(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[Job]:
    """None is shown twice and none left out, whatever is submitted or ends between the pages."""
    jobs, after = here.jobs.newest(limit, _read_place(page_token) if page_token is not None else None)
    return Page(items=jobs, next_page_token=token_of([after.time, *after.shown]) if after else None)


@router.get("/jobs/{job_id}", summary="Look at a job")
def get_job(here: Here, job_id: str, response: Response) -> Job:
    """`state` is queued, running, finished, failed or cancelled; `Retry-After` is there until it has ended."""
    job = here.jobs.get(job_id)
    if job.state in ("queued", "running"):
        response.headers["Retry-After"] = "1"
    return job


@router.post("/jobs/{job_id}:cancel", summary="Cancel a job", responses=CONFLICT)
def cancel_job(here: Here, job_id: str) -> Job:
    """A running job stops within one shard; what it has built stays, and the same order goes on from there."""
    return here.jobs.cancel(job_id)


def _read_place(token: str) -> Place:
    match read_token(token, list):
        case [int(time), *shown] if 0 <= time < 2**46 and all(isinstance(end, str) for end in shown):
            return Place(time, tuple(shown))
    raise bad_token()
