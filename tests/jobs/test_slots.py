"""Slots: a name is one living worker's, beside a SQLite file and on a Postgres that comes and goes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from jobs import slots as slots_module
from jobs.jobs import Jobs
from jobs.slots import Attendance, Slots, slots_of
from jobs.worker import Worker
from service.settings import Settings
from tests.jobs.counting import Counting, ended, submit
from tests.jobs.postgres import Postgres
from tests.service.house import settings_in, until

Another = Callable[[], Slots]


@pytest.fixture
def another(settings: Settings) -> Iterator[Another]:
    """Makes the slots of one more worker, let go of at the end."""
    made: list[Slots] = []

    def make() -> Slots:
        made.append(slots_of(settings.database_url))
        return made[-1]

    yield make
    for slots in made:
        slots.release()


def is_dead(slots: Slots, name: str) -> bool:
    with slots.if_dead(name) as dead:
        return dead


def test_slots_are_taken_lowest_first_and_by_one_alone(another: Another) -> None:
    workers = [another() for _ in range(3)]
    assert [each.take() for each in workers] == ["worker-0", "worker-1", "worker-2"]
    workers[1].release()
    assert another().take() == "worker-1", "a worker that returns takes up its name"
    assert another().take() == "worker-3"


def test_the_slot_of_a_living_worker_is_never_dead_and_a_dead_ones_is_soon(another: Another) -> None:
    living, gone, looking = another(), another(), another()
    names = living.take(), gone.take(), looking.take()
    time.sleep(slots_module.SETTLING_S)
    gone.release()
    until(lambda: is_dead(looking, names[1]), seconds=5)
    assert not is_dead(looking, names[0])
    assert another().take() == names[1], "who looked has let go of it"


def test_while_a_dead_workers_jobs_are_put_back_nobody_takes_its_name(another: Another) -> None:
    looking = another()
    looking.take()
    time.sleep(slots_module.SETTLING_S)
    until(lambda: is_dead(looking, "worker-1"), seconds=5)
    with looking.if_dead("worker-1") as dead:
        assert dead
        assert another().take() == "worker-2"


def test_a_queue_has_a_worker_while_one_that_listens_to_it_lives(another: Another) -> None:
    first, second, asking = another(), another(), another()
    first.take(["build"])
    second.take(["build", "distill"])
    assert (asking.is_attended("build"), asking.is_attended("distill")) == (True, True)
    second.release()
    assert (asking.is_attended("build"), asking.is_attended("distill")) == (True, False)
    first.release()
    assert not asking.is_attended("build")


def test_what_is_known_of_a_queue_is_a_second_old_at_most(another: Another) -> None:
    now = 0.0
    attendance = Attendance(another(), clock=lambda: now)
    assert not attendance.has_worker("build")
    another().take(["build"])
    assert not attendance.has_worker("build")
    now = 1.1
    assert attendance.has_worker("build")


def test_beside_a_sqlite_file_the_folder_of_artifacts_is_of_no_matter(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    first, second = (slots_of(settings_in(tmp_path / name, database=database).database_url) for name in "ab")
    assert (first.take(), second.take()) == ("worker-0", "worker-1")
    first.release()
    second.release()


def test_a_folder_of_slots_that_was_cleared_away_is_made_again_by_who_lives(tmp_path: Path) -> None:
    first, second, late = (slots_of(f"sqlite:///{tmp_path / 'jobs.sqlite'}") for _ in range(3))
    assert (first.take(["build"]), second.take(["build"])) == ("worker-0", "worker-1")
    shutil.rmtree(tmp_path / ".workers")
    assert late.take() == "worker-0", "until then nobody could know"
    assert (first.hold(), second.hold()) == (False, True)
    assert first.take(["build"]) == "worker-2"
    assert [slots.hold() for slots in (first, second, late)] == [True] * 3
    for slots in (first, second, late):
        slots.release()


# Postgres goes and comes back


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: Postgres) -> Settings:
    settings = settings_in(tmp_path, database=postgres.database())
    settings.artifacts.mkdir()
    return settings


def end_sessions(postgres: Postgres) -> None:
    """End every connection to every database, as a proxy or a firewall may."""
    with postgres.session() as session:
        session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'transferset'")


@pytest.mark.postgres
def test_a_lock_lost_with_its_session_is_taken_again_before_anyone_holds_its_worker_for_dead(
    on_postgres: Settings, postgres: Postgres
) -> None:
    held, looking = (slots_of(on_postgres.database_url) for _ in range(2))
    names = held.take(["build"]), looking.take()
    time.sleep(slots_module.SETTLING_S)
    end_sessions(postgres)
    with pytest.raises(psycopg.OperationalError):
        is_dead(looking, names[0])
    assert not is_dead(looking, names[0]), "this session is young: others may not be back yet"
    assert (held.hold(), held.held, looking.hold()) == (True, names[0], True)
    time.sleep(slots_module.SETTLING_S)
    assert not is_dead(looking, names[0])
    assert looking.is_attended("build")
    for slots in (held, looking):
        slots.release()


@pytest.mark.postgres
def test_a_worker_whose_name_was_taken_meanwhile_goes_on_under_another_with_its_job(
    on_postgres: Settings, postgres: Postgres
) -> None:
    counting = Counting()
    jobs, worker, thief = Jobs(on_postgres.database_url), Worker(on_postgres, {"transfer-set": counting}), None
    worker.start()
    try:
        job = submit(jobs, "a", steps=150)
        until(lambda: counting.done.get("a", 0) > 1)
        thief = slots_of(on_postgres.database_url)
        worker._watch._slots.release()  # what the end of its session is to the lock
        worker._watch._slots.held = "worker-0"
        assert thief.take() == "worker-0"
        assert ended(jobs, job).state == "finished"
        assert (worker._watch.name, len(counting.builds)) == ("worker-1", 1)
        assert ended(jobs, submit(jobs, "b")).state == "finished"
    finally:
        worker.stop()
        jobs.close()
        if thief is not None:
            thief.release()


@pytest.mark.postgres
def test_a_job_outlives_a_restart_of_postgres_and_is_built_once(on_postgres: Settings, postgres: Postgres) -> None:
    counting = Counting()
    jobs, worker = Jobs(on_postgres.database_url), Worker(on_postgres, {"transfer-set": counting})
    worker.start()
    try:
        job = submit(jobs, "a", steps=120)
        until(lambda: counting.done.get("a", 0) > 1)
        postgres.stop()
        try:
            time.sleep(0.5)
        finally:
            postgres.start()
        until(lambda: answers(jobs))
        done = ended(jobs, job)
        assert (done.state, len(counting.builds), counting.done["a"]) == ("finished", 1, 120)
        assert ended(jobs, submit(jobs, "b")).state == "finished"
    finally:
        worker.stop()
        jobs.close()


def answers(jobs: Jobs) -> bool:
    try:
        jobs.check()
    except Exception:  # whatever it is called, it is away
        return False
    return True


# Processes, as on two hosts: no folder in common

HOST = """
import sys, time
from pathlib import Path
from jobs.builder import Made
from jobs.process import work
from jobs import process
from jobs.settings import WorkerSettings

