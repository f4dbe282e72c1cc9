"""The worker: takes jobs from the queue and builds what they ask for. It may be killed at any moment.

A job is one DBOS workflow whose steps are the receipts the builder leaves on disk (`contract.draft`): DBOS hands the
job to a worker again, the builder goes on at the first step without a receipt.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_error
from dbos._context import current_owner_xid
from dbos._utils import retriable_postgres_exception, retriable_sqlite_exception
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import BadInput, Busy, TransfersetError
from contract.manifest import Json
from contract.progress import Progress
from jobs import metrics
from jobs.builder import Builder, Made
from jobs.job import COLLECTIONS, QUEUES, JobKind
from jobs.jobs import APPLICATION, Begun, Jobs, json_serializer, opening
from jobs.logs import request_id
from jobs.problem import place_of, within
from jobs.settings import WorkerSettings
from jobs.slots import slots_of
from jobs.tracing import span
from jobs.versions import FORMS, Forms
from jobs.watch import Watch

REPORT_EVERY_S = 0.3  # how often progress is written, and a cancellation looked for, at most
ASK_AGAIN_S = 1.0  # a database that went away
BUSY_FOR_S = 60.0  # how long a job waits for one cancelled or lost before it to let go of the directory
WAITING = "waiting"  # the stage of a job whose directory another process still holds

Answer = TypeVar("Answer")

log = logging.getLogger("transferset.worker")


class Stopping(BaseException):
    """The worker stops: the job is left as it is, for the next worker. Not an Exception, so DBOS records no failure."""


class Worker:
    """The jobs' side that works. One a process, since DBOS allows one."""

    def __init__(self, settings: WorkerSettings, builders: Mapping[JobKind, Builder], forms: Forms = FORMS) -> None:
        self._settings = settings
        self._builders = builders
        self._forms = forms
        self._stopping = threading.Event()
        self._running = _Running()

    def start(self) -> None:
        """Take a slot, go on with the jobs a dead worker of that slot left, and listen to the queues."""
        with opening(self._settings.database_url):  # also when it goes away in the midst
            self._start()

    def _start(self) -> None:
        settings = self._settings
        self._jobs = Jobs(settings.database_url)
        queues = [QUEUES[kind] for kind in self._builders]
        for queue in queues:
            self._jobs.open_queue(queue, workers=_at_once(queue, settings), poll_seconds=settings.poll_seconds)
        slots = slots_of(settings.database_url)
        self._watch = Watch(self._jobs, slots, queues, self._forms, self._running.tokens, settings.health_file)
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": settings.database_url,
                "application_version": self._forms.name,
                "executor_id": self._watch.name,
                "serializer": json_serializer(),
                "log_level": "ERROR",  # a warning of DBOS quotes the statement with its values; the watch says it
            }
        )
        # Never given up as hopeless: being killed is what a job here is made for.
        for kind, build in self._builders.items():
            DBOS.workflow(name=kind, max_recovery_attempts=None)(self._workflow(kind, build))
        DBOS.listen_queues(queues)
        self._watch.start()
        DBOS.launch()
        log.info("worker %s listens to %s", self._watch.name, ", ".join(queues))

    def stop(self) -> bool:
        """Take no more jobs, let the running ones stop at their next shard; False when one has not in time.

        What was running goes back to the queue; what has not stopped in time is found by the other workers.
        """
        self._stopping.set()
        DBOS.destroy(destroy_registry=True)
        is_idle = self._running.wait(self._settings.stop_seconds)
        if is_idle:
            with suppress(SQLAlchemyError):  # a database that is away: the next worker finds what was running
                self._watch.put_own_back()
        self._watch.stop()
        self._jobs.close()
        return is_idle

    @property
    def is_alive(self) -> bool:
        return self._watch.is_alive

    def _workflow(self, kind: JobKind, build: Builder) -> Callable[..., dict[str, Any]]:
        def work(*payload: Any) -> dict[str, Any]:
            job_id = DBOS.workflow_id
            assert job_id is not None
            token = current_owner_xid(job_id)
            with self._running.at(job_id, token):
                if self._stopping.is_set():  # taken from the queue in the last moment
                    raise Stopping
                return self._work(kind, build, Held(job_id, token), payload)

        return work

    def _work(self, kind: JobKind, build: Builder, held: Held, payload: Sequence[Any]) -> dict[str, Json]:
        began, state, job_id = time.monotonic(), "left", held.job
        self._check(held)
        begun = self._patiently(lambda: self._jobs.begin(job_id))
        asked = request_id.set(begun.origin.request_id)
        try:
            name, request = self._read(kind, begun, payload)
            with span("job", begun.origin.trace, **{"transferset.job": job_id}):
                made = self._build_when_free(build, held, name, request, begun)
            self._check(held)
            state = "finished"
        except TransfersetError as error:
            log.info("job %s: %s", job_id, type(error).__name__, extra={"job": job_id})
            error.message = within(error.message, self._settings.artifacts)
            error.args, state = (error.message,), "failed"
            raise
        except dbos_error.DBOSWorkflowCancelledError:
            state = "cancelled"
            raise
        except Exception as error:
            log.error("job %s failed inside: %s", job_id, place_of(error), extra={"job": job_id})
            state = "failed"
            raise RuntimeError("failed inside") from None  # what DBOS keeps quotes no user's text
        finally:
            metrics.JOB_SECONDS.labels(state).observe(time.monotonic() - began)
            request_id.reset(asked)
        self._patiently(lambda: self._jobs.report(job_id, **made.counts))
        log.info("job %s finished: %s", job_id, made.id, extra={"job": job_id})
        return {"name": name, "id": made.id, "href": f"/v1/{COLLECTIONS[kind]}/{name}", **made.says}

    def _read(self, kind: JobKind, begun: Begun, payload: Sequence[Any]) -> tuple[str, dict[str, Json]]:
        """The name and the request of a payload, in the present form."""
        match payload:
            case (str(name), dict(request)):
                request = self._forms.upgraded(kind, begun.form, request)
            case _:
                raise BadInput("The job's payload is damaged: expected a name and a request; order it again")
        if begun.origin.index is not None:  # a version that arrived since neither breaks nor changes the job
            request = request | {"index": begun.origin.index}
        return name, request

    def _build_when_free(self, build: Builder, held: Held, name: str, request: dict[str, Json], begun: Begun) -> Made:
        """Build; while another process still holds the directory (a cancelled job at its last shard), wait for it."""
        # A job that goes on after a crash keeps what it has built, once it is known to have discarded what was there.
        restart = bool(request.get("restart")) and not begun.has_discarded
        progress = self._progress(held, discards=restart)
        until = time.monotonic() + BUSY_FOR_S
        while True:
            try:
                return build(self._settings, name, request, progress, restart)
            except Busy:
                if time.monotonic() > until:
                    raise
            progress(WAITING, 0, None)
            self._stopping.wait(REPORT_EVERY_S)

    def _progress(self, held: Held, *, discards: bool) -> Progress:
        """A listener that reports into the job, and ends the build when the job is no longer ours or the worker stops.

        The first step that is done proves that what was to be discarded is gone. Killed before that is noted, the job
        discards its own first step as well, and loses nothing else.
        """
        reported, stage_then, steps, job_id = 0.0, "", _Steps(), held.job

        def listen(stage: str, done: int, total: int | None) -> None:
            nonlocal reported, stage_then, discards
            steps.count(stage, done)
            if discards and stage != WAITING:
                self._patiently(lambda: self._jobs.discarded(job_id))
                discards = False
            if self._stopping.is_set():
                raise Stopping
            if time.monotonic() - reported < REPORT_EVERY_S and stage == stage_then and done != total:
                return
            reported, stage_then = time.monotonic(), stage
            self._check(held)
            self._patiently(lambda: self._jobs.report(job_id, stage=stage, done=done, total=total))

        return listen

    def _check(self, held: Held) -> None:
        """Go no further with a job that was cancelled, or that another worker has now."""
        job_id = held.job
        if self._patiently(lambda: self._jobs.rows.token(job_id)) == held.token:
            return
        if self._patiently(lambda: self._jobs.is_cancelled(job_id)):
            log.info("job %s cancelled", job_id, extra={"job": job_id})
            raise dbos_error.DBOSWorkflowCancelledError(job_id)
        log.warning("job %s is another worker's now", job_id, extra={"job": job_id})
        raise Stopping

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask the database until it answers: a build outlives its restart."""
        while True:
            try:
                return ask()
            except Exception as error:
                if not (retriable_postgres_exception(error) or retriable_sqlite_exception(error)):
                    raise
            if self._stopping.wait(ASK_AGAIN_S):
                raise Stopping


@dataclass(frozen=True)
class Held:
    """A job and the claim under which this worker has it: what DBOS calls the owner of the execution."""

    job: str
    token: str | None


class _Running:
    """The builds that are going on, to be waited for."""

    def __init__(self) -> None:
        self._tokens: dict[str, list[str | None]] = {}
        self._changed = threading.Condition()

    @contextmanager
    def at(self, job_id: str, token: str | None) -> Iterator[None]:
        with self._changed:
            self._tokens.setdefault(job_id, []).append(token)
        try:
            yield
        finally:
            with self._changed:
                self._tokens[job_id].remove(token)
                if not self._tokens[job_id]:
                    del self._tokens[job_id]
                self._changed.notify_all()

    def tokens(self) -> dict[str, str | None]:
        """Each job and the token of its last claim: one that is lost may still be at its last shard."""
        with self._changed:
            return {job_id: tokens[-1] for job_id, tokens in self._tokens.items()}

    def wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._tokens, seconds)


class _Steps:
    """Times what a builder reports: each step of a stage, and the rows done in it."""

    def __init__(self) -> None:
        self._stage, self._done, self._then = "", 0, time.monotonic()

    def count(self, stage: str, done: int) -> None:
        now = time.monotonic()
        metrics.STEP_SECONDS.labels(stage).observe(now - self._then)
        before = self._done if stage == self._stage else 0
        metrics.STEP_ROWS.labels(stage).inc(max(0, done - before))
        self._stage, self._done, self._then = stage, done, now


def _at_once(queue: str, settings: WorkerSettings) -> int:
    """How many jobs of a queue a process works at: one run fills a core, and seeds torch, which is the process's."""
    return 1 if queue == "distill" else max(settings.workers, 1)
