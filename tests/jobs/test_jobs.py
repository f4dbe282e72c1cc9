"""Jobs: picked up soon, done once, not lost with their worker, and ended when nobody wants them."""

from __future__ import annotations

import logging
import pickle
import sqlite3
import threading
import time
from base64 import b64encode
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import Busy, NotFound
from contract.manifest import Json
from contract.progress import Progress
from jobs.job import Origin
from jobs.jobs import Jobs, Place
from jobs.problem import Refused
from jobs.worker import Worker
from service.settings import Settings
from tests.jobs.counting import STEP_S, Counting, built, ended, submit
from tests.service.house import ended as ended_over_http
from tests.service.house import running, settings_in, until

ON_SQLITE = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # looks into the file itself


# Asking, with no worker there


def test_a_submitted_job_is_queued_with_its_request(jobs: Jobs) -> None:
    job = submit(jobs, "clinc", index="web", k=5)
    assert (job.state, job.name, job.request) == ("queued", "clinc", {"index": "web", "k": 5})
    assert (job.started_at, job.finished_at, job.failed_at, job.cancelled_at) == (None, None, None, None)
    assert abs(job.queued_at - time.time()) < 60


def test_the_same_key_and_request_are_the_same_job(jobs: Jobs) -> None:
    first, is_new = jobs.submit("transfer-set", "a", {"k": 1, "index": "web"}, key="key")
    again, is_new_again = jobs.submit("transfer-set", "a", {"index": "web", "k": 1}, key="key")
    assert (first.id, is_new, is_new_again) == (again.id, True, False)
    assert len(jobs.newest(10)[0]) == 1


@pytest.mark.parametrize(("name", "request_"), [("a", {"k": 2}), ("b", {"k": 1})])
def test_the_same_key_with_another_request_is_refused(jobs: Jobs, name: str, request_: dict[str, Json]) -> None:
    first = submit(jobs, "a", key="key", k=1)
    with pytest.raises(Refused, match=first.id) as raised:
        submit(jobs, name, key="key", **request_)
    assert (raised.value.status, raised.value.field) == (422, "Idempotency-Key")


@ON_SQLITE
def test_a_key_never_stands_in_the_database_or_an_id(jobs: Jobs, settings: Settings) -> None:
    assert "my-secret-key" not in submit(jobs, key="my-secret-key").id
    assert b"my-secret-key" not in (settings.artifacts / "jobs.sqlite").read_bytes()


def test_a_name_that_is_being_built_is_busy_and_the_sentence_says_by_which_job(jobs: Jobs) -> None:
    first = submit(jobs, "a")
    with pytest.raises(Busy, match=first.id):
        submit(jobs, "a", k=2)
    submit(jobs, "b")


def test_a_cancelled_job_lets_go_of_its_name(jobs: Jobs) -> None:
    assert jobs.cancel(submit(jobs, "a").id).state == "cancelled"
    assert submit(jobs, "a").state == "queued"


def test_cancelling_twice_is_cancelling_once(jobs: Jobs) -> None:
    job = submit(jobs)
    assert jobs.cancel(job.id) == jobs.cancel(job.id)


@pytest.mark.parametrize("job_id", ["job-0", "", "../../etc", "a" * 10_000, "' OR 1=1 --"])
def test_a_job_that_is_not_there_is_not_found(jobs: Jobs, job_id: str) -> None:
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound):
            ask(job_id)