def build(settings, name, request, progress, restart):
    Path(sys.argv[1], f"{name}.{time.monotonic_ns()}").touch()
    for step in range(request["steps"]):
        progress("counting", step, request["steps"])
        time.sleep(0.05)
    return Made(f"id-of-{name}")

process.builders_of = lambda queues: {"transfer-set": build}
settings = WorkerSettings(artifacts=Path(sys.argv[1]), database=sys.argv[2], poll_seconds=0.05)
work(settings, ["build"], lambda line: print(line, flush=True))
"""


@pytest.mark.slow
@pytest.mark.postgres
def test_on_two_hosts_a_frozen_workers_job_is_never_taken_and_a_killed_ones_is_within_seconds(
    tmp_path: Path, on_postgres: Settings
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    hosts = []
    for folder in folders:
        folder.mkdir()
        command = [sys.executable, "-c", HOST, str(folder), on_postgres.database_url]
        hosts.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE))
        assert hosts[-1].stdout.readline()  # type: ignore[union-attr]
    jobs = Jobs(on_postgres.database_url)
    try:
        job = submit(jobs, "a", steps=100)
        (at,) = until(lambda: [n for n, folder in enumerate(folders) if list(folder.glob("a.*"))])
        os.kill(hosts[at].pid, signal.SIGSTOP)
        time.sleep(10)
        assert jobs.get(job.id).state == "running"
        assert not list(folders[1 - at].glob("a.*")), "slow is not dead"
        os.kill(hosts[at].pid, signal.SIGCONT)
        time.sleep(1)
        assert not list(folders[1 - at].glob("a.*"))
        hosts[at].kill()
        began = time.monotonic()
        until(lambda: list(folders[1 - at].glob("a.*")), seconds=30)
        assert time.monotonic() - began < 15
        assert ended(jobs, job).state == "finished"
        assert [len(list(folder.glob("a.*"))) for folder in folders] == [1, 1]
    finally:
        jobs.close()
        for host in hosts:
            host.kill()
            host.wait()
            host.stdout.close()  # type: ignore[union-attr]
