"""/v1/runs: what an order of a run must be, what is refused at once, and what is given of a finished run."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from contract.draft import Plan, drafting
from contract.run import RUN_VERSION, order_schema
from service.settings import Settings
from tests.service.house import ended, running, settings_in, task_lines
from tests.service.runs_for_tests import METRICS, PAGE, STUDENT, make_run
from tests.service.test_api import problem

ORDER: dict[str, Any] = {
    "name": "small",
    "task": {"name": "music", "shots": 2},
    "transfer_set": {"name": "made"},
    "student": {"layers": 2, "width": 64},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("service"), max_updates=500, max_student_layers=4)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        job = client.post("/v1/transfer-sets", json={"name": "made", "index": "web", "task": "music", "k": 3})
        assert ended(client, job.json()["id"])["state"] == "finished"
        yield client


@pytest.fixture(scope="module")
def finished(settings: Settings, client: TestClient) -> str:
    make_run(settings.store, "finished")
    return "finished"


def order(**changes: Any) -> dict[str, Any]:
    """ORDER with sections changed; of a section that is an object the keys."""
    changed = dict(ORDER)
    for section, value in changes.items():
        is_part = isinstance(value, dict) and isinstance(changed.get(section), dict)
        changed[section] = {**changed[section], **value} if is_part else value
    return changed


def test_an_order_becomes_a_job_that_ends_with_a_run(client: TestClient) -> None:
    response = client.post("/v1/runs", json=order(name="first"))
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert response.headers["retry-after"] == "1"
    assert (job["kind"], job["name"], job["request"]) == (
        "run",
        "first",
        {k: v for k, v in ORDER.items() if k != "name"},
    )
    done = ended(client, job["id"])
    assert done["result"]["href"] == "/v1/runs/first"
    assert done["result"]["metrics"]["student"] == METRICS
    found = client.get("/v1/runs/first").json()
    assert (found["id"], found["kind"]) == (done["result"]["id"], "run")
    assert "first" in [item["name"] for item in client.get("/v1/runs").json()["items"]]
    problem(client.post("/v1/runs", json=order(name="first")), 409, "is finished", field="name")


def test_an_idempotency_key_makes_one_job_of_two_orders(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/runs", json=order(name="twice"), headers=headers).json()
    assert ended(client, first["id"])["state"] == "finished"
    again = client.post("/v1/runs", json=order(name="twice"), headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    problem(client.post("/v1/runs", json=order(name="twice", seed=4), headers=headers), 422, "another request")


@pytest.mark.parametrize(
    ("changes", "status", "field", "says", "limit"),
    [
        ({"task": {"name": "none"}}, 404, "task.name", "There is no task none", None),
        ({"task": {"name": "../../etc/passwd"}}, 422, "task.name", "expected a name", None),
        ({"task": {"path": "/etc/passwd"}}, 422, "task.path", "there is no such setting", None),
        ({"task": {"shots": 0}}, 422, "task.shots", "expected at least 1, found 0", 1),
        ({"task": {"shots": "ten"}}, 422, "task.shots", "found a text of 3 characters", None),
        ({"task": {"target": "domain"}}, 422, "task.target", "no domain column with values; it has intent", None),
        ({"task": {"target": "mood"}}, 422, "task.target", "expected one of label, intent, domain", None),
        ({"task": {"test_split": "dev"}}, 422, "task.test_split", "no rows of split 'dev'", None),
        ({"task": {"train_split": ["train", "extra"]}}, 422, "task.train_split", "'extra'", None),
        ({"task": {"columns": {"text": "sentence"}}}, 422, "task.columns", "no column 'sentence'", None),
        ({"transfer_set": {"name": "far"}}, 404, "transfer_set.name", "There is no transfer-set", None),
        ({"teacher": {"model": "bert-large"}}, 422, "teacher.model", "allowed here (minilm)", None),
        ({"teacher": {"model": "/root/model"}}, 422, "teacher.model", "allowed here (minilm)", None),
        ({"teacher": {"beside": [{"model": "/root/model"}]}}, 422, "teacher.beside.0.model", "allowed here", None),
        ({"teacher": {"beside": [{"updates": 501}]}}, 422, "teacher.beside.0.updates", "at most 500", 500),
        ({"teacher": {"adapt": {"updates": 501}}}, 422, "teacher.adapt.updates", "at most 500", 500),
        ({"student": {"from": "pretrained", "model": "../models/x"}}, 422, "student.model", "allowed here", None),
        ({"student": {"layers": 5}}, 422, "student.layers", "at most 4 layers, found 5", 4),
        ({"student": {"layers": 0}}, 422, "student.layers", "expected at least 1", 1),
        ({"student": {"width": 4096}}, 422, "student.width", "at most 1,024", 1024),
        ({"student": {"colour": "red"}}, 422, "student.colour", "no such setting; there are: dropout", None),
        ({"distill": {"updates": 501}}, 422, "distill.updates", "at most 500 updates, found 501", 500),
        ({"distill": {"updates": 1.5}}, 422, "distill.updates", "expected a whole number, found 1.5", None),
        ({"distill": {"learning_rate": 0}}, 422, "distill.learning_rate", "expected more than 0", 0),
        ({"finetune": {"batch_size": 5000}}, 422, "finetune.batch_size", "at most 1,024 texts", 1024),
        ({"objective": {"temperature": 1e300}}, 422, "objective.temperature", "within bounds", None),
        ({"objective": {"intermediate": "all"}}, 422, "objective.intermediate", "expected one of none, hidd", None),
        ({"seed": -1}, 422, "seed", "expected at least 0", 0),
        ({"seed": True}, 422, "seed", "expected a whole number, found True", None),
        ({"name": "a b"}, 422, "name", "expected a name", None),
        ({"name": "a\n"}, 422, "name", "cannot name a run", None),
        ({"arm": "x" * 300}, 422, "arm", "at most 200 characters", 200),
        ({"command": "rm"}, 422, "command", "no such setting", None),
    ],
)  # fmt: skip
def test_what_can_be_seen_to_be_wrong_is_refused_at_once(
    client: TestClient, changes: dict[str, Any], status: int, field: str, says: str, limit: float | None
) -> None:
    jobs = len(client.get("/v1/jobs?limit=200").json()["items"])
    found = problem(client.post("/v1/runs", json=order(**({"name": "refused"} | changes))), status, says)
    assert (found["field"], found.get("limit")) == (field, limit)
    assert len(client.get("/v1/jobs?limit=200").json()["items"]) == jobs


@pytest.mark.parametrize("body", [[], "text", 3, None, {}, {"name": "x"}, {"task": {"name": "music"}}])
def test_what_is_no_order_is_refused(client: TestClient, body: Any) -> None:
    problem(client.post("/v1/runs", json=body), 422)


def test_every_fault_is_named(client: TestClient) -> None:
    found = problem(client.post("/v1/runs", json={"name": "a b", "task": {}, "seed": -1}), 422)
    assert {fault["field"] for fault in found["errors"]} == {"name", "task.name", "seed"}


def test_a_local_model_is_one_of_the_registry(client: TestClient, settings: Settings) -> None:
    (settings.artifacts / "models" / "ours").mkdir(parents=True)
    assert client.post("/v1/runs", json=order(name="ours", teacher={"model": "ours"})).status_code == 202


def test_a_task_with_bad_rows_is_refused_until_they_are_to_be_skipped(client: TestClient) -> None:
    file = {"file": ("bad.jsonl", task_lines() + b'{"text": null, "intent": "x"}\n')}
    assert client.post("/v1/tasks", files=file, data={"name": "bad", "skip_bad_rows": "true"}).status_code == 201
    problem(client.post("/v1/runs", json=order(name="bad", task={"name": "bad"})), 422, field="task.skip_bad_rows")
    fine = order(name="bad", task={"name": "bad", "skip_bad_rows": True})
    assert client.post("/v1/runs", json=fine).status_code == 202


def test_a_name_with_a_strangers_files_is_refused(client: TestClient, settings: Settings) -> None:
    folder = settings.store.path("run", "strange")
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    problem(client.post("/v1/runs", json=order(name="strange")), 409, "not a run")


def test_openapi_has_the_form_of_the_order(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/runs"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["student"] == order_schema()["properties"]["student"]
    assert "$ref" not in str(schema)


# What is given of a finished run


def test_the_report_and_the_page_are_those_of_the_run(client: TestClient, finished: str) -> None:
    report = client.get(f"/v1/runs/{finished}/report")
    assert report.json()["metrics"]["finetuned"]["accuracy"] == METRICS["accuracy"]
    page = client.get(f"/v1/runs/{finished}/page")
    assert page.content == PAGE
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    for path in ("report", "page"):
        tag = {"If-None-Match": client.get(f"/v1/runs/{finished}/{path}").headers["etag"]}
        assert client.get(f"/v1/runs/{finished}/{path}", headers=tag).status_code == 304


def test_the_model_is_a_zip_of_safetensors_only(client: TestClient, finished: str) -> None:
    response = client.get(f"/v1/runs/{finished}/model")
    assert response.headers["content-type"] == "application/zip"
    assert len(response.content) == int(response.headers["content-length"])
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name.replace("student", finished): content for name, content in STUDENT.items() if not name.endswith(".bin")
        }


def test_every_part_of_the_model_is_that_part(client: TestClient, finished: str) -> None:
    path = f"/v1/runs/{finished}/model"
    whole = client.get(path)
    tag, size = whole.headers["etag"], len(whole.content)
    for asked, part in [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=20-300000", slice(20, 300_001)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
        (f"bytes={size - 1}-", slice(size - 1, None)),
    ]:
        response = client.get(path, headers={"Range": asked, "If-Range": tag})
        assert (response.status_code, response.content) == (206, whole.content[part]), asked
        assert re.fullmatch(rf"bytes \d+-\d+/{size}", response.headers["content-range"])
    for headers in ({"Range": "bytes=9-", "If-Range": '"other"'}, {"Range": "bytes=9-3"}, {"Range": "lines=1-2"}):
        assert client.get(path, headers=headers).status_code == 200
    beyond = client.get(path, headers={"Range": f"bytes={size}-"})
    problem(beyond, 416)
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert client.head(path).headers["content-length"] == str(size)


def test_a_file_of_a_run_is_fetched_by_its_name_and_no_other_file_is(client: TestClient, finished: str) -> None:
    base = f"/v1/runs/{finished}/files"
    for name, content in STUDENT.items():
        assert client.get(f"{base}/{name}").content == content
    for name in ("manifest.json", "nothing", "..%2f..%2fkeys.json", "student/../../../jobs.sqlite", "%00", "student"):
        assert client.get(f"{base}/{name}").status_code == 404, name


def test_a_changed_file_is_never_sent(client: TestClient, settings: Settings) -> None:
    run = make_run(settings.store, "changed")
    assert client.get("/v1/runs/changed/model").status_code == 200
    weights = run.directory / "student" / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    problem(client.get("/v1/runs/changed/model"), 500, "does not match the sha256")
    problem(client.get("/v1/runs/changed/files/student/model.safetensors"), 500, "sha256")


def test_what_is_not_finished_is_not_there(client: TestClient, settings: Settings) -> None:
    with drafting(settings.store.path("run", "half"), Plan("run", RUN_VERSION, {})) as draft:
        draft.partial("report.json").write_text("{}")
        draft.keep("report", {"report.json": 0})
    for path in ("", "/report", "/page", "/model", "/files/report.json"):
        problem(client.get(f"/v1/runs/half{path}"), 404)
        problem(client.get(f"/v1/runs/nothing{path}"), 404)


def test_the_same_student_under_another_name_has_another_zip(settings: Settings, client: TestClient) -> None:
    for name in ("one", "two"):
        make_run(settings.store, name)
    first, second = (client.get(f"/v1/runs/{name}/model") for name in ("one", "two"))
    assert first.headers["etag"] != second.headers["etag"]
    assert first.content == client.get("/v1/runs/one/model").content


def test_settings_say_which_models_are_allowed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, models="minilm, bert-base-uncased")
    assert settings.models == ("minilm", "bert-base-uncased")