@ON_SQLITE
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_the_pages_of_jobs_together_are_all_jobs_newest_first(jobs: Jobs, settings: Settings, limit: int) -> None:
    ids = [submit(jobs, f"set-{n}").id for n in range(12)]
    with sqlite3.connect(settings.artifacts / "jobs.sqlite") as database:
        for n, job_id in enumerate(ids):  # several of one time, as SQLite has them, and times that floats do not hold
            database.execute(
                "UPDATE workflow_status SET created_at = ? WHERE workflow_uuid = ?", (n // 5 * 123, job_id)
            )
    database.close()
    seen: list[str] = []
    times: list[int] = []
    after = None
    while True:
        page, after = jobs.newest(limit, after)
        seen += [job.id for job in page]
        times += [ids.index(job.id) // 5 for job in page]
        if after is None:
            break
    assert sorted(seen) == sorted(ids)
    assert times == sorted(times, reverse=True)


@given(st.integers(0, 2**45))
def test_a_place_asks_for_jobs_of_its_own_time_too(time_: int) -> None:
    assert int(datetime.fromisoformat(Place(time_, ()).until).timestamp() * 1000) == time_  # as DBOS reads it


# Working


def test_a_job_is_picked_up_within_a_second_and_finishes(jobs: Jobs, worker: Worker) -> None:
    began = time.monotonic()
    job = submit(jobs, "clinc", steps=3)
    until(lambda: jobs.get(job.id).state != "queued")
    assert time.monotonic() - began < 1
    done = ended(jobs, job)
    assert (done.state, done.error) == ("finished", None)
    assert done.result == {"name": "clinc", "id": "id-of-clinc", "href": "/v1/transfer-sets/clinc"}
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.queued_at <= done.started_at <= done.finished_at
    assert (done.counts.total, done.counts.done, done.counts.dropped) == (10, 8, 2)


def test_progress_is_seen_while_it_is_made(jobs: Jobs, worker: Worker) -> None:
    job = submit(jobs, steps=200)
    seen = until(lambda: (now := jobs.get(job.id)).counts.done and now)
    assert (seen.state, seen.stage, seen.counts.total) == ("running", "counting", 200)
    jobs.cancel(job.id)


def test_what_the_user_can_mend_fails_the_job_with_its_sentence(jobs: Jobs, worker: Worker) -> None:
    failed = ended(jobs, submit(jobs, missing=True))
    assert failed.state == "failed"
    assert failed.failed_at is not None
    assert failed.error is not None
    assert (failed.error.status, failed.error.detail) == (404, "There is no index at indexes/web")


@ON_SQLITE
def test_a_bug_fails_the_job_and_no_words_of_a_user_are_kept_or_logged(
    jobs: Jobs, worker: Worker, settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        failed = ended(jobs, submit(jobs, bug=True))
    assert failed.error is not None
    assert failed.error.status == 500
    assert "KeyError at counting.py:" in caplog.text
    out, err = capfd.readouterr()
    kept = (settings.artifacts / "jobs.sqlite").read_bytes().decode(errors="replace")
    for text in (caplog.text, out, err, kept, failed.model_dump_json()):
        assert "very own words" not in text
        assert "Traceback" not in text


def test_a_failed_job_leaves_the_worker_at_work(jobs: Jobs, worker: Worker) -> None:
    ended(jobs, submit(jobs, "a", bug=True))
    assert ended(jobs, submit(jobs, "b")).state == "finished"
    assert worker.is_alive


def test_cancel_takes_effect_within_a_step_and_the_worker_goes_on(
    jobs: Jobs, worker: Worker, counting: Counting
) -> None:
    job = submit(jobs, "a", steps=100_000)
    until(lambda: counting.done.get("a", 0) > 1)
    cancelled = jobs.cancel(job.id)
    assert cancelled.state == "cancelled"
    assert cancelled.started_at is not None
    assert cancelled.cancelled_at is not None
    assert ended(jobs, submit(jobs, "b")).state == "finished"  # one job at a time: the first has let go
    stopped_at = counting.done["a"]
    time.sleep(5 * STEP_S)
    assert counting.done["a"] == stopped_at
    assert jobs.get(job.id).state == "cancelled"


def test_a_finished_job_cannot_be_cancelled(jobs: Jobs, worker: Worker) -> None:
    done = ended(jobs, submit(jobs))
    with pytest.raises(Refused, match="is finished") as raised:
        jobs.cancel(done.id)
    assert raised.value.status == 409


def test_a_job_waits_for_the_one_before_it_to_let_go_of_the_directory(
    jobs: Jobs, worker: Worker, counting: Counting
) -> None:
    assert ended(jobs, submit(jobs, busy_for=2)).state == "finished"
    assert len(counting.builds) == 3


def test_a_half_built_set_is_discarded_when_that_is_asked_for(jobs: Jobs, worker: Worker, counting: Counting) -> None:
    ended(jobs, submit(jobs, "a", restart=True))
    ended(jobs, submit(jobs, "b", restart=False))
    assert counting.builds == [("a", True), ("b", False)]


def test_a_job_keeps_the_version_of_the_index_it_was_ordered_with(jobs: Jobs, settings: Settings) -> None:
    asked: list[Json] = []

    def build(_: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Any:
        asked.append(request["index"])
        return built(name)

    jobs.submit("transfer-set", "a", {"index": "web"}, origin=Origin(index="web@1", key="0123abcd"))
    jobs.submit("transfer-set", "b", {"index": "web"})  # as an earlier version took it in
    worker = Worker(settings, {"transfer-set": build})
    worker.start()
    try:
        found = [ended(jobs, job) for job in jobs.newest(2)[0]]
    finally:
        worker.stop()
    assert sorted(asked) == ["web", "web@1"]
    assert {(job.name, job.index, job.key) for job in found} == {("a", "web@1", "0123abcd"), ("b", None, None)}
    assert {job.request["index"] for job in found} == {"web"}, "the request is shown as it was made"


# Over HTTP

ORDER = {"name": "made", "index": "web", "task": "music", "k": 5}


def test_a_running_job_can_be_cancelled_and_says_when_to_look_again(tmp_path: Path) -> None:
    entered = threading.Event()

    def endless(settings: Settings, name: str, request: Any, progress: Progress, restart: bool) -> Any:
        while True:
            progress("waiting", 0, None)
            entered.set()

    with running(settings_in(tmp_path), endless) as client:
        job = client.post("/v1/transfer-sets", json=ORDER).json()
        assert entered.wait(20)
        looked = client.get(f"/v1/jobs/{job['id']}")
        assert (looked.json()["state"], looked.headers["retry-after"]) == ("running", "1")
        in_the_way = client.post("/v1/transfer-sets", json=ORDER | {"k": 6})
        assert (in_the_way.status_code, job["id"] in in_the_way.json()["detail"]) == (409, True)
        cancelled = client.post(f"/v1/jobs/{job['id']}:cancel").json()
        assert cancelled["state"] == "cancelled"
        assert cancelled["cancelled_at"] >= cancelled["started_at"] >= cancelled["queued_at"]
        assert "retry-after" not in client.get(f"/v1/jobs/{job['id']}").headers


def test_without_workers_jobs_wait_in_the_queue_for_some(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    with running(settings) as client:
        job = client.post("/v1/transfer-sets", json=ORDER).json()
        assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"
        assert client.get("/readyz").status_code == 200
    with running(settings_in(tmp_path, workers=2)) as client:
        assert ended_over_http(client, job["id"])["state"] == "finished"


# What is kept


@ON_SQLITE
def test_nothing_in_the_database_is_pickled(jobs: Jobs, worker: Worker, settings: Settings) -> None:
    for name, request in (("a", {}), ("b", {"missing": True}), ("c", {"bug": True})):
        ended(jobs, submit(jobs, name, **request))
    with sqlite3.connect(settings.artifacts / "jobs.sqlite") as database:
        kinds = database.execute("SELECT DISTINCT serialization FROM workflow_status").fetchall()
        inputs = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    database.close()
    assert kinds == [("portable_json",)]
    assert inputs


class Trap:
    """Says so when it is unpickled."""

    sprung = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "sprung", True)


@ON_SQLITE
def test_a_pickled_row_is_never_unpickled(jobs: Jobs, worker: Worker, settings: Settings) -> None:
    job = submit(jobs, "a")
    ended(jobs, job)
    trap = b64encode(pickle.dumps(Trap())).decode()
    with sqlite3.connect(settings.artifacts / "jobs.sqlite") as database:
        # In every column of every table in which DBOS may keep what a program gave it.
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for column in sorted({"inputs", "output", "error"} & columns):
                database.execute(f"UPDATE {table} SET {column} = ?", (trap,))
            if "serialization" in columns:
                database.execute(f"UPDATE {table} SET serialization = 'py_pickle'")
    database.close()
    assert jobs.get(job.id).request == {}
    assert jobs.newest(10)
    assert not Trap.sprung


def test_a_database_that_cannot_be_opened_is_a_sentence_without_its_password() -> None:
    with pytest.raises(Refused, match=r"PostgreSQL at 127\.0\.0\.1, cannot be opened") as raised:
        Jobs("postgresql+psycopg://u:secret@127.0.0.1:1/jobs")
    assert "secret" not in raised.value.message
