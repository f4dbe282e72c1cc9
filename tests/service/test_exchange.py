"""/v1/exchange: who may use it, what it refuses, and that nothing is seen of what has not come whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from contract.artifact import Artifact
from contract.manifest import MANIFEST, hash_file
from contract.store import Store
from service.admission import needed_scope
from service.settings import Settings
from tests.service.house import running, settings_in, task_lines
from tests.service.runs_for_tests import STUDENT, make_run
from tests.service.test_api import problem

BASE = "/v1/exchange/runs/sent"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, workers=0, max_body_bytes=20_000, max_artifact_bytes=400_000)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.delitem(STUDENT, "student/training_args.bin")
    return make_run(Store(tmp_path / "worker"), "sent")


def manifest_of(run: Artifact) -> bytes:
    return (run.directory / MANIFEST).read_bytes()


def begun(client: TestClient, run: Artifact) -> str:
    return str(client.put(BASE, content=manifest_of(run)).json()["arrival"])


def test_a_run_is_sent_in_three_steps_and_then_it_is_there(client: TestClient, run: Artifact) -> None:
    said = client.put(BASE, content=manifest_of(run)).json()
    assert set(said["missing"]) == {entry.name for entry in (*run.manifest.files, *run.manifest.attachments)}
    for name in said["missing"]:
        path = f"{BASE}/arrivals/{said['arrival']}/{name}"
        assert client.put(path, content=run.path(name).read_bytes()).status_code == 204
        assert client.get("/v1/runs/sent").status_code == 404
    for _ in range(2):
        assert client.post(f"{BASE}/arrivals/{said['arrival']}:finish").json()["id"] == run.id
    assert client.get("/v1/runs/sent").json()["id"] == run.id
    again = client.put(BASE, content=manifest_of(run)).json()
    assert (again["missing"], again["is_finished"]) == ([], True)
    weights = client.get(f"{BASE}/files/student/model.safetensors", headers={"Range": "bytes=5-"})
    assert (weights.status_code, weights.content) == (206, STUDENT["student/model.safetensors"][5:])
    assert client.get(BASE).content == manifest_of(run)


def test_only_what_the_manifest_promises_is_taken(client: TestClient, run: Artifact) -> None:
    base = f"{BASE}/arrivals/{begun(client, run)}"
    size = run.manifest.entry("student/model.safetensors").bytes
    path = f"{base}/student/model.safetensors"
    problem(client.put(path, content=b"short"), 422, "sha256")
    problem(client.put(path, content=bytes(size)), 422, "sha256")
    problem(client.put(path, content=bytes(size + 1)), 413)
    problem(client.put(path, content=bytes(400_001)), 413)
    problem(client.put(f"{base}/student/other.json", content=b"{}"), 404)
    problem(client.put(f"{base}/..%2f..%2fkeys.json", content=b"{}"), 404)
    problem(client.post(f"{base}:finish"), 422, "have not come yet")
    assert client.get("/v1/runs/sent").status_code == 404


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"\xff", b"x" * 30_000])
def test_what_is_no_manifest_begins_nothing(client: TestClient, settings: Settings, content: bytes) -> None:
    response = client.put(BASE, content=content)
    assert 400 <= response.status_code < 500
    assert not (settings.artifacts / ".arrivals").exists()


def test_a_changed_manifest_begins_nothing(client: TestClient, run: Artifact) -> None:
    raw = json.loads(manifest_of(run))
    raw["files"][0]["name"] = "../../../keys.json"
    problem(client.put(BASE, content=json.dumps(raw).encode()), 422)


def test_an_arrival_that_was_not_begun_takes_nothing(client: TestClient) -> None:
    problem(client.put(f"{BASE}/arrivals/{'0' * 16}/report.json", content=b"{}"), 404)
    problem(client.post(f"{BASE}/arrivals/{'0' * 16}:finish"), 404)
    problem(client.put(f"{BASE}/arrivals/nothing/report.json", content=b"{}"), 422)


@pytest.mark.parametrize("kind", ["indexes", "corpora", "transfer-sets", "keys", ".."])
def test_only_what_workers_make_is_sent(client: TestClient, run: Artifact, kind: str) -> None:
    assert client.put(f"/v1/exchange/{kind}/sent", content=manifest_of(run)).status_code in (404, 405, 422)


def test_a_task_is_given_as_it_lies_there(client: TestClient, settings: Settings) -> None:
    said = client.get("/v1/exchange/tasks/music").json()
    file = settings.tasks_folder / "music.jsonl"
    assert said == {
        "columns": {},
        "files": [{"name": "music.jsonl", "bytes": file.stat().st_size, "sha256": hash_file(file)}],
    }
    assert client.get("/v1/exchange/tasks/music/files/music.jsonl").content == task_lines()
    problem(client.get("/v1/exchange/tasks/music/files/..%2fjobs.sqlite"), 404)


def test_every_address_of_the_exchange_takes_scope_admin() -> None:
    for method in ("GET", "PUT", "POST"):
        assert needed_scope(method, "/v1/exchange/runs/x") == "admin"
    assert needed_scope("GET", "/v1/runs/x/model") == "read"
    assert needed_scope("POST", "/v1/runs") == "write"
