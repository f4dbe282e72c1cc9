"""Versions: what older code took in is finished, what nobody here can read says so, and newer is left to the newer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput
from contract.manifest import Json
from jobs import watch
from jobs.jobs import Jobs
from jobs.versions import FORMS, Forms
from jobs.worker import Worker
from service.settings import Settings
from tests.jobs.counting import Counting, ended, submit
from tests.jobs.test_recovery import set_row, waiting
from tests.service.house import until


def doubled(kind: str, payload: dict[str, Json]) -> dict[str, Json]:
    """As if form 2 counted in half steps."""
    return payload | {"steps": payload.get("steps", 1) * 2}


NEXT = Forms(present=2, upgrades={1: doubled})


@contextmanager
def working(settings: Settings, counting: Counting, forms: Forms) -> Iterator[Worker]:
    worker = Worker(settings, {"transfer-set": counting}, forms)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_a_job_that_older_code_took_in_is_brought_forward_and_finished(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    job = submit(jobs, "a", steps=3)
    with working(settings, counting, NEXT):
        done = ended(jobs, job)
    assert (done.state, counting.done["a"]) == ("finished", 6)
    assert done.request == {"steps": 3}, "the request is shown as it was made"


def test_a_job_that_older_code_had_begun_is_finished_too(jobs: Jobs, settings: Settings, counting: Counting) -> None:
    with working(settings, counting, FORMS):
        job = submit(jobs, "a", steps=60)
        until(lambda: counting.done.get("a", 0) > 2)
    set_row(jobs, job.id, status="PENDING", executor_id="worker-5", owner_xid="killed")
    with working(settings, counting, NEXT):
        assert ended(jobs, job).state == "finished"
    assert counting.done["a"] == 120


@pytest.mark.parametrize("version", ["0", "the hash of some commit", "7", ""])
def test_a_form_that_nobody_reads_fails_with_a_sentence_that_says_what_to_do(
    jobs: Jobs, settings: Settings, counting: Counting, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "NEWER_WAITS_S", 0.5)
    job = submit(jobs, "a")
    set_row(jobs, job.id, application_version=version, attributes={"kind": "transfer-set", "name": "a"})
    with working(settings, counting, FORMS):
        failed = ended(jobs, job)
        assert failed.state == "failed"
        assert failed.error is not None
        assert failed.error.status == 422
        assert "order it again" in failed.error.detail
        assert ended(jobs, submit(jobs, "b")).state == "finished"
    assert [name for name, _ in counting.builds] == ["b"]


def test_in_a_rolling_upgrade_the_old_worker_leaves_newer_jobs_to_the_new_one(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    newer = submit(jobs, "newer", steps=2)  # as a new server takes it in
    set_row(jobs, newer.id, application_version="2", attributes={"name": "newer", "form": "2"})
    with working(settings, counting, FORMS):
        assert ended(jobs, submit(jobs, "of-the-old-server")).state == "finished"
        until(lambda: newer.id in worker_sees(jobs))
        assert jobs.get(newer.id).state == "queued"
    with working(settings, counting, NEXT):
        assert ended(jobs, newer).state == "finished"
        assert ended(jobs, submit(jobs, "of-the-old-server-still", steps=2)).state == "finished"
    assert counting.done == {"of-the-old-server": 2, "newer": 2, "of-the-old-server-still": 4}


def worker_sees(jobs: Jobs) -> list[str]:
    return [str(row["workflow_uuid"]) for row in waiting(jobs)]


def test_after_a_rollback_the_old_code_finishes_what_the_new_had_only_brought_forward(
    jobs: Jobs, settings: Settings, counting: Counting
) -> None:
    job = submit(jobs, "a", steps=2)
    set_row(jobs, job.id, application_version="2")  # its payload is noted to be of form 1
    with working(settings, counting, FORMS):
        assert ended(jobs, job).state == "finished"
    assert counting.done["a"] == 2


def test_an_old_server_shows_the_job_of_a_newer_one(jobs: Jobs) -> None:
    job = submit(jobs, "a")
    origin = {"index": "web@1", "key": 7, "of-the-future": True, "trace": []}
    set_row(jobs, job.id, attributes={"name": "a", "form": "9", "origin": origin, "done": "many", "stage": 3})
    found = jobs.get(job.id)
    assert (found.index, found.key, found.counts.done, found.stage) == ("web@1", None, None, None)


@given(st.integers(1, 9), st.integers(0, 9), st.text(max_size=5) | st.integers(0, 12).map(str))
def test_a_form_is_read_by_every_upgrade_on_its_way_or_refused(present: int, known: int, form: str) -> None:
    upgrades = {
        step: lambda kind, payload, step=step: payload | {"way": [*payload["way"], step]}
        for step in range(max(1, present - known), present)
    }
    forms = Forms(present, upgrades)
    if form.isdecimal() and forms.oldest <= int(form) <= present:
        assert forms.upgraded("run", form, {"way": []})["way"] == list(range(int(form), present))
    else:
        with pytest.raises(BadInput, match="order it again"):
            forms.upgraded("run", form, {"way": []})
