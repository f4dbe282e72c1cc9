"""The worker: takes jobs from the queue and builds what they ask for. It may be killed at any moment.

A job is one DBOS workflow whose steps are the receipts the builder leaves on disk (`contract.draft`): DBOS hands the
job to a worker again, the builder goes on at the first step without a receipt.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from dbos import DBOS
from dbos import error as dbos_error

from contract.artifact import Artifact
from contract.errors import Busy, TransfersetError
from contract.manifest import Json
from contract.progress import Progress
from contract.store import Store
from service import metrics
from service.jobs import APPLICATION, APPLICATION_VERSION, QUEUE, Begun, Jobs, json_serializer
from service.logs import request_id
from service.problems import place_of, within
from service.settings import Settings
from service.tracing import span

REPORT_EVERY_S = 0.3  # how often progress is written, and a cancellation looked for, at most
RESCUE_EVERY_S = 2.0  # how often dead workers are looked for
BUSY_FOR_S = 60.0  # how long a job waits for one cancelled or lost before it to let go of the directory
SLOTS = 1000
WAITING = "waiting"  # the stage of a job whose directory another process still holds

# Builds the artifact of one job: (settings, name, request, progress, whether to discard a half-built one).
Builder = Callable[[Settings, str, dict[str, Json], Progress, bool], Artifact]
log = logging.getLogger("transferset.worker")


class Stopping(BaseException):
    """The worker stops: the job is left as it is, for the next worker. Not an Exception, so DBOS records no failure."""


class Worker:
    """The jobs' side that works. One a process, since DBOS allows one."""

    def __init__(self, settings: Settings, build: Builder) -> None:
        self._settings = settings
        self._build = build
        self._stopping = threading.Event()
        self._running = _Running()
        self._rescue = threading.Thread(target=self._rescue_now_and_then, name="rescue", daemon=True)

    def start(self) -> None:
        """Take a slot, go on with the jobs a dead worker of that slot left, and listen to the queue."""
        settings = self._settings
        self._slot = Slot.take(settings.store)
        self._jobs = Jobs(settings.database_url, patient=True)
        self._jobs.open_queue(workers=max(settings.workers, 1), poll_seconds=settings.poll_seconds)
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": settings.database_url,
                "application_version": APPLICATION_VERSION,
                "executor_id": self._slot.name,
                "serializer": json_serializer(),
                "log_level": "WARNING",
            }
        )
        # Never given up as hopeless: being killed is what a job here is made for.
        DBOS.workflow(name="transfer-set", max_recovery_attempts=None)(self._workflow())
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        self._rescue.start()
        log.info("worker %s listens to queue %s", self._slot.name, QUEUE)

    def stop(self) -> bool:
        """Take no more jobs, let the running ones stop at their next shard; False when one has not in time.

        What was running stays PENDING in the database; with the slot free, the next worker goes on with it.
        """
        self._stopping.set()
        DBOS.destroy(destroy_registry=True)
        is_idle = self._running.wait(self._settings.stop_seconds)
        self._rescue.join(RESCUE_EVERY_S)
        self._jobs.close()
        self._slot.release()
        return is_idle

    @property
    def is_alive(self) -> bool:
        return self._rescue.is_alive()

    def _workflow(self) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
        def build(name: str, request: dict[str, Any]) -> dict[str, Any]:
            job_id = DBOS.workflow_id
            assert job_id is not None
            with self._running:
                if self._stopping.is_set():  # taken from the queue in the last moment
                    raise Stopping
                return self._work(job_id, name, request)

        return build

    def _work(self, job_id: str, name: str, request: dict[str, Json]) -> dict[str, Json]:
        began, state = time.monotonic(), "left"
        begun = self._jobs.begin(job_id)
        asked = request_id.set(begun.origin.request_id)
        if begun.origin.index is not None:  # a version that arrived since neither breaks nor changes the job
            request = request | {"index": begun.origin.index}
        try:
            with span("job", begun.origin.trace, **{"transferset.job": job_id}):
                artifact = self._build_when_free(job_id, name, request, begun)
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
        self._jobs.report(job_id, **_final_counts(artifact))
        log.info("job %s finished: %s", job_id, artifact.id, extra={"job": job_id})
        return {"name": name, "id": artifact.id, "href": f"/v1/transfer-sets/{name}"}

    def _build_when_free(self, job_id: str, name: str, request: dict[str, Json], begun: Begun) -> Artifact:
        """Build; while another process still holds the directory (a cancelled job at its last shard), wait for it."""
        # A job that goes on after a crash keeps what it has built, once it is known to have discarded what was there.
        restart = bool(request.get("restart")) and not begun.has_discarded
        progress = self._progress(job_id, discards=restart)
        until = time.monotonic() + BUSY_FOR_S
        while True:
            try:
                return self._build(self._settings, name, request, progress, restart)
            except Busy:
                if time.monotonic() > until:
                    raise
            progress(WAITING, 0, None)
            self._stopping.wait(REPORT_EVERY_S)

    def _progress(self, job_id: str, *, discards: bool) -> Progress:
        """A listener that reports into the job, and ends the build when the job is cancelled or the worker stops.

        The first step that is done proves that what was to be discarded is gone. Killed before that is noted, the job
        discards its own first step as well, and loses nothing else.
        """
        reported, stage_then, steps = 0.0, "", _Steps()

        def listen(stage: str, done: int, total: int | None) -> None:
            nonlocal reported, stage_then, discards
            steps.count(stage, done)
            if discards and stage != WAITING:
                self._jobs.discarded(job_id)
                discards = False
            if self._stopping.is_set():
                raise Stopping
            if time.monotonic() - reported < REPORT_EVERY_S and stage == stage_then and done != total:
                return
            reported, stage_then = time.monotonic(), stage
            if self._jobs.is_cancelled(job_id):
                log.info("job %s cancelled", job_id, extra={"job": job_id})
                raise dbos_error.DBOSWorkflowCancelledError(job_id)
            self._jobs.report(job_id, stage=stage, done=done, total=total)

        return listen

    def _rescue_now_and_then(self) -> None:
        while not self._stopping.wait(RESCUE_EVERY_S):
            try:
                self.rescue()
                if self._settings.health_file is not None:
                    self._settings.health_file.touch()
            except Exception as error:  # the database is away; it is asked again soon
                log.warning("could not look for lost jobs: %s", place_of(error))

    def rescue(self) -> None:
        """Hand the jobs of workers that are dead (nobody holds their slot) back to the queue.

        DBOS alone leaves such a job PENDING for ever when no worker of that name returns.
        """
        for executor in sorted(self._jobs.executors_at_work() - {self._slot.name}):
            slot = Slot.try_take(self._settings.store, executor)
            if slot is not None:
                log.info("worker %s is dead; its jobs go back to the queue", executor)
                # Private, but the only call that moves a job only while it still is that dead worker's.
                DBOS._recover_pending_workflows([executor])
                slot.release()


class Slot:
    """A worker's name, held by a locked file in the store: the kernel lets go of it when the worker dies.

    So a worker that starts again takes up its old name, and the others can tell a dead worker from a slow one.
    """

    def __init__(self, name: str, handle: int) -> None:
        self.name = name
        self._handle = handle

    @classmethod
    def take(cls, store: Store) -> Slot:
        """The first free slot."""
        for number in range(SLOTS):
            slot = cls.try_take(store, f"worker-{number}")
            if slot is not None:
                return slot
        raise Busy(f"All {SLOTS} worker slots in {store.root} are taken")

    @classmethod
    def try_take(cls, store: Store, name: str) -> Slot | None:
        """The slot of that name, None when a living worker holds it."""
        folder = store.root / ".workers"
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(name, handle)

    def release(self) -> None:
        os.close(self._handle)


class _Running:
    """How many builds are going on, to be waited for."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, seconds)


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


def _final_counts(artifact: Artifact) -> dict[str, int]:
    """What a finished job says of its utterances: how many came, how many stayed."""
    count = artifact.manifest.counts["utterances"]
    return {"total": count.rows_in, "done": count.rows_out, "dropped": count.rows_in - count.rows_out}
