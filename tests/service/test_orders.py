"""Orders: what can be seen to be wrong is refused at once, with its field; and the rows of what is built."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from contract.draft import Plan, drafting
from service.forms import Example
from service.settings import Settings
from service.transfer_set import build_transfer_set, read_request
from tests.service.house import ended, opener, running, settings_in, task_lines
from tests.service.test_api import ORDER, PLAY, problem, upload


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("service"), max_k=500)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


def order(client: TestClient, **change: Any) -> Any:
    return client.post("/v1/transfer-sets", json=ORDER | {"name": "never"} | change)


@pytest.mark.parametrize(
    ("change", "status", "field", "says"),
    [
        ({"task": "none"}, 404, "task", "There is no task none"),
        ({"index": "none"}, 404, "index", "There is no index at indexes/none"),
        ({"index": "web@2"}, 404, "index", "There is no index at indexes/web@2"),
        ({"index": "web@0"}, 422, "index", "names are not paths"),
        ({"index": "web@1@1"}, 422, "index", "names are not paths"),
        ({"index": "../web@1"}, 422, "index", "names are not paths"),
        ({"size_of": "none"}, 404, "size_of", "There is no transfer-set"),
        ({"split": "valid"}, 422, "split", "no rows of split 'valid'; it has test, train"),
        ({"heldout_splits": ["test", "dev"]}, 422, "heldout_splits", "no rows of split 'dev'"),
        ({"target": "domain"}, 422, "target", "no domain column with values; it has intent"),
        ({"columns": {"text": "nothing"}}, 422, "columns", "no column 'nothing'"),
        ({"columns": {"nonsense": "text"}}, 422, "columns", "a task has no column 'nonsense'"),
        ({"retriever": "dense"}, 422, "retriever", "has no dense retriever; it has lexical, random"),
        ({"policy": {"heldout": {"cosine": 0.9}}}, 422, "policy.heldout.cosine", "an index with an encoder"),
        ({"k": 0}, 422, "k", "found 0"),
        ({"k": 501}, 422, "k", "expected at most 500 neighbours"),
        ({"k": 200, "policy": {"diversity": 0.5}}, 422, "policy.pool", "found 600"),
        ({"k": 200, "rounds": 3}, 422, "rounds", "found 600"),
        ({"rounds": 4}, 422, "rounds", "found 4"),
        ({"policy": {"pool": 9}}, 422, "policy", "expected a diversity to choose out of a pool"),
        ({"policy": {"diversity": 2}}, 422, "policy.diversity", "less than or equal to 1"),
        ({"policy": {"diversity": 0.5}, "retriever": "random"}, 422, "retriever", "a retriever that ranks passages"),
        ({"rounds": 2, "retriever": "augmented"}, 422, "retriever", "a retriever that ranks passages"),
    ],
)
def test_an_order_that_cannot_be_is_refused_at_once_with_its_field(
    client: TestClient, change: dict[str, Any], status: int, field: str, says: str
) -> None:
    before = len(client.get("/v1/jobs?limit=200").json()["items"])
    problem(order(client, **change), status, says, field=field)
    assert len(client.get("/v1/jobs?limit=200").json()["items"]) == before


def test_a_diverse_even_set_of_two_rounds_is_built_over_http_as_by_hand(client: TestClient, settings: Settings) -> None:
    given = {"k": 4, "rounds": 2, "askers": 2, "policy": {"diversity": 0.5, "pool": 9, "per_class": True}}
    assert ended(client, order(client, name="even", **given).json()["id"])["state"] == "finished"
    found = client.get("/v1/transfer-sets/even").json()
    asked = {"task": settings.tasks_folder / "music.jsonl", "index": "web", **given}
    by_hand = build_transfer_set(settings.store, "by-hand", read_request(asked), opener=opener)
    assert found["id"] == by_hand.id
    assert found["params"]["rounds"] == 2
    assert found["counts"]["neighbours"]["dropped"]["diversity"] > 0


def test_classes_that_a_task_has_not_are_missed_at_the_order(client: TestClient) -> None:
    content = b'{"text": "play"}\n{"text": "stop it", "split": "test"}\n'
    assert upload(client, "bare", content).status_code == 201
    refused = order(client, task="bare", policy={"per_class": True})
    problem(refused, 422, "has no intent, label or domain column with values", field="target")


def test_a_task_with_bad_rows_is_refused_with_the_row_unless_they_may_be_left_out(client: TestClient) -> None:
    content = task_lines() + b'{"text": 7}\n'
    assert upload(client, "holes", content, skip_bad_rows="true").status_code == 201
    refused = order(client, task="holes", columns={"label": "intent"})
    problem(refused, 422, "row 17", field="columns", row=17)
    problem(order(client, task="holes"), 422, "row 17", field="task", row=17)
    assert order(client, name="no-holes", task="holes", skip_bad_rows=True).status_code == 202
    (bad,) = client.get("/v1/tasks/holes/errors").json()["items"]
    assert (bad["file"], bad["row"], bad["column"]) == ("holes.jsonl", 17, "text")
    assert client.get("/v1/tasks/music/errors").json()["items"] == []


def test_a_name_that_is_finished_or_half_built_otherwise_is_taken(client: TestClient, settings: Settings) -> None:
    done = order(client, name="taken").json()
    ended(client, done["id"])
    problem(order(client, name="taken", k=6), 409, "is finished with other settings", field="name")
    problem(order(client, name="taken", k=6, restart=True), 409, "is finished with other settings", field="name")
    with drafting(settings.store.path("transfer-set", "half"), Plan("transfer-set", 1, {"k": 1})):
        pass
    problem(order(client, name="half"), 409, "is half built with other settings", field="name")
    again = order(client, name="half", restart=True).json()
    assert ended(client, again["id"])["state"] == "finished"


def test_hybrid_beyond_what_the_index_fuses_is_refused_at_once(client: TestClient, settings: Settings) -> None:
    plan = Plan("index", 1, {"retrievers": ["lexical"], "fusion_depth": 50})
    with drafting(settings.store.path("index", "shallow"), plan) as draft:
        draft.finish()
    assert order(client, name="lexical-is-deep", index="shallow", k=60).status_code == 202


def test_no_more_jobs_are_taken_than_the_service_is_to_hold(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, workers=0, max_jobs=2)) as client:
        taken = [order(client, name=name) for name in "ab"]
        refused = order(client, name="c")
        problem(refused, 429, "2 jobs are queued or running", limit=2, found=2)
        assert refused.headers["retry-after"]
        client.post(f"/v1/jobs/{taken[0].json()['id']}:cancel")
        assert order(client, name="c").status_code == 202


def test_a_disk_that_is_nearly_full_takes_neither_orders_nor_uploads(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, workers=0, min_free_bytes=2**62)) as client:
        problem(order(client), 507, "bytes free", limit=2**62, type="urn:transferset:no-space")
        problem(upload(client), 507, "bytes free", limit=2**62)
        assert client.post("/v1/neighbours", json=PLAY).status_code == 200


def test_an_idempotency_key_gives_the_first_answer_though_the_order_could_no_longer_be_made(
    client: TestClient, settings: Settings
) -> None:
    (settings.tasks_folder / "passing.jsonl").write_bytes(task_lines())
    body = ORDER | {"name": "passing", "task": "passing"}
    first = client.post("/v1/transfer-sets", json=body, headers={"Idempotency-Key": "p"}).json()
    ended(client, first["id"])
    (settings.tasks_folder / "passing.jsonl").unlink()
    again = client.post("/v1/transfer-sets", json=body, headers={"Idempotency-Key": "p"})
    assert (again.status_code, again.json()["id"]) == (202, first["id"])


# Rows


def test_the_pages_of_rows_together_are_the_shards_rows(client: TestClient) -> None:
    ended(client, order(client, name="paged").json()["id"])
    seen, token = [], None
    while True:
        query = {"limit": 5} | ({"page_token": token} if token else {})
        page = client.get("/v1/transfer-sets/paged/rows", params=query).json()
        seen += page["items"]
        token = page["next_page_token"]
        if token is None:
            break
    shard = client.get("/v1/transfer-sets/paged/shards/0").content
    assert seen == pq.read_table(io.BytesIO(shard)).to_pylist()
    assert len(seen) == 12
    for row in seen:
        Example.model_validate(row, strict=True)


def test_a_token_of_another_set_or_of_nobody_is_refused(client: TestClient) -> None:
    for name in ("rows-a", "rows-b"):
        ended(client, order(client, name=name, k=3 if name == "rows-a" else 4).json()["id"])
    token = client.get("/v1/transfer-sets/rows-a/rows?limit=5").json()["next_page_token"]
    problem(client.get(f"/v1/transfer-sets/rows-b/rows?page_token={token}"), 422, "another transfer set")
    for odd in ("zzz", "WzEsMl0", ""):
        problem(client.get(f"/v1/transfer-sets/rows-a/rows?page_token={odd}"), 422, field="page_token")
    problem(client.get("/v1/transfer-sets/rows-a/rows?limit=0"), 422, field="limit", limit=1, found=0)
    problem(client.get("/v1/transfer-sets/none/rows"), 404)


def test_rows_of_a_shard_that_was_changed_are_never_shown(client: TestClient, settings: Settings) -> None:
    ended(client, order(client, name="rotten-rows", k=2).json()["id"])
    assert client.get("/v1/transfer-sets/rotten-rows/rows").status_code == 200
    path = settings.store.path("transfer-set", "rotten-rows") / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    problem(client.get("/v1/transfer-sets/rotten-rows/rows"), 500, "does not match the sha256")


# The page of the document


def test_the_docs_load_nothing_from_elsewhere_and_run_no_script_of_anyone_else(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("https://", "http://").replace("<html", "")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f"docs/{asset}" in page.text
        assert client.get(f"/docs/{asset}").status_code == 200
    problem(client.get("/docs/..%2fcore.py"), 404)
    problem(client.get("/docs/redoc.standalone.js"), 404)


def test_the_document_draws_the_states_of_a_job(client: TestClient) -> None:
    tags = {tag["name"]: tag["description"] for tag in client.get("/openapi.json").json()["tags"]}
    assert "queued ──> running ──> finished" in tags["jobs"]
