"""The HTTP API: every route, every limit, and what hostile requests get: a problem document, never a traceback."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from contract.draft import Plan, drafting
from contract.manifest import hash_file
from contract.schemas import TRANSFER_SET
from jobs.jobs import Jobs
from service.api import create_app
from service.orders import resolve
from service.settings import Settings
from service.transfer_set import build_transfer_set
from tests.service.house import builder, ended, folder_of, opener, running, settings_in, task_lines

ORDER = {"name": "made", "index": "web", "task": "music", "k": 5}
PLAY = {"index": "web", "utterances": ["play some jazz"], "k": 3}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.fixture(scope="module")
def made(client: TestClient) -> str:
    """The name of a finished transfer set."""
    job = client.post("/v1/transfer-sets", json=ORDER)
    assert ended(client, job.json()["id"])["state"] == "finished"
    return "made"


def problem(response: Any, status: int, says: str = "", **expected: Any) -> dict[str, Any]:
    """The response as the problem document it must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance"} <= document.keys()
    assert document["status"] == status
    assert document["type"].startswith("urn:transferset:")
    assert says in document["detail"], document["detail"]
    assert "Traceback" not in response.text
    assert {key: document.get(key) for key in expected} == expected
    return document


# Neighbours


def test_utterances_come_back_in_their_order_with_their_neighbours_best_first(client: TestClient) -> None:
    asked = ["play some jazz", {"id": "mine", "text": "book a table for two"}]
    found = client.post("/v1/neighbours", json={"index": "web", "utterances": asked, "k": 4}).json()
    assert (found["index"], found["retriever"], found["k"]) == ("web", "lexical", 4)
    assert [(u["id"], u["text"]) for u in found["utterances"]] == [("0", asked[0]), ("mine", "book a table for two")]
    for utterance in found["utterances"]:
        assert [n["rank"] for n in utterance["neighbours"]] == [0, 1, 2, 3]
        scores = [n["score"] for n in utterance["neighbours"]]
        assert scores == sorted(scores, reverse=True)
        assert {n["dense_rank"] for n in utterance["neighbours"]} == {None}


def test_k_beyond_the_corpus_gives_the_whole_corpus(client: TestClient) -> None:
    found = client.post("/v1/neighbours", json=PLAY | {"k": 1000}).json()
    assert len(found["utterances"][0]["neighbours"]) == 200


def test_the_same_seed_draws_the_same_neighbours(client: TestClient) -> None:
    def draw(seed: int) -> Any:
        return client.post("/v1/neighbours", json=PLAY | {"retriever": "random", "seed": seed}).json()

    assert draw(1) == draw(1) != draw(2)


def test_the_answer_is_what_openapi_says_it_is(client: TestClient) -> None:
    from service.forms import Neighbours

    Neighbours.model_validate_json(client.post("/v1/neighbours", json=PLAY).content, strict=True)


