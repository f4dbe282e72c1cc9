"""Jobs: what the service is building, in DBOS' tables. This is the asking side: submit, look, cancel, report.

`service.worker` is the doing side. A job's payload is names and settings, never data, and JSON, never pickle (law 13).
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from dbos import (
    DBOS,
    DBOSClient,
    DBOSPortableJSONSerializer,
    PortableWorkflowError,
    Serializer,
    WorkflowStatus,
)
from dbos import error as dbos_error
from pydantic import BaseModel, ConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import Busy, NotFound
from contract.manifest import Json, canonical_json
from service.problems import Problem, Refused, problem_of

APPLICATION = "transferset"
# The form of payloads and of the workflow. It changes only with them, so that an upgrade goes on with queued jobs.
APPLICATION_VERSION = "1"
QUEUE = "build"

JobKind = Literal["transfer-set"]
State = Literal["queued", "running", "finished", "failed", "cancelled"]
_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "finished",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


class Counts(BaseModel):
    """How far a job is: `done` of `total` in its present stage; both are unknown before it says so."""

    done: int | None = None
    total: int | None = None


class Job(BaseModel):
    """Something the service is building. Times are Unix seconds, one for each state it has been in."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "id": "job-6f1c9a5f0d2e4b7c8a9b0c1d2e3f4a5b",
                "kind": "transfer-set",
                "name": "clinc",
                "state": "running",
                "stage": "transfer set",
                "counts": {"done": 4096, "total": 15000},
                "queued_at": 1760000000,
                "started_at": 1760000001,
                "request": {"index": "web", "task": "clinc150", "retriever": "lexical", "k": 20},
            }
        },
    )

    id: str
    kind: JobKind
    name: str
    state: State
    stage: str | None = None
    counts: Counts = Counts()
    queued_at: int
    started_at: int | None = None
    finished_at: int | None = None
    failed_at: int | None = None
    cancelled_at: int | None = None
    request: dict[str, Json]
    result: dict[str, Json] | None = None
    error: Problem | None = None


@dataclass(frozen=True)
class Place:
    """A place in the list of jobs: the time (ms) of the last job shown, and which of that time have been.

    On SQLite DBOS keeps times in whole seconds (before Python 3.12), so jobs of one time are common.
    """

    time: int
    shown: tuple[str, ...]  # the ends of their ids

    @property
    def until(self) -> str:
        # Half a millisecond more: DBOS cuts off what the way over floats may have made a little less.
        return datetime.fromtimestamp((self.time + 0.5) / 1000, UTC).isoformat()


class Jobs:
    """The jobs of one database. Every call asks the database: call it from a thread, not from the event loop."""

    def __init__(self, database_url: str, *, patient: bool = False) -> None:
        """`patient` waits for a database that went away: right for a worker, wrong for a request."""
        refuse_pickle()
        quieten_dbos()
        try:
            DBOS.migrate(database_url)
            self._client = DBOSClient(
                system_database_url=database_url,
                serializer=json_serializer(),
                application_name=APPLICATION,
                retry_connection_errors=patient,
            )
        except SQLAlchemyError as error:
            # Never the URL, nor the driver's message, which quotes it: it may hold a password.
            raise Refused(
                f"The jobs' database, {_described(database_url)}, cannot be opened ({type(error).__name__}); "
                "start it, or give another with --database",
                status=503,
            ) from None

    def close(self) -> None:
        self._client.destroy()

    def open_queue(self, *, workers: int, poll_seconds: float) -> None:
        """Declare the queue: how many jobs a worker takes at a time, and how often it looks."""
        self._client.register_queue(
            QUEUE, worker_concurrency=workers, polling_interval_sec=poll_seconds, on_conflict="always_update"
        )

    def check(self) -> None:
        """Raise when the database does not answer."""
        self._client.check_connection()

    def submit(
        self, kind: JobKind, name: str, request: Mapping[str, Json], *, key: str | None = None
    ) -> tuple[Job, bool]:
        """Enqueue a job, or find the one that was submitted with the same idempotency key -> (job, whether it is new).

        Raises Refused when the key came with another request before, Busy when another job is building that name.
        """
        job_id = f"job-{hashlib.sha256(key.encode()).hexdigest()[:32] if key is not None else uuid.uuid4().hex}"
        if key is not None and (earlier := self._find(job_id)):
            return _same(earlier, kind, name, request), False
        try:
            self._client.enqueue(
                {
                    "workflow_name": kind,
                    "workflow_id": job_id,
                    "workflow_id_reuse_policy": "reject",
                    "queue_name": QUEUE,
                    "app_version": APPLICATION_VERSION,
                    "deduplication_id": f"{kind}/{name}",
                    "attributes": {"kind": kind, "name": name},
                },
                name,
                dict(request),
            )
        except dbos_error.DBOSWorkflowIDInUseError:
            return _same(self.get(job_id), kind, name, request), False
        except dbos_error.DBOSQueueDeduplicatedError:
            if earlier := self._find(job_id):
                return _same(earlier, kind, name, request), False
            raise Busy(
                f"{self._holder(name)} is building the {kind} {name} now; "
                "wait for it, cancel it, or choose another name"
            ) from None
        return self.get(job_id), True

    def get(self, job_id: str) -> Job:
        """A job by its id; NotFound when there is none."""
        job = self._find(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id[:60]!r}; GET /v1/jobs lists those there are")
        return job

    def newest(self, limit: int, after: Place | None = None) -> tuple[list[Job], Place | None]:
        """Jobs, newest first, from `after` on -> (at most `limit` of them, the place of the next, None at the end)."""
        shown = {*after.shown} if after else set()
        found = self._client.list_workflows(
            name=["transfer-set"],
            limit=limit + 1 + len(shown),
            end_time=after.until if after else None,
            sort_desc=True,
        )
        fresh = [s for s in found if not (after and s.created_at == after.time and _short(s) in shown)]
        page = sorted(fresh, key=lambda s: (-(s.created_at or 0), s.workflow_id))[:limit]
        return [_job(status) for status in page], _after(page, after) if len(fresh) > limit else None

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that is queued or running; its worker stops within one shard. Refused when it has ended."""
        job = self.get(job_id)
        if job.state in ("queued", "running"):
            self._client.cancel_workflow(job_id)
            job = self.get(job_id)
        if job.state != "cancelled":
            raise Refused(
                f"Job {job_id} is {job.state}; only one that is queued or running can be cancelled", status=409
            )
        return job

    def begin(self, job_id: str) -> bool:
        """Note when a job is first worked at -> whether it is now: one that goes on after a crash keeps its time."""
        status = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        is_first = bool(status) and "started_at" not in (status[0].attributes or {})
        if is_first:
            self.report(job_id, started_at=int(time.time()))
        return is_first

    def report(self, job_id: str, **attributes: Json) -> None:
        """Note how far a job is, where everyone who asks for it can see it."""
        self._client.update_workflow_attributes(job_id, attributes, merge=True)

    def is_cancelled(self, job_id: str) -> bool:
        status = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        return not status or status[0].status == "CANCELLED"

    def executors_at_work(self) -> set[str]:
        """The workers that hold running jobs, dead ones included."""
        running = self._client.list_workflows(status="PENDING", load_input=False, load_output=False)
        return {status.executor_id for status in running if status.executor_id}

    def _holder(self, name: str) -> str:
        alive = self._client.list_workflows(status=["ENQUEUED", "PENDING"], load_input=False, load_output=False)
        holders = [status.workflow_id for status in alive if (status.attributes or {}).get("name") == name]
        return f"Job {holders[0]}" if holders else "Another job"

    def _find(self, job_id: str) -> Job | None:
        found = self._client.list_workflows(workflow_ids=[job_id])
        return _job(found[0]) if found else None


def json_serializer() -> Serializer:
    """What writes payloads, results and errors into DBOS' tables: JSON."""
    return DBOSPortableJSONSerializer()


