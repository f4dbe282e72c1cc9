"""The guard: ids, headers, limits and log lines of every request; and none of it with a word of a user."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from jobs.logs import JsonLines, TextLines, id_from, request_id
from service.guard import SECURITY, Guard
from tests.service.house import ended, running, settings_in
from tests.service.test_api import ORDER, PLAY, problem, upload


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(settings_in(tmp_path_factory.mktemp("service"))) as client:
        yield client


ADDRESSES = ["/livez", "/v1/jobs", "/v1/indexes/none", "/no/such", "/openapi.json"]


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_answer_has_an_id_and_the_security_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert len(answer.headers["x-request-id"]) == 32
    assert {name: answer.headers[name] for name in SECURITY} == SECURITY
    assert "server" not in answer.headers


@pytest.mark.parametrize("given", ["abc-123", "A.b_c", "x" * 64])
def test_a_clients_own_id_comes_back(client: TestClient, given: str) -> None:
    assert client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "jazz;drop", "<script>", "Ã©"])
def test_an_id_that_could_do_harm_in_a_log_is_replaced(given: str) -> None:
    assert id_from(given) != given
    assert len(id_from(given)) == 32


def test_a_refusal_of_the_guard_itself_has_them_too(client: TestClient) -> None:
    refused = client.post("/v1/neighbours", content=b"x" * 200_000, headers={"content-type": "application/json"})
    problem(refused, 413, "expected at most 100,000 bytes, found 200,000", limit=100_000, found=200_000, field="body")
    assert {name: refused.headers[name] for name in SECURITY} == SECURITY
    assert refused.headers["x-request-id"]


def test_a_body_that_stops_coming_is_given_up(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def run() -> None:
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return parts.pop() if parts else await anyio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/neighbours", "headers": []}
        await Guard(reads, settings_in(tmp_path, body_seconds=0.05))(scope, receive, send)

    anyio.run(run)
    assert sent[0]["status"] == 408
    assert "stopped coming" in json.loads(sent[1]["body"])["detail"]


def test_a_body_that_comes_byte_by_byte_is_given_up(tmp_path: Path) -> None:
    """Each within its time, but all of them hold a place among the uploads for hours."""
    sent: list[Any] = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def run() -> None:
        async def receive() -> Any:
            await anyio.sleep(0.005)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/tasks", "headers": []}
        await Guard(reads, settings_in(tmp_path, body_seconds=0.05))(scope, receive, send)

    anyio.run(run)
    assert sent[0]["status"] == 408


def test_who_listens_long_after_its_body_is_not_hurried(tmp_path: Path) -> None:
    """As an event stream does, which waits for the end of its connection."""
    status: list[int] = []

    async def listens(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> None:
        parts = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if len(parts) == 1:
                await anyio.sleep(0.1)
            return parts.pop()

        async def send(message: Any) -> None:
            status.append(message["status"])

        scope = {"type": "http", "method": "GET", "path": "/v1/jobs/a/events", "headers": []}
        await Guard(listens, settings_in(tmp_path, body_seconds=0.02))(scope, receive, send)

    anyio.run(run)
    assert status == [200]


@pytest.mark.parametrize(
    "query", ["limt=5", "limit=5&more=1", "page_token=a&page_token=b", "limit=1&limit=1", "%00=1", "limit[]=1"]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/tasks", "/v1/indexes/web"])
def test_a_query_parameter_nobody_reads_is_refused(client: TestClient, path: str, query: str) -> None:
    answer = client.get(f"{path}?{query}")
    problem(answer, 422)
    assert answer.json()["field"]


def test_a_field_that_is_wrong_is_named_with_its_row_its_limit_and_what_was_found(client: TestClient) -> None:
    def refused(**change: Any) -> Any:
        return client.post("/v1/neighbours", json=PLAY | change)

    problem(refused(k=0), 422, "found 0", field="k", limit=1, found=0)
    problem(refused(k="ten"), 422, "found a text of 3 characters", field="k", found="a text of 3 characters")
    problem(refused(utterances=["a", {"id": "1"}]), 422, field="utterances.1.text", row=1, found="nothing")
    problem(refused(utterances=["a", "b" * 20_000]), 422, field="utterances.1.text", row=1, limit=10_000, found=20_000)
    problem(refused(utterances=[]), 422, field="utterances", limit=1, found="a list of 0")
    problem(refused(retriever="my secret"), 422, field="retriever", found="a text of 9 characters")
    assert "secret" not in refused(retriever="my secret").text


def test_nothing_of_a_user_reaches_log_metrics_or_the_stored_errors(
    client: TestClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    secret = "zanzibar"
    with caplog.at_level(logging.DEBUG):
        client.post("/v1/neighbours", json=PLAY | {"utterances": [f"play {secret}"]})
        client.post("/v1/neighbours", json=PLAY | {"utterances": [{"text": 1, secret: 2}], "retriever": secret})
        client.get(f"/v1/jobs?{secret}={secret}", headers={"X-Request-ID": f"{secret} {secret}"})
        client.get(f"/v1/tasks/{secret}")
        client.get(f"/{secret}")
        upload(client, "leaks", f'{{"text": "{secret}"}}\n{{"id": 1, "text": {{"{secret}": 1}}}}\n'.encode())
        upload(client, "leaks", f'{{"{secret}": "a"}}\n'.encode(), columns=f'{{"text": "{secret}2"}}')
        client.request(secret.upper(), "/livez")
        job = client.post("/v1/transfer-sets", json=ORDER | {"name": "quiet", "k": 2}).json()
        ended(client, job["id"])
        metrics = client.get("/metrics").text
    ours = [record for record in caplog.records if record.name != "httpx2"]  # which is the client of this test
    assert len(ours) > 8
    assert not [line for line in map(JsonLines().format, ours) if secret in line.lower()], "in the log"
    assert secret not in metrics.lower(), "in the metrics"


def test_a_line_of_json_holds_the_request_and_no_more(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="transferset"):
        client.post("/v1/neighbours", json=PLAY, headers={"X-Request-ID": "abc"})
    (record,) = [record for record in caplog.records if record.name == "transferset.http"]
    token = request_id.set("abc")
    try:
        line = json.loads(JsonLines().format(record))
        assert TextLines().format(record).endswith("ms [abc]")
    finally:
        request_id.reset(token)
    assert line.pop("at").endswith("Z")
    assert line.pop("ms") >= 0
    assert line.pop("message").startswith("POST /v1/neighbours 200 ")
    assert line == {
        "level": "INFO",
        "logger": "transferset.http",
        "request_id": "abc",
        "method": "POST",
        "route": "/v1/neighbours",
        "status": 200,
    }


def test_an_error_is_logged_by_its_kind_and_never_by_its_words() -> None:
    try:
        raise ValueError("my own words")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "failed", (), __import__("sys").exc_info())
    line = JsonLines().format(record)
    assert json.loads(line)["error"] == "ValueError"
    assert "own words" not in line
    assert "\n" not in line