@pytest.mark.parametrize(
    ("change", "field", "limit"),
    [
        ({"utterances": ["a b"] * 1025}, "utterances", 1024),
        ({"k": 1001}, "k", 1000),
        ({"utterances": ["fine", "a " * 5001]}, "utterances.1.text", 10_000),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_the_limit(
    client: TestClient, change: dict[str, Any], field: str, limit: int
) -> None:
    problem(
        client.post("/v1/neighbours", json=PLAY | change),
        422,
        f"at most {limit:,}",
        field=field,
        limit=limit,
        type="urn:transferset:beyond-limit",
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"utterances": []}, "utterances"),
        ({"utterances": "play"}, "utterances"),
        ({"utterances": [3]}, "utterances.0"),
        ({"utterances": [""]}, "utterances.0.text"),
        ({"utterances": [" \t"]}, "utterances.0.text"),
        ({"utterances": [{"id": "a"}]}, "utterances.0.text"),
        ({"utterances": [{"id": "a", "text": "b", "more": 1}]}, "utterances.0.more"),
        ({"k": 0}, "k"),
        ({"k": -1}, "k"),
        ({"k": 1.5}, "k"),
        ({"k": "ten"}, "k"),
        ({"k": 10**400}, "k"),
        ({"seed": -1}, "seed"),
        ({"retriever": "psychic"}, "retriever"),
        ({"unknown": 1}, "unknown"),
        ({"index": None}, "index"),
        ({"index": "../../etc"}, "index"),
        ({"index": "a\0b"}, "index"),
    ],
)
def test_a_field_that_is_not_as_expected_is_named(client: TestClient, change: dict[str, Any], field: str) -> None:
    problem(client.post("/v1/neighbours", json=PLAY | change), 422, field=field)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 50_000, b"1" * 5000])
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, content: bytes) -> None:
    response = client.post("/v1/neighbours", content=content, headers={"content-type": "application/json"})
    problem(response, response.status_code)
    assert response.status_code in (400, 422)


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused(client: TestClient, kind: str) -> None:
    response = client.post("/v1/neighbours", content=json.dumps(PLAY).encode(), headers={"content-type": kind})
    problem(response, 415, "expected the header Content-Type: application/json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"index": "web", "k": 3, "utterances": ["a"], "k": 4}', "the key 'k' stands twice in one object"),
        (b'{"index": "web", "utterances": [{"text": "a", "text": "b"}]}', "the key 'text' stands twice"),
        (b'{"index": "web", "utterances": ["a"], "k": NaN}', "JSON has no number NaN"),
        (b'{"index": "web", "utterances": ["a"], "k": -Infinity}', "JSON has no number -Infinity"),
        (b'{"index": "web", "utterances": ["a"], "k": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"index": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"index": "web", "utterances": ["\xe9"]}', "not UTF-8"),
        (b'{"index": "web" "utterances": []}', "Expecting ',' delimiter at character 16"),
    ],
)
def test_json_that_can_be_read_in_two_ways_or_not_at_all_is_refused_and_says_why(
    client: TestClient, content: bytes, says: str
) -> None:
    response = client.post("/v1/neighbours", content=content, headers={"content-type": "application/json"})
    problem(response, 400, says, type="urn:transferset:invalid-json")


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_not(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for text, status in ((rb"\ud83d", 422), (rb"\ud83d\ude00", 200)):
        body = b'{"index": "web", "utterances": ["jazz %s"], "k": 1}' % text
        assert client.post("/v1/neighbours", content=body, headers=headers).status_code == status
    body = rb'{"index": "\ud83d", "utterances": [{"id": "\ud83d", "text": "a"}], "\udc00": 1}'
    problem(client.post("/v1/neighbours", content=body, headers=headers), 422)


def test_nul_in_an_utterance_is_text_like_any_other(client: TestClient) -> None:
    found = client.post("/v1/neighbours", json=PLAY | {"utterances": ["jazz \0 rock"]})
    assert found.json()["utterances"][0]["text"] == "jazz \0 rock"


def test_an_utterance_of_a_million_words_is_refused_by_its_size(client: TestClient) -> None:
    utterance = {"utterances": ["word " * 1_000_000]}
    problem(client.post("/v1/neighbours", json=PLAY | utterance), 413, "100,000 bytes", limit=100_000)


def test_a_body_that_never_says_its_size_is_cut_off_at_the_limit(client: TestClient) -> None:
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while len(sent) < 1000:
            sent.append(1)
            yield b"[" * 10_000

    response = client.post("/v1/neighbours", content=endless(), headers={"content-type": "application/json"})
    problem(response, 413, limit=100_000)


@pytest.mark.parametrize("length", ["99999999999999999999999999", "100001", "1" * 4000])
def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient, length: str) -> None:
    headers = {"content-type": "application/json", "content-length": length}
    problem(client.post("/v1/neighbours", content=b"{}", headers=headers), 413)


def test_an_unknown_index_is_not_found_and_the_folder_is_nobodys_business(
    client: TestClient, settings: Settings
) -> None:
    response = client.post("/v1/neighbours", json=PLAY | {"index": "news"})
    problem(response, 404, "There is no index at indexes/news", type="urn:transferset:not-found")
    assert str(settings.artifacts) not in response.text


# Indexes


