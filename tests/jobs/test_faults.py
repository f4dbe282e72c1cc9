"""Faults of the database's place: locked by another, removed, clocks that jump; each is a sentence, or passes."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from jobs import watch
from jobs.jobs import Jobs
from jobs.problem import Refused
from jobs.worker import Worker
from service.settings import Settings
from tests.jobs.counting import Counting, ended, submit
from tests.jobs.test_jobs import ON_SQLITE
from tests.service.house import settings_in, until


@ON_SQLITE
def test_a_database_that_another_process_keeps_locked_is_waited_for(
    jobs: Jobs, worker: Worker, settings: Settings, counting: Counting
) -> None:
    job = submit(jobs, "a", steps=60)
    until(lambda: counting.done.get("a", 0) > 1)
    other = sqlite3.connect(settings.artifacts / "jobs.sqlite", isolation_level=None, timeout=20)
    other.execute("BEGIN EXCLUSIVE")
    time.sleep(2)
    assert counting.done["a"] < 60, "it could not report"
    other.execute("COMMIT")
    other.close()
    assert ended(jobs, job).state == "finished"
    assert len(counting.builds) == 1


@ON_SQLITE
def test_a_database_file_that_is_removed_is_said_and_holds_no_worker_up(
    jobs: Jobs, worker: Worker, settings: Settings, counting: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    submit(jobs, "a", steps=100_000)
    until(lambda: counting.done.get("a", 0) > 1)
    with caplog.at_level(logging.WARNING):
        (settings.artifacts / "jobs.sqlite").unlink()
        until(lambda: "its file was removed or replaced" in caplog.text)
    assert worker.is_alive


@pytest.mark.parametrize("words", [*watch.FAULTS, "disk I/O error"])
def test_a_fault_of_the_database_is_said_in_our_words_alone(words: str) -> None:
    fault = watch._fault(OperationalError("INSERT", {"inputs": "a user's own words"}, Exception(words)))
    assert "own words" not in fault
    assert fault == watch.FAULTS.get(words, "OperationalError")


def test_a_clock_that_jumps_changes_what_is_shown_and_nothing_else(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    for jump in (-40 * 86_400, 40 * 86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: now() + jump)
        assert ended(jobs, submit(jobs, f"set{jump}", steps=30)).state == "finished"
    assert len(jobs.newest(10)[0]) == 2


def test_a_database_that_goes_away_while_a_worker_starts_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being looked at and being used; who keeps workers up starts this one again."""

    def goes_away(*_: object, **__: object) -> None:
        raise OperationalError("INSERT INTO dbos.application_versions", {}, Exception("secret:password@host"))

    settings = settings_in(tmp_path)
    settings.artifacts.mkdir(parents=True)
    monkeypatch.setattr(Jobs, "open_queue", goes_away)
    with pytest.raises(Refused, match=r"jobs\.sqlite, cannot be opened \(OperationalError\)") as refused:
        Worker(settings, {"transfer-set": Counting()}).start()
    assert "secret" not in refused.value.message
