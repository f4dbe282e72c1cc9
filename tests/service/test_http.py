"""What HTTP itself asks for: addresses that mean one thing, headers that are no URLs, entity tags, ranges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from service.admission import _netloc
from tests.service.house import ended, running, settings_in
from tests.service.test_api import problem

SHARD = "/v1/transfer-sets/made/shards/0"
MANIFEST = "/v1/transfer-sets/made/manifest"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(settings_in(tmp_path_factory.mktemp("service"))) as client:
        job = client.post("/v1/transfer-sets", json={"name": "made", "index": "web", "task": "music", "k": 2}).json()
        assert ended(client, job["id"])["state"] == "finished"
        yield client


@pytest.mark.parametrize("path", [SHARD, MANIFEST])
def test_what_the_client_has_is_not_sent_again(client: TestClient, path: str) -> None:
    etag = client.get(path).headers["etag"]
    for named in (etag, f"W/{etag}", f'"other", {etag}', f'{etag},"other"', "*", " * "):
        again = client.get(path, headers={"If-None-Match": named})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for named in ('"other"', etag[:-2] + '"', f"x{etag}", "", etag.strip('"')):
        assert client.get(path, headers={"If-None-Match": named}).status_code == 200


@pytest.mark.parametrize("unit", ["rows=0-3", "items=0-", "bytes", "", "seconds=1-2, bytes=0-1"])
def test_a_range_in_a_unit_nobody_knows_is_as_none(client: TestClient, unit: str) -> None:
    whole = client.get(SHARD)
    found = client.get(SHARD, headers={"Range": unit})
    assert (found.status_code, found.content) == (200, whole.content)


def test_a_part_is_sent_of_the_file_that_was_meant_and_of_no_other(client: TestClient) -> None:
    whole = client.get(SHARD)
    part = client.get(SHARD, headers={"Range": "bytes=4-9", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    assert part.headers["content-range"] == f"bytes 4-9/{len(whole.content)}"
    other = client.get(SHARD, headers={"Range": "bytes=4-9", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    beyond = client.get(SHARD, headers={"Range": f"bytes={len(whole.content)}-"})
    problem(beyond, 416)
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"


@pytest.mark.parametrize("number", ["-1", "4294967296", "9" * 4000, "1e0", "٣"])
def test_a_shards_number_is_a_number_of_some_size(client: TestClient, number: str) -> None:
    found = problem(client.get(f"/v1/transfer-sets/made/shards/{number}"), 422, field="number")
    assert len(found["detail"]) < 300


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/indexes/web/", "/livez/", "//v1/jobs", "/V1/jobs"])
def test_another_address_is_not_led_to_ours(client: TestClient, path: str) -> None:
    """The address to go to would be made of the Host that a client sends."""
    answer = client.get(f"http://127.0.0.1{path}", follow_redirects=False)
    assert answer.status_code in (404, 422)
    assert "location" not in answer.headers


@pytest.mark.parametrize("origin", ["http://[::1", "http://[", "null", "http://evil.example", "127.0.0.1", "//"])
def test_an_origin_that_is_not_ours_is_refused_whatever_it_is(client: TestClient, origin: str) -> None:
    problem(client.get("/v1/jobs", headers={"Origin": origin}), 403, type="urn:transferset:origin")


def test_an_origin_that_is_no_url_has_no_place() -> None:
    assert (_netloc("http://[::1"), _netloc("http://localhost:8000")) == (None, "localhost:8000")


def test_a_file_that_comes_as_a_field_is_refused_in_plain_words(client: TestClient) -> None:
    answer = client.post("/v1/tasks", data={"name": "up", "file": '{"text": "a"}'})
    problem(answer, 422, "expected a file, with a file name", field="file")


def test_a_number_in_the_address_is_said_as_it_is(client: TestClient) -> None:
    problem(client.get("/v1/jobs", params={"limit": 201}), 422, "found 201", field="limit", limit=200, found=201)


@pytest.mark.parametrize("split", ["", "x" * 201])
def test_what_is_too_long_for_a_name_is_refused_before_it_is_repeated(client: TestClient, split: str) -> None:
    order = {"name": "n", "index": "web", "task": "music", "split": split}
    found = problem(client.post("/v1/transfer-sets", json=order), 422, field="split")
    assert split * 2 not in found["detail"] or not split
