"""The databases the jobs' tests run on: a SQLite file, and a PostgreSQL server of the session's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import slots, watch
from jobs.jobs import Jobs
from jobs.worker import Worker
from service.settings import Settings
from tests.jobs.counting import Counting
from tests.jobs.postgres import ADVICE, Postgres, installed, running_postgres
from tests.service.house import settings_in


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if installed() is None:
        pytest.skip(ADVICE)
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    settings = settings_in(tmp_path, database=server.database() if server else None)
    settings.artifacts.mkdir()
    yield settings
    if server:
        server.drop(settings.database_url)


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker looks after lost jobs every few seconds; here it does so ten times as often."""
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(slots, "SETTLING_S", 0.6)
    monkeypatch.setattr(slots, "FREE_FOR_S", 0.3)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    jobs = Jobs(settings.database_url)
    yield jobs
    jobs.close()


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def worker(settings: Settings, counting: Counting) -> Iterator[Worker]:
    worker = Worker(settings, {"transfer-set": counting})
    worker.start()
    yield worker
    worker.stop()
