"""A service in a folder: a fake index with its manifest, a task of a few utterances, settings, the real builder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from contract.artifact import open_artifact
from contract.draft import Plan, drafting
from contract.manifest import Json
from contract.progress import Progress
from contract.store import Store, split_version
from jobs.builder import Builder, Made
from service.api import create_app
from service.build import made_of
from service.orders import resolve
from service.reader import Readers
from service.settings import Settings
from service.tasks import TaskFolder
from service.transfer_set import build_transfer_set
from tests.service.fake_index import FakeIndex, generic_texts
from tests.service.runs_for_tests import run_builder

INTENTS = {"play_music": "play some {} music please", "book_table": "book a table for {} in town"}
FILLERS = ["jazz", "rock", "two", "tonight", "cold", "the", "some", "stop"]


def make_index(store: Store, name: str = "web", version: int = 1) -> None:
    """The directory of a finished index; `opener` opens the fake instead of it."""
    plan = Plan("index", 1, {"retrievers": ["lexical"], "version": version})
    with drafting(store.path("index", name, version), plan) as draft:
        if draft.finished is None:
            draft.partial("postings.bin").write_bytes(b"postings")
            draft.keep("lexical", {"postings.bin": 3})
            draft.finish(facts={"rows": 200})


def opener(store: Store, name: str) -> FakeIndex:
    open_artifact(store.find("index", name), "index", version=1)
    _, version = split_version(name)
    return FakeIndex(generic_texts(200, seed=(version or 1) - 1), name=name)


def folder_of(settings: Settings) -> TaskFolder:
    return TaskFolder(settings.tasks_folder, Readers(settings.reading))


def builder(settings: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Made:
    asked = resolve(folder_of(settings), request)
    return made_of(build_transfer_set(settings.store, name, asked, progress=progress, restart=restart, opener=opener))


def task_lines() -> bytes:
    """Sixteen utterances to train on, four to test with, as JSONL."""
    rows = [
        {"text": pattern.format(filler), "intent": intent, "split": "test" if n >= 6 else "train"}
        for intent, pattern in INTENTS.items()
        for n, filler in enumerate(FILLERS)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def settings_in(folder: Path, **given: Any) -> Settings:
    quick = {"poll_seconds": 0.02, "stop_seconds": 5.0, "max_upload_bytes": 200_000, "max_body_bytes": 100_000}
    return Settings(artifacts=folder / "artifacts", **(quick | given))


@contextmanager
def running(settings: Settings, build: Builder = builder) -> Iterator[TestClient]:
    """A client of a running app with one index, one task and, unless `workers` is 0, its worker."""
    make_index(settings.store)
    settings.tasks_folder.mkdir(parents=True, exist_ok=True)
    (settings.tasks_folder / "music.jsonl").write_bytes(task_lines())
    app: FastAPI = create_app(settings, opener=opener, builders={"transfer-set": build, "run": run_builder})
    # A failure inside shall reach the client as the problem document it would get, not the test as an exception.
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def until(holds: Callable[[], Any], *, seconds: float = 20) -> Any:
    """What `holds` returns, once it is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited for what did not happen"
        time.sleep(0.02)
    return found


def ended(client: TestClient, job_id: str) -> dict[str, Any]:
    """The job, once it has ended."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        return job if job["state"] in ("finished", "failed", "cancelled") else None

    job: dict[str, Any] = until(look)
    return job
