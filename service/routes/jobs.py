"""/v1/jobs: how far each is, its events as they come, and an end to those no longer wanted."""

from __future__ import annotations

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response
from sse_starlette import EventSourceResponse

from jobs.job import Job
from jobs.jobs import Place
from jobs.problem import Refused
from service.events import Seen, follow
from service.pages import Limit, Page, PageToken, bad_token, read_token, token_of
from service.routes.context import CONFLICT, EVERYWHERE, Here

router = APIRouter(prefix="/v1", tags=["jobs"], dependencies=EVERYWHERE)


@router.get("/jobs", summary="List the jobs, newest first")
def list_jobs(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[Job]:
    """None is shown twice and none left out, whatever is submitted or ends between the pages."""
    jobs, after = here.jobs.newest(limit, _read_place(page_token) if page_token is not None else None)
    return Page(items=jobs, next_page_token=token_of([after.time, *after.shown]) if after else None)


@router.get("/jobs/{job_id}", summary="Look at a job")
def get_job(here: Here, job_id: str, response: Response) -> Job:
    """`state` is queued, running, finished, failed or cancelled; `Retry-After` is there until it has ended."""
    job = here.jobs.get(job_id)
    if not job.has_ended:
        response.headers["Retry-After"] = "1"
    return job


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Events until the job has ended"},
        204: {"description": "`Last-Event-ID` is the end of a job: there is nothing more to come"},
    },
)
async def follow_job(
    here: Here, job_id: str, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> Response:
    """Server-sent events: `state` (the state and when it was entered), `progress` (stage, done, total), and at the end
    `end`, the whole job, after which the stream closes.

    A client that was cut off sends the id of its last event as `Last-Event-ID`, as browsers do by themselves: states
    it missed are sent, of progress the present. Polling `GET /v1/jobs/{job_id}` shows the same.
    """
    job = await run_sync(here.jobs.get, job_id)
    seen = Seen.read(last_event_id)
    if seen.has_ended:
        return Response(status_code=204)
    if len(here.streams) >= here.settings.max_streams:
        raise Refused(
            f"{len(here.streams)} event streams are open, as many as this server takes; ask for the job now and then",
            status=429,
            kind="busy",
            limit=here.settings.max_streams,
            found=len(here.streams) + 1,
            retry_after=5,
        )
    return EventSourceResponse(follow(here.jobs, job, seen, here.streams), ping=15)


@router.post("/jobs/{job_id}:cancel", summary="Cancel a job", responses=CONFLICT)
def cancel_job(here: Here, request: Request, job_id: str) -> Job:
    """A running job stops within one shard; what it has built stays, and the same order goes on from there.

    With API keys on, a key cancels the jobs it ordered, one with scope admin all.
    """
    job, key = here.jobs.get(job_id), request.scope.get("key")
    if key is not None and job.key != key and not request.scope["is_admin"]:
        raise Refused(
            f"Job {job_id} was ordered with another key; only that one, or one with scope admin, cancels it",
            status=403,
            kind="scope",
        )
    return here.jobs.cancel(job_id)


def _read_place(token: str) -> Place:
    match read_token(token, list):
        case [int(time), *shown] if 0 <= time < 2**46 and all(isinstance(end, str) for end in shown):
            return Place(time, tuple(shown))
    raise bad_token()