def test_indexes_are_listed_and_shown_by_their_manifests(client: TestClient) -> None:
    shown = client.get("/v1/indexes/web").json()
    assert shown in client.get("/v1/indexes").json()["items"]
    assert (shown["kind"], shown["facts"], shown["fault"]) == ("index", {"rows": 200}, None)


def test_an_unfinished_index_is_not_found_and_the_sentence_says_so(client: TestClient, settings: Settings) -> None:
    with drafting(settings.store.path("index", "half"), Plan("index", 1, {})):
        pass
    problem(client.get("/v1/indexes/half"), 404, "indexes/half is not finished")
    problem(client.post("/v1/transfer-sets", json=ORDER | {"name": "x", "index": "half"}), 404, "is not finished")
    assert "half" not in [item["name"] for item in client.get("/v1/indexes").json()["items"]]


def test_a_broken_index_names_its_file_and_does_not_hide_the_others(client: TestClient, settings: Settings) -> None:
    directory = settings.store.path("index", "torn")
    directory.mkdir()
    (directory / "manifest.json").write_text('{"kind": "index"')
    problem(client.get("/v1/indexes/torn"), 500, "indexes/torn/manifest.json", type="urn:transferset:corrupt-artifact")
    listed = {item["name"]: item for item in client.get("/v1/indexes").json()["items"]}
    assert "indexes/torn/manifest.json" in listed["torn"]["fault"]
    assert listed["torn"]["id"] is None
    assert listed["web"]["fault"] is None


@pytest.mark.parametrize(
    "path", ["/v1/indexes/{}", "/v1/tasks/{}", "/v1/transfer-sets/{}", "/v1/transfer-sets/{}/report"]
)
@pytest.mark.parametrize(
    "name", ["..%2f..%2fetc", "%2e%2e", "%00", "%2fetc%2fpasswd", "a%20b", "%ff", "a" * 500, "~root"]
)
def test_a_name_that_could_be_a_path_leads_nowhere(client: TestClient, path: str, name: str) -> None:
    response = client.get(path.format(name))
    problem(response, response.status_code)
    assert response.status_code in (404, 422)


# Tasks


def upload(
    client: TestClient, name: str = "up", content: bytes | None = None, filename: str = "t.jsonl", **form: str
) -> Any:
    content = task_lines() if content is None else content
    return client.post("/v1/tasks", data={"name": name, **form}, files={"file": (filename, content)})


def test_an_uploaded_task_is_there_and_can_be_built_for(client: TestClient) -> None:
    response = upload(client)
    assert (response.status_code, response.headers["location"]) == (201, "/v1/tasks/up")
    assert response.json() == client.get("/v1/tasks/up").json()
    assert response.json()["splits"] == {"test": 4, "train": 12}
    assert {"name": "up", "href": "/v1/tasks/up"} in client.get("/v1/tasks").json()["items"]
    job = client.post("/v1/transfer-sets", json=ORDER | {"name": "of-up", "task": "up"}).json()
    assert ended(client, job["id"])["state"] == "finished"


def test_the_same_upload_again_is_no_new_task_and_another_one_is_in_the_way(client: TestClient) -> None:
    assert upload(client, "twice").status_code == 201
    assert upload(client, "twice").status_code == 200
    problem(upload(client, "twice", b'{"text": "a"}\n'), 409, "other content")


def test_an_uploads_columns_go_into_what_is_built_for_it(client: TestClient) -> None:
    content = task_lines().replace(b'"text"', b'"say"')
    problem(upload(client, "said", content), 422, "no column 'text'")
    assert upload(client, "said", content, columns='{"text": "say"}').json()["columns"] == {"text": "say"}
    job = client.post("/v1/transfer-sets", json=ORDER | {"name": "of-said", "task": "said"}).json()
    assert ended(client, job["id"])["state"] == "finished"


@pytest.mark.parametrize("columns", ["{", "[]", "3", '{"text": 3}', '{"text": null}', "[" * 5000])
def test_columns_that_are_no_names_are_refused(client: TestClient, columns: str) -> None:
    problem(upload(client, "said2", columns=columns), 422, field="columns")


