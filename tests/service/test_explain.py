"""POST /v1/neighbours:explain: its limits, its task, and that it needs no more than a key that reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.forms import Neighbours
from service.keys import KeyRing
from service.routes import explain
from service.routes.explain import Explanation
from tests.service.house import running, settings_in
from tests.service.test_api import PLAY, problem

ASK = PLAY | {"k": 20}
EXPLAIN = "/v1/neighbours:explain"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = settings_in(tmp_path_factory.mktemp("explain"), workers=0)
    with running(settings) as client:
        yield client


def test_it_finds_what_neighbours_finds_and_says_more(client: TestClient) -> None:
    answer = client.post(EXPLAIN, json=ASK)
    told = Explanation.model_validate_json(answer.content, strict=True).model_dump()
    plain = client.post("/v1/neighbours", json=ASK).json()
    for utterance in told["utterances"]:
        for neighbour in utterance["neighbours"]:
            assert neighbour.pop("why")
            for more in ("kept", "reason", "n_words"):
                neighbour.pop(more)
    assert told.pop("heldout_texts") == 0
    assert told == Neighbours.model_validate(plain).model_dump()


def test_with_diversity_it_tells_of_the_whole_pool(client: TestClient) -> None:
    answer = client.post(EXPLAIN, json=ASK | {"k": 5, "policy": {"diversity": 0.5, "pool": 30}}).json()
    neighbours = answer["utterances"][0]["neighbours"]
    assert len(neighbours) == 30
    assert sum(n["kept"] for n in neighbours) == 5
    assert any("diversity is 0.5" in n["why"] for n in neighbours if n["reason"] == "diversity")


def test_with_a_task_what_is_near_its_held_out_text_is_a_leak(client: TestClient, tmp_path: Path) -> None:
    passage = client.post("/v1/neighbours", json=PLAY).json()["utterances"][0]["neighbours"][0]["text"]
    lines = [{"text": "something else", "intent": "a"}, {"text": passage, "intent": "a", "split": "test"}]
    content = "\n".join(map(json.dumps, lines)).encode()
    assert client.post("/v1/tasks", files={"file": ("t.jsonl", content)}, data={"name": "leaky"}).status_code == 201

    def reason(**given: Any) -> str | None:
        answer = client.post(EXPLAIN, json=ASK | {"task": "leaky"} | given).json()
        (utterance,) = answer["utterances"]
        return next(n["reason"] for n in utterance["neighbours"] if n["text"] == passage)  # type: ignore[no-any-return]

    assert reason() == "heldout_exact"
    assert reason(heldout_splits=[]) is None
    assert reason(split="test") is None  # then train is what is held out


@pytest.mark.parametrize(
    ("change", "field", "status"),
    [
        ({"utterances": ["a b"] * 65}, "utterances", 422),
        ({"k": 1001}, "k", 422),
        ({"k": 0}, "k", 422),
        ({"utterances": ["a " * 5001]}, "utterances.0.text", 422),
        ({"policy": {"min_words": -1}}, "policy.min_words", 422),
        ({"policy": {"min_words": 9, "max_words": 3}}, "policy", 422),
        ({"policy": {"wrong": 1}}, "policy.wrong", 422),
        ({"policy": {"heldout": {"cosine": 0.9}}}, "policy.heldout.cosine", 422),
        ({"task": "nothing"}, "task", 404),
        ({"task": "../music"}, "task", 422),
        ({"task": "music", "split": "none"}, "split", 422),
        ({"task": "music", "heldout_splits": ["none"]}, "heldout_splits", 422),
        ({"retriever": "dense"}, None, 422),
        ({"policy": {"per_class": True}}, "policy.per_class", 422),
        ({"policy": {"diversity": 0.5}, "retriever": "random"}, "policy.diversity", 422),
        ({"policy": {"diversity": 0.5, "pool": 1001}}, "policy.pool", 422),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(
    client: TestClient, change: dict[str, Any], field: str | None, status: int
) -> None:
    problem(client.post(EXPLAIN, json=ASK | change), status, field=field)


def test_a_task_too_large_to_look_at_now_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "MOST_TASK_ROWS", 5)
    problem(client.post(EXPLAIN, json=ASK | {"task": "music"}), 422, "at most 5 rows", field="task", limit=5)


def test_of_too_many_at_once_some_are_sent_away(client: TestClient) -> None:
    taken = [explain._places.acquire(blocking=False) for _ in range(explain.AT_ONCE)]
    try:
        assert all(taken)
        refused = client.post(EXPLAIN, json=ASK)
    finally:
        for _ in taken:
            explain._places.release()
    problem(refused, 429, limit=explain.AT_ONCE)
    assert refused.headers["retry-after"] == "1"
    assert client.post(EXPLAIN, json=ASK).status_code == 200


def test_a_key_that_may_only_read_may_explain(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    _, secret = KeyRing(settings.keys_file).create("ann", "read")
    with running(settings) as client:
        assert client.post(EXPLAIN, json=ASK).status_code == 401
        assert client.post(EXPLAIN, json=ASK, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
