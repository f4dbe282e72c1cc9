"""Recovery: a job whose worker stopped, died, hung or lost its name goes on with another, once, from where it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from contract.errors import NotFound
from contract.progress import Progress
from jobs.job import Job
from jobs.jobs import Jobs
from jobs.slots import slots_of
from jobs.worker import Stopping, Worker
from service.settings import Settings
from tests.jobs.counting import Counting, built, ended, submit
from tests.service.house import until


def test_a_job_killed_between_its_start_and_its_discarding_still_discards(jobs: Jobs, settings: Settings) -> None:
    """`restart: true` is done once it is known to be done, not once it was tried."""
    restarts: list[bool] = []

    def dies_before_its_first_step(_: Settings, name: str, __: Any, progress: Progress, restart: bool) -> Any:
        restarts.append(restart)
        raise Stopping

    def dies_after_its_first_step(_: Settings, name: str, __: Any, progress: Progress, restart: bool) -> Any:
        restarts.append(restart)
        progress("counting", 1, 2)
        raise Stopping

    def works(_: Settings, name: str, __: Any, progress: Progress, restart: bool) -> Any:
        restarts.append(restart)
        return built(name)

    job = submit(jobs, "a", restart=True)
    for life, build in enumerate((dies_before_its_first_step, dies_after_its_first_step, works), start=1):
        worker = Worker(settings, {"transfer-set": build})
        worker.start()
        until(lambda life=life: len(restarts) == life)
        if build is works:
            assert ended(jobs, job).state == "finished"
        worker.stop()
    assert restarts == [True, True, False]


def test_a_stopped_worker_leaves_its_job_to_the_next_which_goes_on_where_it_was(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    first = Worker(settings, {"transfer-set": counting})
    first.start()
    job = submit(jobs, "a", steps=60, restart=True)
    until(lambda: counting.done.get("a", 0) > 3)
    assert first.stop()
    stopped_at = counting.done["a"]
    assert jobs.get(job.id).state == "queued"
    second = Worker(settings, {"transfer-set": counting})
    second.start()
    try:
        done = ended(jobs, job)
        assert (done.state, counting.done["a"]) == ("finished", 60)
        # It went on, and did not discard what the first had built, though the job asks for that at its beginning.
        assert counting.builds == [("a", True), ("a", False)]
        assert stopped_at < 60
    finally:
        second.stop()


def test_a_worker_that_stops_does_not_wait_for_ever(jobs: Jobs, settings: Settings) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stuck(*_: object) -> Any:
        begun.set()
        go_on.wait(20)
        return built("late")

    worker = Worker(settings.model_copy(update={"stop_seconds": 0.1}), {"transfer-set": stuck})
    worker.start()
    submit(jobs)
    assert begun.wait(20)
    try:
        assert not worker.stop()
    finally:
        go_on.set()


def test_a_stopped_worker_hands_its_job_back_so_that_others_need_not_find_out(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    job = submit(jobs, "a", steps=60)
    until(lambda: counting.done.get("a", 0) > 1)
    assert jobs.get(job.id).waits_for is None
    assert worker.stop()
    found = jobs.get(job.id)
    assert (found.state, found.started_at is not None) == ("queued", True)
    time.sleep(1.1)  # what is known of a queue is a second old at most
    assert "worker --queues build" in str(jobs.get(job.id).waits_for)


def left_by(jobs: Jobs, settings: Settings, counting: Counting, name: str) -> Job:
    """A job that a worker of this name had, and left as a killed one does."""
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    job = submit(jobs, f"of-{name}", steps=60)
    until(lambda: counting.done.get(f"of-{name}", 0) > 1)
    token = jobs.rows.token(job.id)
    worker.stop()
    (row,) = [row for row in waiting(jobs) if row["workflow_uuid"] == job.id]
    assert row["owner_xid"] is None
    set_row(jobs, job.id, status="PENDING", executor_id=name, owner_xid=token)
    return job


def set_row(jobs: Jobs, job_id: str, **values: object) -> None:
    """Write into DBOS' table by hand."""
    rows = jobs.rows
    with rows._database.engine.begin() as connection:
        connection.execute(sa.update(rows._table).where(rows._table.c.workflow_uuid == job_id).values(values))


def waiting(jobs: Jobs) -> list[Mapping[str, Any]]:
    rows = jobs.rows
    with rows._database.engine.connect() as connection:
        asked = sa.select(rows._table).where(rows._table.c.status == "ENQUEUED")
        return [row._mapping for row in connection.execute(asked)]