def test_a_bad_row_refuses_the_upload_with_its_place_or_is_counted(client: TestClient) -> None:
    content = task_lines() + b'{"text": 3\n'
    problem(upload(client, "bad", content), 422, "tasks/bad/bad.jsonl, row 17")
    problem(client.get("/v1/tasks/bad"), 404)
    assert upload(client, "bad", content, skip_bad_rows="true").json()["bad_rows"] == 1


def test_an_upload_beyond_the_limit_is_cut_off_and_leaves_nothing(client: TestClient, settings: Settings) -> None:
    before = sorted(settings.tasks_folder.iterdir())
    problem(upload(client, "huge", task_lines() * 300), 413, "200,000 bytes", limit=200_000)
    assert sorted(settings.tasks_folder.iterdir()) == before


@pytest.mark.parametrize("name", ["../../etc", "", "a\0", ".hidden", "a" * 101])
def test_an_upload_to_a_path_is_refused(client: TestClient, name: str) -> None:
    problem(upload(client, name), 422, field="name")


def test_a_form_without_its_file_or_that_is_no_form_is_refused(client: TestClient) -> None:
    problem(client.post("/v1/tasks", data={"name": "a"}), 422, field="file")
    problem(client.post("/v1/tasks", json={"name": "a"}), 422)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post("/v1/tasks", content=b"--x\r\nnonsense", headers=headers), 422)


# Transfer sets


def test_an_order_is_a_job_and_says_where_to_ask_for_it(client: TestClient) -> None:
    response = client.post("/v1/transfer-sets", json=ORDER | {"name": "ordered"})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) >= 1
    assert (job["kind"], job["name"], job["index"]) == ("transfer-set", "ordered", "web@1")
    done = ended(client, job["id"])
    assert done["result"]["id"] == client.get(done["result"]["href"]).json()["id"]


def test_what_is_built_over_http_is_what_the_library_builds(client: TestClient, settings: Settings, made: str) -> None:
    request = resolve(folder_of(settings), {key: value for key, value in ORDER.items() if key != "name"})
    by_hand = build_transfer_set(settings.store, "by-hand", request, opener=opener)
    shown = client.get(f"/v1/transfer-sets/{made}").json()
    assert shown["id"] == by_hand.id
    assert [file["sha256"] for file in shown["files"]] == [entry.sha256 for entry in by_hand.manifest.files]


def test_a_finished_set_ordered_again_is_finished_at_once_and_other_settings_are_in_its_way(
    client: TestClient, made: str
) -> None:
    again = client.post("/v1/transfer-sets", json=ORDER).json()
    assert ended(client, again["id"])["state"] == "finished"
    other = client.post("/v1/transfer-sets", json=ORDER | {"k": 7})
    problem(other, 409, "transfer-sets/made is finished with other settings (params.k is 5 there", field="name")


def test_an_idempotency_key_gives_the_first_answer_again(client: TestClient) -> None:
    def order(**change: Any) -> Any:
        headers = {"Idempotency-Key": "only-once"}
        return client.post("/v1/transfer-sets", json=ORDER | {"name": "once"} | change, headers=headers)

    first = order()
    ended(client, first.json()["id"])
    again = order()
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    problem(order(k=6), 422, first.json()["id"], field="Idempotency-Key")


def test_many_orders_with_one_key_at_once_are_one_job(client: TestClient) -> None:
    def order(_: int) -> Any:
        body, headers = ORDER | {"name": "crowd"}, {"Idempotency-Key": "crowd"}
        return client.post("/v1/transfer-sets", json=body, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(order, range(16)))
    taken = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.json()["id"] for answer in [*taken, order(16)]}) == 1
    for answer in answers:
        if answer not in taken:  # it came while the first one was looked at
            problem(answer, 409, type="urn:transferset:in-flight", field="Idempotency-Key")
            assert answer.headers["retry-after"] == "1"


