"""The short form of `make fuzz`: hundreds of schemathesis' cases and of mutated uploads, against the app itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from starlette.testclient import TestClient

from benchmarks.fuzzing.cases import Outcome, faults_of, fuzz_operations
from benchmarks.fuzzing.manifests import send_artifact
from benchmarks.fuzzing.uploads import hostile_upload
from tests.service.house import ended, running, settings_in

MIB = 1024 * 1024
LOW = {
    "max_upload_bytes": 4 * MIB,
    "max_task_rows": 5000,
    "max_task_bytes": 4 * MIB,
    "read_memory_bytes": 128 * MIB,
    "read_seconds": 2,
    "max_jobs": 5,
    "max_k": 50,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the transfer set `made`, and the id of the job that built it."""
    folder = tmp_path_factory.mktemp("fuzz")
    with running(settings_in(folder)) as client:
        job = client.post("/v1/transfer-sets", json={"name": "made", "index": "web", "task": "music", "k": 3}).json()
        assert ended(client, job["id"])["state"] == "finished"
    return folder, job["id"]


@pytest.fixture(scope="module")
def client(house: tuple[Path, str]) -> Iterator[TestClient]:
    with running(settings_in(house[0], workers=0, **LOW)) as client:  # hypothesis objects to a worker drawing numbers
        yield client


def sender(client: TestClient) -> Callable[[requests.PreparedRequest], httpx.Response]:
    def send(request: requests.PreparedRequest) -> httpx.Response:
        target = str(request.url).removeprefix("http://127.0.0.1")
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        body = request.body if request.body is not None else b""
        response: httpx.Response = client.request(str(request.method), target, headers=headers, content=body)
        return response

    return send


def shown(outcome: Outcome) -> str:
    return "\n".join(f"{count} x {fault}\n    {outcome.examples[fault]}" for fault, count in outcome.faults.items())


def test_no_case_out_of_the_openapi_document_is_answered_other_than_it_says(
    client: TestClient, house: tuple[Path, str]
) -> None:
    """Every operation is tried, with what the document allows and with what it forbids."""
    known: dict[str, Any] = {
        "indexes.name": ["web"],
        "tasks.name": ["music"],
        "transfer-sets.name": ["made"],
        "job_id": [house[1]],
        "number": [0],
        "index": ["web"],
        "task": ["music"],
        "k": [1, 3, 51],
    }
    document = client.get("/openapi.json").json()
    outcome = fuzz_operations(document, sender(client), known, cases=300, draws=0, slow=20)
    assert not outcome.faults, shown(outcome)
    operations = sum(len(methods) for methods in document["paths"].values())
    assert len({status.rpartition(" ")[0] for status in outcome.statuses}) == operations
    assert outcome.cases > 200
    assert sum(count for status, count in outcome.statuses.items() if status[-3] == "2") > 50


def test_no_mutated_upload_brings_the_server_down_or_leaves_anything_behind(client: TestClient) -> None:
    tasks = client.app.state.service.settings.tasks_folder  # type: ignore[attr-defined]
    before = {path.name for path in tasks.iterdir()}
    documented = client.get("/openapi.json").json()["paths"]["/v1/tasks"]["post"]["responses"]
    taken = set()
    for number in range(200):
        upload = hostile_upload(number)
        response = client.post("/v1/tasks", content=upload.body, headers={"Content-Type": upload.content_type})
        faults = [*faults_of(response)]
        assert not faults, f"upload {number}, {upload.kind}: {faults} {response.text[:500]}"
        assert str(response.status_code) in documented
        if response.status_code == 201:
            name = response.json()["name"]
            taken.add(name)
            assert client.get(f"/v1/tasks/{name}").json()["id"] == response.json()["id"]
            assert client.get(f"/v1/tasks/{name}/errors").status_code == 200
    assert {path.name for path in tasks.iterdir()} - before == taken
    assert 10 < len(taken) < 100, "some are to be good and most are not"


def test_no_manifest_of_a_worker_gone_bad_brings_the_server_down(client: TestClient) -> None:
    arrived = 0
    for number in range(60):
        for response in send_artifact(client, f"sent-{number}", number):
            faults = [*faults_of(response)]
            assert not faults, f"manifest {number}: {faults} {response.text[:500]}"
            arrived += response.request.method == "POST" and response.status_code == 201
    assert 2 < arrived < 30, "some are to be good and most are not"
    assert client.get("/v1/runs", params={"limit": 200}).status_code == 200


def test_an_upload_is_drawn_from_its_number() -> None:
    assert [hostile_upload(number) for number in range(30)] == [hostile_upload(number) for number in range(30)]


def test_every_named_example_of_a_schema_is_what_the_schema_says(client: TestClient) -> None:
    import jsonschema_rs

    document = client.get("/openapi.json").json()
    for name, schema in document["components"]["schemas"].items():
        for example in [*filter(None, [schema.get("example")]), *schema.get("examples", [])]:
            within = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            jsonschema_rs.validator_for(within).validate(example)