def test_the_job_of_a_dead_worker_is_taken_over_and_that_of_a_slow_one_is_not(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    job = left_by(jobs, settings, counting, "worker-0")
    slow = slots_of(settings.database_url)
    assert slow.take() == "worker-0"  # it still lives, for all that others can tell
    second = Worker(settings, {"transfer-set": counting})
    second.start()
    try:
        until(lambda: counting.builds)
        assert ended(jobs, submit(jobs, "b")).state == "finished"
        time.sleep(1.2)
        assert jobs.get(job.id).state == "running"
        assert len(counting.builds) == 2
        slow.release()  # now it is dead
        assert ended(jobs, job).state == "finished"
        assert counting.done["of-worker-0"] == 60
    finally:
        second.stop()


def test_what_a_worker_claimed_and_never_began_goes_back_to_the_queue(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    """The database went away between DBOS' claim and its look at what it had claimed."""
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    try:
        job = submit(jobs, "a", steps=100_000)
        until(lambda: counting.done.get("a", 0) > 1)
        lost = submit(jobs, "b")  # waits: one at a time
        set_row(jobs, lost.id, status="PENDING", executor_id="worker-0", owner_xid="a-claim-nobody-knows")
        assert jobs.get(lost.id).state == "running"
        jobs.cancel(job.id)
        assert ended(jobs, lost).state == "finished"
    finally:
        worker.stop()


def test_a_worker_whose_job_was_given_to_another_lets_go_of_it(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    worker, another = Worker(settings, {"transfer-set": counting}), slots_of(settings.database_url)
    worker.start()
    try:
        job = submit(jobs, "a", steps=100_000)
        until(lambda: counting.done.get("a", 0) > 1)
        set_row(jobs, job.id, executor_id=another.take(), owner_xid="the-claim-of-another")
        until(lambda: not worker._running.tokens())
        assert jobs.get(job.id).state == "running", "it is not for this worker to end it"
    finally:
        worker.stop()
        another.release()


def test_a_job_in_the_queue_of_another_kind_goes_to_its_own(jobs: Jobs, settings: Settings, counting: Counting) -> None:
    """A worker that builds never runs a run, however the row got to it."""
    job, _ = jobs.submit("run", "a", {})
    set_row(jobs, job.id, queue_name="build")
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    try:
        until(lambda: [row["queue_name"] for row in waiting(jobs)] == ["distill"])
        assert ended(jobs, submit(jobs, "a")).state == "finished", "two kinds may have one name"
        assert "worker --queues distill" in str(jobs.get(job.id).waits_for)
        assert [name for name, _ in counting.builds] == ["a"]
    finally:
        worker.stop()


def test_a_worker_that_builds_hands_the_run_of_a_dead_worker_to_those_that_distil(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    job, _ = jobs.submit("run", "a", {})
    set_row(jobs, job.id, status="PENDING", executor_id="worker-9", owner_xid="dead")
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    try:
        until(lambda: jobs.get(job.id).state == "queued")
        assert [row["queue_name"] for row in waiting(jobs)] == ["distill"]
    finally:
        worker.stop()
    distilling = Counting()
    second = Worker(settings, {"run": distilling})
    second.start()
    try:
        done = ended(jobs, job)
        assert (done.state, done.kind, done.result) == (
            "finished",
            "run",
            {"name": "a", "id": "id-of-a", "href": "/v1/runs/a"},
        )
        assert (len(distilling.builds), len(counting.builds)) == (1, 0)
    finally:
        second.stop()


def test_a_job_of_a_kind_nobody_knows_fails_and_holds_nobody_up(
    jobs: Jobs, settings: Settings, counting: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit(jobs, "a")
    set_row(jobs, job.id, name="a-kind-of-the-future")
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    try:
        assert ended(jobs, submit(jobs, "b")).state == "finished"
        until(lambda: not jobs.rows.running() and not waiting(jobs))
        with pytest.raises(NotFound):
            jobs.get(job.id)
        assert [job.name for job in jobs.newest(10)[0]] == ["b"]
    finally:
        worker.stop()


DAMAGED = ["", "{", "null", "[]", "7", "{}"]
DAMAGED += [
    f'{{"positionalArgs": {args}, "namedArgs": {named}}}'
    for args, named in (("[]", "{}"), ('["a"]', "{}"), ("[1, 2, 3]", "{}"), ("7", "{}"), ('["a", {}]', '{"x": 1}'))
]


def test_payloads_damaged_by_hand_fail_their_jobs_with_a_sentence_and_hold_nobody_up(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    damaged = [submit(jobs, f"a{n}") for n in range(len(DAMAGED))]
    table = jobs.rows._database.tables.workflow_input
    with jobs.rows._database.engine.begin() as connection:
        for job, payload in zip(damaged, DAMAGED, strict=True):
            connection.execute(sa.update(table).where(table.c.workflow_uuid == job.id).values(inputs=payload))
    assert [jobs.get(job.id).request for job in damaged] == [{}] * len(DAMAGED)
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    try:
        assert ended(jobs, submit(jobs, "b")).state == "finished"
        for job in damaged:
            failed = ended(jobs, job)
            assert failed.state == "failed"
            assert failed.error is not None
            assert failed.error.detail
    finally:
        worker.stop()