def test_many_different_orders_with_one_key_at_once_are_one_job_and_the_others_are_refused(client: TestClient) -> None:
    def order(number: int) -> Any:
        body, headers = ORDER | {"name": f"differs-{number}"}, {"Idempotency-Key": "differs"}
        return client.post("/v1/transfer-sets", json=body, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(order, range(8)))
    assert [answer.status_code for answer in answers].count(202) == 1
    assert {answer.status_code for answer in answers} <= {202, 409, 422}
    again = [order(number).status_code for number in range(8)]
    assert sorted(again) == [202] + [422] * 7


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    headers = {"Idempotency-Key": key}
    problem(client.post("/v1/transfer-sets", json=ORDER, headers=headers), 422, field="idempotency-key")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"task": "unknown"}, 404, "There is no task unknown; there are: "),
        ({"index": "unknown"}, 404, "There is no index at indexes/unknown"),
        ({"size_of": "unknown"}, 404, "There is no transfer-set at transfer-sets/unknown"),
        ({"task": "../../etc/passwd"}, 422, "names are not paths"),
        ({"task": "/etc/passwd"}, 422, "names are not paths"),
        ({"task": "music\0"}, 422, "names are not paths"),
        ({"name": "../made"}, 422, "names are not paths"),
        ({"index": "..", "name": "x"}, 422, "names are not paths"),
        ({"size_of": "a/b"}, 422, "names are not paths"),
        ({"columns": {"text": "a\0b"}}, 422, "NUL"),
        ({"split": "tr\0ain"}, 422, "NUL"),
        ({"k": 1001}, 422, "k: "),
        ({"shots": 0}, 422, "shots: "),
        ({"index": None}, 422, "name of an index"),
        ({"policy": {"max_uses": 0}}, 422, "policy.max_uses: "),
        ({"policy": {"nonsense": 0}}, 422, "policy.nonsense: "),
        ({"artifacts": "/etc"}, 422, "artifacts: "),
    ],
)
def test_an_order_that_cannot_be_is_refused_at_once(
    client: TestClient, change: dict[str, Any], status: int, says: str
) -> None:
    before = len(client.get("/v1/jobs?limit=200").json()["items"])
    problem(client.post("/v1/transfer-sets", json=ORDER | {"name": "never"} | change), status, says)
    assert len(client.get("/v1/jobs?limit=200").json()["items"]) == before


def test_half_a_surrogate_pair_in_an_order_is_refused(client: TestClient) -> None:
    body = rb'{"name": "x", "index": "web", "task": "music", "split": "\ud800"}'
    problem(client.post("/v1/transfer-sets", content=body, headers={"content-type": "application/json"}), 422)


def test_what_only_the_build_can_know_fails_the_job_with_a_sentence(client: TestClient) -> None:
    nothing_fits = {"name": "nothing", "include_utterance": False, "policy": {"min_words": 900}}
    job = client.post("/v1/transfer-sets", json=ORDER | nothing_fits).json()
    failed = ended(client, job["id"])
    assert (failed["state"], failed["error"]["status"]) == ("failed", 422)
    assert "The policy leaves no text at all" in failed["error"]["detail"]
    problem(client.get("/v1/transfer-sets/nothing"), 404)


def test_a_report_counts_and_measures_and_shows_no_text(client: TestClient, made: str) -> None:
    report = client.get(f"/v1/transfer-sets/{made}/report").json()
    assert (report["name"], report["rows"]) == (made, 12)
    assert "jazz" not in json.dumps(report)


# Shards


def test_a_shard_comes_whole_with_its_hash_as_etag(client: TestClient, made: str, tmp_path: Path) -> None:
    (shard,) = client.get(f"/v1/transfer-sets/{made}/shards").json()["items"]
    response = client.get(shard["href"])
    (tmp_path / "shard.parquet").write_bytes(response.content)
    assert response.headers["etag"] == f'"{shard["sha256"]}"'
    assert hash_file(tmp_path / "shard.parquet") == shard["sha256"]
    assert pq.read_schema(tmp_path / "shard.parquet").equals(TRANSFER_SET)
    assert len(response.content) == shard["bytes"] == int(response.headers["content-length"])


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-5", 5, 6)],
)
def test_a_range_is_that_part_of_the_whole(
    client: TestClient, made: str, asked: str, first: int, last: int | None
) -> None:
    whole = client.get(f"/v1/transfer-sets/{made}/shards/0").content
    part = client.get(f"/v1/transfer-sets/{made}/shards/0", headers={"Range": asked})
    assert (part.status_code, part.content) == (206, whole[first:last])


