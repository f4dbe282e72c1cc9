"""Versions of an index: a plain name is the newest, and what was begun with an older one ends with it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from contract.progress import Progress
from service.settings import Settings
from tests.service.house import builder, ended, make_index, running, settings_in
from tests.service.test_api import ORDER, PLAY, problem


def order(client: TestClient, name: str) -> dict[str, Any]:
    job: dict[str, Any] = client.post("/v1/transfer-sets", json=ORDER | {"name": name}).json()
    return job


def test_a_plain_name_is_the_newest_version_and_another_is_asked_for_by_its_number(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    with running(settings) as client:
        first = client.post("/v1/neighbours", json=PLAY).json()
        make_index(settings.store, "web", 2)
        second = client.post("/v1/neighbours", json=PLAY).json()
        assert first["index_id"] != second["index_id"]
        assert (second["index"], client.get("/v1/indexes/web").json()["version"]) == ("web", 2)
        pinned = client.post("/v1/neighbours", json=PLAY | {"index": "web@1"}).json()
        assert (pinned["index"], pinned["utterances"]) == ("web@1", first["utterances"])
        assert client.get("/v1/indexes/web@1").json()["versions"] == [1, 2]
        assert [item["name"] for item in client.get("/v1/indexes").json()["items"]] == ["web"]
        problem(client.get("/v1/indexes/web@3"), 404)


def test_a_version_that_arrives_in_the_midst_of_a_job_neither_breaks_nor_changes_it(tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait_first(settings: Settings, name: str, request: Any, progress: Progress, restart: bool) -> Any:
        began.set()
        assert go_on.wait(20)
        return builder(settings, name, request, progress, restart)

    settings = settings_in(tmp_path)
    with running(settings, wait_first) as client:
        early, queued = order(client, "early"), order(client, "queued")
        assert began.wait(20)
        make_index(settings.store, "web", 2)
        late = order(client, "late")
        go_on.set()
        assert [ended(client, each["id"])["state"] for each in (early, queued, late)] == ["finished"] * 3
        ids = [
            client.get(f"/v1/transfer-sets/{name}").json()["inputs"]["index"] for name in ("early", "queued", "late")
        ]
    assert [each["index"] for each in (early, queued, late)] == ["web@1", "web@1", "web@2"]
    assert ids[0] == ids[1] != ids[2]