def refuse_pickle() -> None:
    """Law 13. DBOS unpickles a row that says it is pickled, whatever our serializer; here such a row is an error."""
    import dbos._serialization as serialization

    def refuse(_self: object, _data: str) -> Any:
        raise ValueError("a pickled row in the jobs' database: this service writes none and reads none")

    loader: type[Any] = serialization.DefaultSerializer
    loader.deserialize = refuse


def _described(database_url: str) -> str:
    url = make_url(database_url)
    return str(url.database) if url.get_backend_name() == "sqlite" else f"PostgreSQL at {url.host}"


def quieten_dbos() -> None:
    """Let DBOS log what is wrong with the database, not its banner and not what a job failed of: the worker does."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.ERROR)
    if not any(isinstance(known, _WithoutJobs) for known in logger.filters):
        logger.addFilter(_WithoutJobs())


class _WithoutJobs(logging.Filter):
    """Drops what DBOS says of a failed or cancelled job: its traceback, whose message may quote a user's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info or "cancelled during execution" in record.getMessage())


def _same(job: Job, kind: JobKind, name: str, request: Mapping[str, Json]) -> Job:
    """`job`, when it was asked for with just this request."""
    if (job.kind, job.name, canonical_json(job.request)) != (kind, name, canonical_json(dict(request))):
        raise Refused(
            f"This Idempotency-Key was used for another request, job {job.id}; use a new key for a new request",
            field="Idempotency-Key",
        )
    return job


def _after(page: Sequence[WorkflowStatus], before: Place | None) -> Place:
    """The place behind a page."""
    time = page[-1].created_at or 0
    earlier = before.shown if before and before.time == time else ()
    return Place(time, (*earlier, *(_short(status) for status in page if status.created_at == time)))


def _short(status: WorkflowStatus) -> str:
    return status.workflow_id[-8:]


def _job(status: WorkflowStatus) -> Job:
    attributes = status.attributes or {}
    state = _STATES[status.status]
    name, request = _arguments(status)
    ended = _seconds(status.completed_at or status.updated_at)
    return Job(
        id=status.workflow_id,
        kind="transfer-set",
        name=name,
        state=state,
        stage=attributes.get("stage"),
        counts=Counts(done=attributes.get("done"), total=attributes.get("total")),
        queued_at=_seconds(status.created_at) or 0,
        # Kept by the worker as well: DBOS forgets it when a job is cancelled or handed on.
        started_at=attributes.get("started_at") or _seconds(status.dequeued_at),
        finished_at=ended if state == "finished" else None,
        failed_at=ended if state == "failed" else None,
        cancelled_at=ended if state == "cancelled" else None,
        request=request,
        result=status.output if isinstance(status.output, dict) else None,
        error=_error(status) if state == "failed" else None,
    )


def _arguments(status: WorkflowStatus) -> tuple[str, dict[str, Json]]:
    """The name and the request a job was submitted with; of a row that cannot be read, nothing."""
    match status.input:
        case {"args": (str(name), dict(request))}:
            return name, request
    return str((status.attributes or {}).get("name", "")), {}


def _error(status: WorkflowStatus) -> Problem:
    code, message = 500, "The job failed inside; the worker's log has the place."
    match status.error:
        case PortableWorkflowError(message=str(said), code=int(status_code)) if 400 <= status_code < 600:
            code, message = status_code, said
    return problem_of(code, message, instance=f"/v1/jobs/{status.workflow_id}")


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000