def test_a_download_that_broke_off_goes_on_only_with_the_same_file(client: TestClient, made: str) -> None:
    etag = client.head(f"/v1/transfer-sets/{made}/shards/0").headers["etag"]
    for known, status in ((etag, 206), ('"another"', 200)):
        headers = {"Range": "bytes=5-", "If-Range": known}
        assert client.get(f"/v1/transfer-sets/{made}/shards/0", headers=headers).status_code == status


def test_a_shard_one_has_is_not_sent_again(client: TestClient, made: str) -> None:
    etag = client.get(f"/v1/transfer-sets/{made}/shards/0").headers["etag"]
    again = client.get(f"/v1/transfer-sets/{made}/shards/0", headers={"If-None-Match": f'"x", {etag}'})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(("asked", "status"), [("bytes=99999999-", 416), ("bytes=abc", 400), ("bytes=9-1", 400)])
def test_a_range_that_is_none_is_a_problem(client: TestClient, made: str, asked: str, status: int) -> None:
    problem(client.get(f"/v1/transfer-sets/{made}/shards/0", headers={"Range": asked}), status)


@pytest.mark.parametrize(("number", "status"), [("1", 404), ("-1", 422), ("x", 422), ("9" * 30, 422)])
def test_a_shard_that_is_not_there_is_a_problem(client: TestClient, made: str, number: str, status: int) -> None:
    problem(client.get(f"/v1/transfer-sets/{made}/shards/{number}"), status)


def test_a_shard_that_was_changed_is_never_sent(client: TestClient, settings: Settings) -> None:
    job = client.post("/v1/transfer-sets", json=ORDER | {"name": "rotten"}).json()
    assert ended(client, job["id"])["state"] == "finished"
    path = settings.store.path("transfer-set", "rotten") / "part-00000.parquet"
    assert client.get("/v1/transfer-sets/rotten/shards/0").status_code == 200
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    problem(
        client.get("/v1/transfer-sets/rotten/shards/0"), 500, "transfer-sets/rotten/part-00000.parquet does not match"
    )
    path.unlink()
    problem(client.get("/v1/transfer-sets/rotten/shards/0"), 500, "part-00000.parquet is missing")


# Jobs


def test_jobs_page_through_all_of_them_newest_first(client: TestClient, made: str) -> None:
    seen: list[dict[str, Any]] = []
    token = None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2} | ({"page_token": token} if token else {})).json()
        seen += page["items"]
        # What is submitted meanwhile shifts nothing.
        client.post("/v1/transfer-sets", json=ORDER | {"name": f"late-{len(seen)}"})
        token = page["next_page_token"]
        if token is None:
            break
    ids = [job["id"] for job in seen]
    assert len(ids) == len(set(ids)) >= 1
    assert [job["queued_at"] for job in seen] == sorted((job["queued_at"] for job in seen), reverse=True)


