"""Metrics and readiness: what a person on call looks at says what is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from contract.errors import CorruptArtifact
from contract.store import Store
from jobs.metrics import REGISTRY, serve_metrics
from service.api import create_app
from tests.jobs.postgres import _free_port
from tests.service.fake_index import FakeIndex
from tests.service.house import builder, ended, make_index, opener, running, settings_in, until
from tests.service.test_api import ORDER, PLAY, problem


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"transferset_{name}", labels) or 0.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(settings_in(tmp_path_factory.mktemp("service"))) as client:
        yield client


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    labels = {"method": "GET", "route": "/v1/indexes/{name}", "status": "404"}
    before = value("http_requests_total", **labels)
    client.get("/v1/indexes/none")
    assert value("http_requests_total", **labels) == before + 1
    assert value("http_request_seconds_count", route="/v1/indexes/{name}") >= 1


def test_a_finished_job_leaves_its_seconds_its_steps_and_its_rows(client: TestClient) -> None:
    before = value("job_seconds_count", state="finished"), value("step_rows_total", stage="searching")
    job = client.post("/v1/transfer-sets", json=ORDER).json()
    assert ended(client, job["id"])["state"] == "finished"
    until(lambda: value("job_seconds_count", state="finished") == before[0] + 1)
    assert value("step_rows_total", stage="searching") == before[1] + 12
    assert value("step_seconds_count", stage="searching") >= 1


def test_the_queues_depth_and_age_are_those_of_the_database(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, workers=0)) as client:
        for name in ("a", "b"):
            client.post("/v1/transfer-sets", json=ORDER | {"name": name})
        shown = client.get("/metrics")
        assert shown.headers["content-type"].startswith("text/plain")
        assert 'transferset_jobs{state="queued"} 2.0' in shown.text
        assert 'transferset_jobs{state="running"} 0.0' in shown.text
        assert 0 <= value("oldest_queued_job_seconds") < 60


def test_an_open_indexs_size_and_the_caches_hits_are_counted(client: TestClient) -> None:
    hits = value("cache_total", cache="indexes", outcome="hit")
    for _ in range(3):
        client.post("/v1/neighbours", json=PLAY)
    assert value("cache_total", cache="indexes", outcome="hit") >= hits + 2
    assert value("index_bytes", index="web@1") == len(b"postings")


def test_what_is_turned_away_is_counted_by_why(tmp_path: Path) -> None:
    before = value("refused_total", why="host")
    with running(settings_in(tmp_path, workers=0)) as client:
        client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert value("refused_total", why="host") == before + 1


def test_a_worker_serves_its_metrics_on_a_port_of_its_own() -> None:
    port = _free_port()
    serve_metrics("127.0.0.1", port)
    assert "transferset_step_rows_total" in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_a_server_is_not_ready_while_an_index_is_opened_and_is_when_it_is_open(tmp_path: Path) -> None:
    may_open, opening = threading.Event(), threading.Event()

    def slow(store: Store, name: str) -> Any:
        opening.set()
        assert may_open.wait(20)
        return opener(store, name)

    settings = settings_in(tmp_path, workers=0, preload="web")
    make_index(settings.store)
    app = create_app(settings, opener=slow, builders={"transfer-set": builder})
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert opening.wait(20)
        answer = client.get("/readyz")
        problem(answer, 503, "Index web@1 is being opened")
        assert answer.headers["retry-after"] == "5"
        assert client.get("/livez").status_code == 200
        may_open.set()
        until(lambda: client.get("/readyz").status_code == 200)


def test_a_server_with_a_broken_index_is_not_ready_until_it_is_mended(tmp_path: Path) -> None:
    broken = threading.Event()
    broken.set()

    class Breaks(FakeIndex):
        """Opens well, and is found broken when a part of it is first needed, as real ones are."""

        def search(self, *given: Any, **options: Any) -> Any:
            if broken.is_set():
                raise CorruptArtifact("indexes/web/postings.bin does not match the sha256 in its manifest")
            return super().search(*given, **options)

    settings = settings_in(tmp_path, workers=0)
    make_index(settings.store)
    app = create_app(
        settings, opener=lambda _, name: Breaks(["a passage"], name=name), builders={"transfer-set": builder}
    )
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.get("/readyz").status_code == 200
        problem(client.post("/v1/neighbours", json=PLAY), 500, "does not match the sha256")
        problem(client.get("/readyz"), 503, "Index web@1 cannot be opened: indexes/web/postings.bin does not match")
        broken.clear()
        assert client.post("/v1/neighbours", json=PLAY).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_broken_index_that_was_removed_is_nobodys_trouble(tmp_path: Path) -> None:
    def broken(store: Store, name: str) -> Any:
        raise CorruptArtifact("broken")

    settings = settings_in(tmp_path, workers=0)
    make_index(settings.store)
    app = create_app(settings, opener=broken, builders={"transfer-set": builder})
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        client.post("/v1/neighbours", json=PLAY)
        assert client.get("/readyz").status_code == 503
        (settings.store.path("index", "web") / "manifest.json").unlink()
        assert client.get("/readyz").status_code == 200
