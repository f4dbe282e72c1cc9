"""The admission: who comes in with which key, how fast, and which pages of strangers do not come in at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from jobs.problem import Refused
from service.admission import Admission, needed_scope
from service.keys import KeyRing, Scope
from service.settings import Settings
from tests.service.house import ended, running, settings_in, task_lines
from tests.service.test_api import ORDER, PLAY, problem

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def secrets(settings: Settings) -> dict[str, str]:
    ring = KeyRing(settings.keys_file)
    return {scope: ring.create(f"{scope}-key", scope)[1] for scope in SCOPES}


@pytest.fixture(scope="module")
def client(settings: Settings, secrets: dict[str, str]) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.mark.parametrize("headers", [{}, bearer("tset_wrong"), bearer(""), {"Authorization": "Basic dXNlcjpw"}])
def test_where_there_are_keys_nobody_comes_in_without_one(client: TestClient, headers: dict[str, str]) -> None:
    refused = client.post("/v1/neighbours", json=PLAY, headers=headers)
    problem(refused, 401, "Expected an API key", type="urn:transferset:key")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/metrics", headers=headers).status_code == 401
    assert client.get("/no/such/place", headers=headers).status_code == 401, "nor learns what there is"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/docs/start.js", "/openapi.json"])
def test_what_is_nobodys_is_shown_to_everyone(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_every_scope_looks_and_searches(client: TestClient, secrets: dict[str, str]) -> None:
    for secret in secrets.values():
        assert client.post("/v1/neighbours", json=PLAY, headers=bearer(secret)).status_code == 200
        assert client.get("/v1/jobs", headers=bearer(secret)).status_code == 200


def test_who_may_read_does_not_upload_order_or_cancel(client: TestClient, secrets: dict[str, str]) -> None:
    headers = bearer(secrets["read"])
    for path in ("/v1/tasks", "/v1/transfer-sets", "/v1/jobs/job-0:cancel"):
        problem(client.post(path, headers=headers), 403, "a key with scope write", type="urn:transferset:scope")


def test_a_key_cancels_its_own_jobs_and_an_admins_all(
    client: TestClient, secrets: dict[str, str], settings: Settings
) -> None:
    _, other = KeyRing(settings.keys_file).create("another", "write")
    ours = client.post("/v1/transfer-sets", json=ORDER | {"name": "ours"}, headers=bearer(secrets["write"])).json()
    assert ours["key"] == next(k.fingerprint for k in KeyRing(settings.keys_file).entries() if k.name == "write-key")
    client.headers.update(bearer(other))
    try:
        problem(client.post(f"/v1/jobs/{ours['id']}:cancel"), 403, "ordered with another key")
        ended(client, ours["id"])
    finally:
        del client.headers["Authorization"]
    cancel = client.post(f"/v1/jobs/{ours['id']}:cancel", headers=bearer(secrets["admin"]))
    problem(cancel, 409, "is finished")  # it was allowed to, and too late


def test_the_same_idempotency_key_of_two_callers_is_two_jobs(client: TestClient, secrets: dict[str, str]) -> None:
    orders = [
        client.post(
            "/v1/transfer-sets",
            json=ORDER | {"name": f"of-{scope}"},
            headers=bearer(secrets[scope]) | {"Idempotency-Key": "1"},
        )
        for scope in ("write", "admin")
    ]
    assert [order.status_code for order in orders] == [202, 202]
    assert len({order.json()["id"] for order in orders}) == 2


def test_a_key_revoked_while_the_server_runs_is_refused_from_then_on(client: TestClient, settings: Settings) -> None:
    _, secret = KeyRing(settings.keys_file).create("short", "read")
    assert client.get("/v1/jobs", headers=bearer(secret)).status_code == 200
    KeyRing(settings.keys_file).revoke("short")
    assert client.get("/v1/jobs", headers=bearer(secret)).status_code == 401


def test_a_damaged_file_of_keys_lets_nobody_in(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    settings.artifacts.mkdir()
    settings.keys_file.write_text("{")
    with running(settings) as client:
        problem(client.post("/v1/neighbours", json=PLAY), 500, "no file of API keys")


def test_keys_made_while_a_server_is_open_close_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    with running(settings) as client:
        assert client.post("/v1/neighbours", json=PLAY).status_code == 200
        KeyRing(settings.keys_file).create("ann", "read")
        assert client.post("/v1/neighbours", json=PLAY).status_code == 401


def test_a_key_that_asks_too_fast_is_told_to_wait_and_another_is_not(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0, requests_per_second=0.5, request_burst=3)
    ring = KeyRing(settings.keys_file)
    (_, fast), (_, slow) = ring.create("fast", "read"), ring.create("slow", "read")
    with running(settings) as client:
        answers = [client.get("/v1/jobs", headers=bearer(fast)) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        problem(
            answers[-1], 429, "asks faster than 0.5 requests a second", limit=0.5, type="urn:transferset:rate-limit"
        )
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
        assert client.get("/v1/jobs", headers=bearer(slow)).status_code == 200
        assert client.get("/livez", headers=bearer(fast)).status_code == 200


@pytest.fixture(scope="module")
def open_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = settings_in(tmp_path_factory.mktemp("open"), workers=0, hosts="box.lan", cors_origins="https://ours.net")
    with running(settings) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "2130706433"]
)
def test_without_keys_a_name_that_is_not_of_this_machine_is_refused(open_client: TestClient, host: str) -> None:
    """A page can make its own name point here (DNS rebinding); the browser then sends that name."""
    problem(open_client.get("/v1/jobs", headers={"Host": host}), 421, "names of this machine")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost:8000", "LOCALHOST", "[::1]:8000", "box.lan"])
def test_without_keys_the_names_of_this_machine_are_answered(open_client: TestClient, host: str) -> None:
    assert open_client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1234"])
def test_without_keys_no_page_of_another_origin_comes_in(open_client: TestClient, origin: str) -> None:
    """A form of any page may send an upload here without asking the browser for leave."""
    files = {"file": ("t.jsonl", task_lines())}
    refused = open_client.post("/v1/tasks", data={"name": "up"}, files=files, headers={"Origin": origin})
    problem(refused, 403, "another web origin")
    assert "up" not in [item["name"] for item in open_client.get("/v1/tasks").json()["items"]]


def test_our_own_page_and_an_origin_that_was_named_come_in(open_client: TestClient) -> None:
    for origin in ("http://127.0.0.1", "https://ours.net"):
        assert open_client.post("/v1/neighbours", json=PLAY, headers={"Origin": origin}).status_code == 200


def test_cors_is_off_unless_an_origin_is_named(client: TestClient, open_client: TestClient) -> None:
    asked = {"Origin": "https://ours.net", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/neighbours", headers=asked).headers
    allowed = open_client.options("/v1/neighbours", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == "https://ours.net"
    other = open_client.options("/v1/neighbours", headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(("method", "path", "is_search"), [
    ("POST", "/v1/neighbours", True), ("GET", "/livez", False), ("POST", "/v1/tasks", False),
])  # fmt: skip
def test_a_search_there_is_no_room_for_is_refused_at_the_door(
    tmp_path: Path, method: str, path: str, is_search: bool
) -> None:
    """Before its body is read and any route is reached: under a flood that decides how much is left for searches."""
    reached: list[str] = []
    statuses: list[int] = []

    def full(caller: str) -> None:
        raise Refused("too many wait", status=429, kind="busy", retry_after=3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def note(message: Any) -> None:
        statuses.append(message.get("status", 0))

    async def ask() -> None:
        settings = settings_in(tmp_path)
        admission = Admission(app, settings, KeyRing(settings.keys_file), check_room=full)
        scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"127.0.0.1")]}
        await admission(scope, anyio.sleep_forever, note)

    anyio.run(ask)
    assert (statuses[:1], reached) == (([429], []) if is_search else ([], [path]))


def test_only_so_many_uploads_are_taken_in_at_a_time(tmp_path: Path) -> None:
    """The admission alone: the test's client hands a body over whole, and cannot be slow."""
    answered: list[int] = []

    async def never_done(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    async def note(message: Any) -> None:
        answered.append(message.get("status", 0))

    async def upload_twice() -> None:
        settings = settings_in(tmp_path, max_uploads=1)
        admission = Admission(never_done, settings, KeyRing(settings.keys_file), check_room=lambda caller: None)
        headers = [(b"host", b"127.0.0.1")]
        scope = {"type": "http", "method": "POST", "path": "/v1/tasks", "headers": headers}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(admission, dict(scope), anyio.sleep_forever, note)
            await anyio.sleep(0)
            await admission(dict(scope), anyio.sleep_forever, note)
            assert answered[0] == 429
            tasks.cancel_scope.cancel()
        assert admission._uploads == 0, "one that broke off counts no longer"

    anyio.run(upload_twice)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", "read"),
        ("HEAD", "/v1/transfer-sets/a/shards/0", "read"),
        ("POST", "/v1/neighbours", "read"),
        ("POST", "/v1/tasks", "write"),
        ("DELETE", "/v1/tasks/a", "write"),
        ("PATCH", "/whatever", "write"),
    ],
)
def test_what_is_not_known_to_be_harmless_takes_a_key_that_may_write(method: str, path: str, scope: str) -> None:
    assert needed_scope(method, path) == scope