@pytest.mark.parametrize(
    "query", ["page_token=zzz", "page_token=", "limit=0", "limit=201", "limit=x", "page_token=WzEsMl0"]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/indexes", "/v1/tasks", "/v1/transfer-sets"])
def test_a_page_that_is_none_is_a_problem(client: TestClient, path: str, query: str) -> None:
    problem(client.get(f"{path}?{query}"), 422)


def test_a_finished_job_is_in_the_way_of_cancelling_it(client: TestClient, made: str) -> None:
    job = client.post("/v1/transfer-sets", json=ORDER).json()
    ended(client, job["id"])
    problem(client.post(f"/v1/jobs/{job['id']}:cancel"), 409, "is finished")


def test_a_job_that_is_not_there_is_not_found(client: TestClient) -> None:
    problem(client.get("/v1/jobs/job-0"), 404, "There is no job 'job-0'")
    problem(client.post("/v1/jobs/job-0:cancel"), 404)
    problem(client.post("/v1/jobs/job-0:explode"), 405)


# Health, and what holds for all


def test_a_server_that_is_up_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_server_whose_database_is_away_is_alive_and_not_ready(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("secret"))

    for asked in ("check", "newest", "get"):
        monkeypatch.setattr(Jobs, asked, away)
    assert client.get("/livez").status_code == 200
    for path in ("/readyz", "/v1/jobs", "/v1/jobs/job-0"):
        response = client.get(path)
        problem(response, 503, "database does not answer")
        assert response.headers["retry-after"]
        assert "secret" not in response.text + caplog.text


def test_a_server_whose_artifacts_are_gone_is_not_ready(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, workers=0)
    with running(settings) as client:
        settings.artifacts.rename(tmp_path / "moved")
        assert client.get("/readyz").status_code == 503


def test_what_nobody_foresaw_is_a_problem_and_the_log_has_the_place_and_no_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import service.searches

    def fail(*_: object, **__: object) -> None:
        raise ValueError("play some jazz")

    monkeypatch.setattr(service.searches, "neighbours_of", fail)
    with caplog.at_level(logging.DEBUG):
        problem(client.post("/v1/neighbours", json=PLAY), 500, "failed inside")
    assert "/v1/neighbours failed inside: ValueError at test_api.py:" in caplog.text
    assert "jazz" not in caplog.text


def test_the_log_has_a_line_for_a_request_and_no_text_or_name_of_it(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="transferset"):
        client.post("/v1/neighbours", json=PLAY)
        client.get("/v1/indexes/my-private-name")
        client.get("/my-private-path")
    lines = [record.getMessage() for record in caplog.records if record.name == "transferset.http"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "POST /v1/neighbours 200",
        "GET /v1/indexes/{name} 404",
        "GET no route 404",
    ]
    assert "jazz" not in caplog.text
    assert "private" not in caplog.text


def test_probes_are_not_worth_a_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="transferset"):
        client.get("/livez")
        client.get("/readyz")
    assert not [record for record in caplog.records if record.name == "transferset.http"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("PUT", "/livez", 405), ("GET", "/v1", 404)]
)
def test_an_address_that_is_none_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    problem(client.request(method, path), status, "This address" if status == 405 else "/docs")


def test_openapi_says_what_every_route_is_for_and_how_it_fails(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    assert len(operations) > 40
    for path, operation in operations:
        assert operation["summary"]
        if path.startswith("/v1"):
            assert {"404", "413", "422", "500"} <= operation["responses"].keys()
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, status)
    assert client.get("/docs").status_code == 200


def test_every_example_in_openapi_runs(client: TestClient) -> None:
    """In the order of the document: a task is uploaded before a set is built for it."""
    document = client.get("/openapi.json").json()
    assert upload(client, "clinc150").status_code == 201
    posted = set()
    for path, methods in document["paths"].items():
        body = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in body.get("application/json", {}).get("examples", {}).items():
            response = client.post(path, json=example["value"])
            assert response.status_code in (200, 202), (name, response.text)
            posted.add(path)
            if response.status_code == 202:
                assert ended(client, response.json()["id"])["state"] == "finished", name
    bodies = {path for path, methods in document["paths"].items() if _takes_json(methods.get("post", {}))}
    assert posted == bodies, "every JSON body that people write has an example"


def _takes_json(operation: dict[str, Any]) -> bool:
    return "application/json" in operation.get("requestBody", {}).get("content", {})


def test_the_examples_of_the_upload_form_run(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    form = document["components"]["schemas"]["Body_upload_task_v1_tasks_post"]["properties"]
    fields = {name: field["examples"][0] for name, field in form.items() if "examples" in field}
    content = json.dumps({json.loads(fields["columns"])["text"]: "play some jazz"})
    answer = client.post("/v1/tasks", data=fields | {"name": "of-the-form"}, files={"file": ("t.jsonl", content)})
    assert (answer.status_code, fields["name"]) == (201, "clinc150")


def test_the_examples_of_answers_are_answers(client: TestClient) -> None:
    from jobs.job import Job
    from jobs.problem import Problem

    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    Job.model_validate(schemas["Job"]["example"])
    Problem.model_validate(schemas["Problem"]["example"])


def test_an_app_whose_database_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database=f"sqlite:///{tmp_path}/no/such/folder.sqlite")
    app = create_app(settings, opener=opener, builders={"transfer-set": builder})
    with pytest.raises(Exception, match="cannot be opened"), TestClient(app):
        pass
