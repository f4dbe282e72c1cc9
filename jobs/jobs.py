"""Jobs: what the service is building, in DBOS' tables. This is the asking side: submit, look, cancel, report.

`jobs.worker` is the doing side. A job's payload is names and settings, never data, and JSON, never pickle (law 13).
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, Serializer, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import Busy, NotFound
from contract.manifest import Json, canonical_json
from jobs.job import ALIVE, QUEUES, Job, JobKind, Origin, job_of, origin_of
from jobs.problem import Refused
from jobs.rows import Rows
from jobs.slots import Attendance, slots_of
from jobs.versions import FORMS

APPLICATION = "transferset"


@dataclass(frozen=True)
class Place:
    """A place in the list of jobs: the time (ms) of the last job shown, and which of that time have been.

    On SQLite DBOS keeps times in whole seconds (before Python 3.12), so jobs of one time are common.
    """

    time: int
    shown: tuple[str, ...]  # the ends of their ids

    @property
    def until(self) -> str:
        return _moment(self.time)


@dataclass(frozen=True)
class Begun:
    """What a worker must know of a job it begins, or goes on with."""

    origin: Origin
    has_discarded: bool
    form: str  # of its payload


class Jobs:
    """The jobs of one database. Every call asks the database: call it from a thread, not from the event loop."""

    def __init__(self, database_url: str) -> None:
        refuse_pickle()
        quieten_dbos()
        with opening(database_url):
            DBOS.migrate(database_url)
            self._client = DBOSClient(
                system_database_url=database_url,
                serializer=json_serializer(),
                application_name=APPLICATION,
                retry_connection_errors=False,
            )
        self.rows = Rows(self._client)
        self._attendance = Attendance(slots_of(database_url))

    def close(self) -> None:
        self._attendance.close()
        self._client.destroy()

    def open_queue(self, queue: str, *, workers: int, poll_seconds: float) -> None:
        """Declare a queue: how many jobs a worker takes at a time, and how often it looks."""
        self._client.register_queue(
            queue, worker_concurrency=workers, polling_interval_sec=poll_seconds, on_conflict="always_update"
        )

    def check(self) -> None:
        """Raise when the database does not answer."""
        self._client.check_connection()

    def submitted(self, kind: JobKind, name: str, request: Mapping[str, Json], key: str) -> Job | None:
        """The job that was submitted with this idempotency key; Refused when that was another request."""
        earlier = self._find(_id_of(key))
        return _same(earlier, kind, name, request) if earlier else None

    def submit(
        self,
        kind: JobKind,
        name: str,
        request: Mapping[str, Json],
        *,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> tuple[Job, bool]:
        """Enqueue a job, or find the one that was submitted with the same idempotency key -> (job, whether it is new).

        Raises Refused when the key came with another request before, Busy when another job is building that name.
        """
        job_id = _id_of(key) if key is not None else f"job-{uuid.uuid4().hex}"
        if key is not None and (earlier := self.submitted(kind, name, request, key)):
            return earlier, False
        try:
            self._client.enqueue(
                {
                    "workflow_name": kind,
                    "workflow_id": job_id,
                    "workflow_id_reuse_policy": "reject",
                    "queue_name": QUEUES[kind],
                    "app_version": FORMS.name,
                    "deduplication_id": f"{kind}/{name}",
                    "attributes": {
                        "kind": kind,
                        "name": name,
                        "origin": asdict(origin or Origin()),
                        "form": FORMS.name,
                    },
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
                f"{self._holder(kind, name)} is building the {kind} {name} now; "
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
            name=[*QUEUES],
            limit=limit + 1 + len(shown),
            end_time=after.until if after else None,
            sort_desc=True,
        )
        fresh = [s for s in found if not (after and s.created_at == after.time and _short(s) in shown)]
        page = sorted(fresh, key=lambda s: (-(s.created_at or 0), s.workflow_id))[:limit]
        return [self._shown(status) for status in page], _after(page, after) if len(fresh) > limit else None

    def unended(self) -> list[Job]:
        """The jobs that are queued or running."""
        return [job_of(status) for status in self._client.list_workflows(name=[*QUEUES], status=list(ALIVE))]

    def ended_before(self, time: float) -> list[Job]:
        """The jobs that have ended before a time (Unix seconds), oldest first."""
        found = self._client.list_workflows(name=[*QUEUES], end_time=_moment(int(time * 1000)))
        jobs = [job_of(status) for status in found]
        return [job for job in jobs if job.ended_at is not None and job.ended_at < time]

    def of(self, kind: JobKind, name: str) -> list[Job]:
        """The jobs that were to make something of this name, newest first."""
        found = self._client.list_workflows(name=kind, sort_desc=True, load_output=False)
        return [job_of(status) for status in found if (status.attributes or {}).get("name") == name]

    def remove(self, job_id: str) -> Job:
        """Forget a job that has ended; Refused when it has not. What it made stays."""
        job = self.get(job_id)
        if not job.has_ended:
            raise Refused(
                f"Job {job_id} is {job.state}; cancel it, or wait for its end, and remove it then", status=409
            )
        self._client.delete_workflow(job_id)
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that is queued or running; its worker stops within one shard. Refused when it has ended."""
        job = self.get(job_id)
        if not job.has_ended:
            self._client.cancel_workflow(job_id)
            job = self.get(job_id)
        if job.state != "cancelled":
            raise Refused(
                f"Job {job_id} is {job.state}; only one that is queued or running can be cancelled", status=409
            )
        return job

    def begin(self, job_id: str) -> Begun:
        """Note when a job is first worked at: one that goes on after a crash keeps its time."""
        status = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        attributes = (status[0].attributes if status else None) or {}
        if "started_at" not in attributes:
            self.report(job_id, started_at=int(time.time()))
        # A job that code without the note took in was moved from its form, or is in today's.
        form = str(attributes.get("form") or (status[0].app_version if status else None) or FORMS.name)
        return Begun(origin_of(attributes), has_discarded=bool(attributes.get("discarded")), form=form)

    def discarded(self, job_id: str) -> None:
        """Note that the half-built artifact which the job was to discard is gone: what is there now is its own."""
        self.report(job_id, discarded=True)

    def report(self, job_id: str, **attributes: Json) -> None:
        """Note how far a job is, where everyone who asks for it can see it."""
        self._client.update_workflow_attributes(job_id, attributes, merge=True)

    def alive(self) -> tuple[dict[str, int], float]:
        """How many jobs are queued and running, and for how many seconds the oldest of the queued ones is."""
        found = self._client.list_workflows(status=list(ALIVE), load_input=False, load_output=False)
        running = sum(status.status == "PENDING" for status in found)
        queued = [status.created_at or 0 for status in found if status.status != "PENDING"]
        oldest = time.time() - min(queued) / 1000 if queued else 0.0
        return {"queued": len(queued), "running": running}, max(0.0, oldest)

    def is_cancelled(self, job_id: str) -> bool:
        status = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        return not status or status[0].status == "CANCELLED"

    def _holder(self, kind: JobKind, name: str) -> str:
        alive = self._client.list_workflows(name=kind, status=list(ALIVE), load_input=False, load_output=False)
        holders = [status.workflow_id for status in alive if (status.attributes or {}).get("name") == name]
        return f"Job {holders[0]}" if holders else "Another job"

    def _find(self, job_id: str) -> Job | None:
        found = self._client.list_workflows(workflow_ids=[job_id], name=[*QUEUES])
        return self._shown(found[0]) if found else None

    def _shown(self, status: WorkflowStatus) -> Job:
        """A job out of its row; of one that is queued with nobody to take it, what it waits for."""
        job = job_of(status)
        queue = QUEUES[job.kind]
        if job.state != "queued" or self._attendance.has_worker(queue):
            return job
        start = f"start one with `transferset worker --queues {queue}`"
        return job.model_copy(update={"waits_for": f"No worker takes jobs from the queue {queue} now; {start}"})


def _moment(time: int) -> str:
    """Milliseconds as DBOS reads a time."""
    # Half a millisecond more: DBOS cuts off what the way over floats may have made a little less.
    return datetime.fromtimestamp((time + 0.5) / 1000, UTC).isoformat()


def _id_of(key: str) -> str:
    return f"job-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


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


@contextmanager
def opening(database_url: str) -> Iterator[None]:
    """Say in a sentence that a database does not answer, or goes away meanwhile."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        # Never the URL, nor the driver's message, which quotes it: it may hold a password.
        raise Refused(
            f"The jobs' database, {_described(database_url)}, cannot be opened ({type(error).__name__}); "
            "start it, or give another with --database",
            status=503,
        ) from None


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
