"""Hostile requests by the hundred. Apart from the other API tests: hypothesis objects to a worker drawing numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.service.house import running, settings_in

FIELDS = ["index", "utterances", "k", "retriever", "seed", "name", "task", "policy", "columns", "size_of", "text", "id"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["web", "music", "../../etc", "\0", "\ud800", "random", "lexical", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(settings_in(tmp_path_factory.mktemp("service"), workers=0)) as client:
        yield client


def is_answered(response: Any) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["/v1/neighbours", "/v1/transfer-sets"]), VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES)
)
def test_no_body_whatever_brings_the_server_down(client: TestClient, path: str, body: Any) -> None:
    content = json.dumps(body).encode()  # NaN and halves of surrogate pairs included
    is_answered(client.post(path, content=content, headers={"content-type": "application/json"}))


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from(["application/json", "multipart/form-data; boundary=b", "text/csv", ""])
)
def test_no_bytes_whatever_bring_the_server_down(client: TestClient, content: bytes, kind: str) -> None:
    for path in ("/v1/neighbours", "/v1/tasks"):
        is_answered(client.post(path, content=content, headers={"content-type": kind}))


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=12), st.text(st.characters(codec="utf-8"), max_size=12))
def test_no_name_or_token_whatever_brings_the_server_down(client: TestClient, name: str, token: str) -> None:
    from urllib.parse import quote

    for path in ("indexes", "tasks", "transfer-sets", "jobs"):
        is_answered(client.get(f"/v1/{path}/{quote(name, safe='')}"))
        is_answered(client.get(f"/v1/{path}", params={"page_token": token}))


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["parquet", "jsonl", "csv", "tsv", "txt", "jsonl.gz", "csv.zst"]),
    st.binary(max_size=100) | st.sampled_from([b"PAR1", b"\x1f\x8b", b"text\n", b'{"text": "a"}\n', b"(\xb5/\xfd"]),
)
def test_no_upload_whatever_brings_the_server_down(client: TestClient, ending: str, content: bytes) -> None:
    is_answered(client.post("/v1/tasks", data={"name": "up"}, files={"file": (f"t.{ending}", content)}))
