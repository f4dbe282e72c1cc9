"""Removals over HTTP: what is asked for goes, what is needed stays and says for what, and not everyone may ask."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from contract.draft import Plan, drafting
from contract.progress import Progress
from service.keys import KeyRing
from tests.service.house import builder, ended, running, settings_in
from tests.service.test_api import ORDER, problem


def made(client: TestClient, name: str = "made", **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/transfer-sets", json=ORDER | {"name": name}, headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_an_ended_job_is_forgotten_and_what_it_made_stays(tmp_path: Path) -> None:
    with running(settings_in(tmp_path)) as client:
        first = made(client, **{"Idempotency-Key": "once"})
        ended(client, first["id"])
        assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
        problem(client.get(f"/v1/jobs/{first['id']}"), 404)
        problem(client.delete(f"/v1/jobs/{first['id']}"), 404)
        assert client.get("/v1/jobs").json()["items"] == []
        assert client.get("/v1/transfer-sets/made").status_code == 200
        again = made(client, **{"Idempotency-Key": "once"})
        assert ended(client, again["id"])["state"] == "finished", "the order is a new one, and finds it finished"


def test_while_a_job_is_at_it_nothing_it_needs_goes(tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(settings: Any, name: str, request: Any, progress: Progress, restart: bool) -> Any:
        began.set()
        assert go_on.wait(20)
        return builder(settings, name, request, progress, restart)

    with running(settings_in(tmp_path), wait) as client:
        job = made(client)
        assert began.wait(20)
        problem(client.delete(f"/v1/jobs/{job['id']}"), 409, "is running")
        problem(client.delete("/v1/transfer-sets/made"), 409, job["id"])
        problem(client.delete("/v1/tasks/music"), 409, job["id"])
        go_on.set()
        assert ended(client, job["id"])["state"] == "finished"
        assert client.delete("/v1/transfer-sets/made").status_code == 204
        problem(client.get("/v1/transfer-sets/made"), 404)
        problem(client.delete("/v1/transfer-sets/made"), 404)
        problem(client.delete("/v1/tasks/music"), 422, "was not uploaded")


def test_a_queued_run_keeps_the_set_it_names_and_a_finished_one_unless_asked(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as client:
        ended(client, made(client)["id"])
    with running(settings_in(tmp_path, workers=0)) as client:
        service: Any = client.app.state.service  # type: ignore[attr-defined]
        request = {"task": {"name": "music"}, "transfer_set": {"name": "made"}}
        order, _ = service.jobs.submit("run", "r", request)
        problem(client.delete("/v1/transfer-sets/made?even_if_used=true"), 409, order.id)
        service.jobs.cancel(order.id)
        manifest = client.get("/v1/transfer-sets/made").json()
        with drafting(settings.store.path("run", "r"), Plan("run", 1, {}, {"transfer-set": manifest["id"]})) as draft:
            draft.finish()
        problem(client.delete("/v1/transfer-sets/made"), 409, "run r@1 was made from")
        assert client.delete("/v1/transfer-sets/made?even_if_used=true").status_code == 204
        assert client.delete("/v1/runs/r").status_code == 204
        problem(client.delete("/v1/runs/r"), 404)


def test_an_uploaded_task_goes_and_its_name_is_free(tmp_path: Path) -> None:
    with running(settings_in(tmp_path)) as client:
        for text in (b'{"text": "one"}\n', b'{"text": "another"}\n'):
            kept = client.post("/v1/tasks", files={"file": ("t.jsonl", text)}, data={"name": "mine"})
            assert kept.status_code == 201
            assert client.delete("/v1/tasks/mine").status_code == 204
            problem(client.get("/v1/tasks/mine"), 404)


@pytest.mark.parametrize(
    "path", ["jobs/job-0", "transfer-sets/x", "runs/x", "tasks/x", "transfer-sets/..%2f..", "runs/.x"]
)
def test_what_is_not_there_is_a_sentence(tmp_path: Path, path: str) -> None:
    with running(settings_in(tmp_path, workers=0)) as client:
        answer = client.delete(f"/v1/{path}")
        assert answer.status_code in (404, 422)
        assert answer.json()["detail"]


def test_with_keys_who_ordered_it_removes_it_or_an_admin(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    ring = KeyRing(settings.keys_file)
    settings.artifacts.mkdir()
    ann, bob, root = (
        {"Authorization": f"Bearer {ring.create(name, scope)[1]}"}  # type: ignore[arg-type]
        for name, scope in (("ann", "write"), ("bob", "write"), ("root", "admin"))
    )
    with running(settings) as client:
        jobs = [made(client, name, **ann) for name in ("one", "two")]
        client.headers.update(root)
        for job in jobs:
            ended(client, job["id"])
        for path in (f"jobs/{jobs[0]['id']}", "transfer-sets/one", "tasks/music"):
            problem(client.delete(f"/v1/{path}", headers=bob), 403, "another key")
        assert client.delete("/v1/transfer-sets/one", headers=ann).status_code == 204
        assert client.delete(f"/v1/jobs/{jobs[0]['id']}", headers=ann).status_code == 204
        assert client.delete("/v1/transfer-sets/two", headers=root).status_code == 204
