"""The client: what a user types, against the real application, over connections that break, to a busy server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from contract.artifact import open_artifact
from contract.errors import BadInput, CorruptArtifact, NameTaken
from contract.schemas import TRANSFER_SET
from service import client as client_module
from service.answers import JobFailed, Run, ServiceError
from service.client import Client
from service.settings import Settings
from tests.service.house import running, settings_in, task_lines
from tests.service.runs_for_tests import METRICS, STUDENT

Answer = Callable[[httpx.Request], httpx.Response]


class Bridge(httpx.BaseTransport):
    """The application, reached without a network. `fault` sees every answer before the client does."""

    def __init__(self, app: TestClient) -> None:
        self.app = app
        self.asked: list[httpx.Request] = []
        self.fault: Callable[[httpx.Request, httpx.Response], httpx.Response] = lambda _, response: response

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        found = self.app.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return self.fault(
            request, httpx.Response(found.status_code, headers=dict(found.headers), content=found.content)
        )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.fixture
def bridge(app: TestClient) -> Bridge:
    return Bridge(app)


@pytest.fixture
def client(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(client_module.time, "sleep", lambda _: None)
    with Client(transport=bridge) as client:
        yield client


def test_a_notebook_from_beginning_to_end(client: Client, tmp_path: Path) -> None:
    (tmp_path / "music.v2.jsonl").write_bytes(task_lines())
    assert client.indexes()[0].retrievers == ("lexical",)
    found = client.neighbours(["play some jazz", "book a table"], index="web", k=3)
    assert [utterance.text for utterance in found] == ["play some jazz", "book a table"]
    assert [neighbour.rank for neighbour in found[1].neighbours] == [0, 1, 2]
    task = client.upload_task(tmp_path / "music.v2.jsonl", "notebook")
    assert (task.name, task.rows, task.splits, task.targets) == ("notebook", 16, {"test": 4, "train": 12}, ("intent",))
    job = client.build_transfer_set("mine", task="notebook", index="web", k=5, shots=2)
    assert (job.name, job.index) == ("mine", "web@1")
    made = job.wait(seconds=60)
    assert made.counts["utterances"]["rows_out"] == 4
    assert len(list(made.rows())) == 4
    assert made.table(tmp_path / "mine").schema.equals(TRANSFER_SET)
    assert made.report()["rows"] == 4
    assert "mine" in [each.name for each in client.transfer_sets()]
    assert job.refresh().counts.dropped == 8


def test_a_run_from_a_notebook(client: Client, bridge: Bridge, tmp_path: Path) -> None:
    client.build_transfer_set("to-learn", task="music", index="web", k=3).wait(seconds=60)
    task = {"name": "music", "shots": 2}
    job = client.distil("student", task=task, transfer_set="to-learn", student={"layers": 2}, seed=4)
    assert (job.kind, job.request["task"], job.request["seed"]) == ("run", task, 4)
    run = job.wait(seconds=60)
    assert isinstance(run, Run)
    assert (run.metrics["accuracy"], run.teacher_metrics["macro_f1"]) == (METRICS["accuracy"], METRICS["macro_f1"])
    assert run.report["run"] == "student"
    assert "accuracy  0.8750  teacher 0.8750" in str(run)
    assert "<td>0.8750</td>" in run._repr_html_()
    folder = run.download_model(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {Path(name).name for name in STUDENT}
    bridge.asked.clear()
    client.download_model("student", folder)
    assert not [request for request in bridge.asked if "/files/" in request.url.path]
    assert "student" in [each.name for each in client.runs()]
    plain = client.distil("plain", task="music").wait(seconds=60)
    assert plain.name == "plain"
    with pytest.raises(ServiceError, match="expected at least 1") as raised:
        client.distil("none", task="music", student={"layers": 0})
    assert raised.value.field == "student.layers"


def test_many_utterances_go_in_several_requests_and_come_back_as_one_answer(client: Client, bridge: Bridge) -> None:
    texts = [f"play jazz {n}" for n in range(600)]
    found = client.neighbours(texts, index="web", k=1)
    assert [utterance.text for utterance in found] == texts
    assert [utterance.id for utterance in found] == [str(n) for n in range(600)]
    assert len(bridge.asked) == 3


def test_neighbours_are_a_table_and_a_page_in_which_text_is_only_text(client: Client) -> None:
    found = client.neighbours(["<b>play</b> jazz"], index="web", k=2)
    assert found.table().column_names[:3] == ["utterance_id", "utterance", "passage_id"]
    assert found.table().num_rows == 2
    assert "<b>play" not in found._repr_html_()
    assert "&lt;b&gt;play" in found._repr_html_()
    assert str(found).startswith("<b>play</b> jazz\n   0")


def test_one_text_in_place_of_a_list_is_a_sentence(client: Client) -> None:
    with pytest.raises(BadInput, match="expected a list of texts"):
        client.neighbours("play", index="web")


def test_a_refusal_is_the_services_sentence_with_its_fields(client: Client) -> None:
    with pytest.raises(ServiceError, match="There is no index at indexes/news") as raised:
        client.neighbours(["a"], index="news")
    assert raised.value.status == 404
    with pytest.raises(ServiceError) as raised:
        client.neighbours(["a"], index="web", k=5000)
    assert (raised.value.field, raised.value.limit, raised.value.found) == ("k", 1000, 5000)


def test_a_failed_job_is_an_error_with_its_sentence(client: Client) -> None:
    policy = {"min_words": 900}
    job = client.build_transfer_set("nothing", task="music", index="web", include_utterance=False, policy=policy)
    with pytest.raises(JobFailed, match="The policy leaves no text at all") as raised:
        job.wait()
    assert raised.value.job.state == "failed"


def test_a_wait_may_be_given_up(bridge: Bridge, client: Client) -> None:
    job = client.build_transfer_set("given-up", task="music", index="web")
    client.wait(job.id)

    def still_running(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return httpx.Response(200, json=response.json() | {"state": "running"})

    bridge.fault = still_running
    with pytest.raises(TimeoutError, match="is still running after 0 seconds"):
        client.wait(job.id, seconds=0)


def test_a_busy_server_is_asked_again_as_often_as_is_decent(client: Client, bridge: Bridge) -> None:
    def busy(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        tries = len(bridge.asked)
        return response if tries == 4 else httpx.Response(429, headers={"Retry-After": "7"}, json={"detail": "busy"})

    bridge.fault = busy
    assert len(client.neighbours(["a jazz"], index="web", k=1)) == 1
    bridge.asked.clear()
    bridge.fault = lambda request, response: httpx.Response(429, json={"detail": "too much"})
    with pytest.raises(ServiceError, match="too much"):
        client.indexes()
    assert len(bridge.asked) == client_module.TRIES


def test_an_order_whose_answer_was_lost_is_not_built_twice(client: Client, bridge: Bridge) -> None:
    def lost(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if len(bridge.asked) < 3:
            raise httpx.ReadError("the line is dead")
        return response

    before = len(client.jobs(200))
    bridge.asked.clear()
    bridge.fault = lost
    job = client.build_transfer_set("once", task="music", index="web")
    assert len(bridge.asked) == 3
    bridge.fault = lambda _, response: response
    assert len(client.jobs(200)) == before + 1
    client.wait(job.id)


def test_a_service_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module.time, "sleep", lambda _: None)
    with (
        Client("http://127.0.0.1:9", timeout=1) as client,
        pytest.raises(ServiceError, match=r"There is no service at http://127\.0\.0\.1:9"),
    ):
        client.indexes()


@pytest.fixture
def made(client: Client) -> str:
    """A transfer set of several row groups is not needed: one shard of some kilobytes is cut where it hurts."""
    client.build_transfer_set("to-fetch", task="music", index="web", k=20).wait()
    return "to-fetch"


def test_a_download_is_an_artifact_and_the_second_one_fetches_nothing(
    client: Client, bridge: Bridge, made: str, tmp_path: Path, settings: Settings
) -> None:
    found = client.download(made, tmp_path / "here")
    there = open_artifact(settings.store.path("transfer-set", made), "transfer-set", version=1)
    assert (found.id, found.verify()) == (there.id, [])
    assert open_artifact(tmp_path / "here", "transfer-set", version=1).rows == 12
    bridge.asked.clear()
    client.download(made, tmp_path / "here")
    assert not [request for request in bridge.asked if "/shards/" in request.url.path]
    with pytest.raises(NameTaken, match="holds another artifact"):
        client.build_transfer_set("another", task="music", index="web", k=3).wait().download(tmp_path / "here")


def test_a_download_that_broke_off_goes_on_where_it_was(
    client: Client, bridge: Bridge, made: str, tmp_path: Path
) -> None:
    def cut(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if "/shards/" not in request.url.path or "range" in request.headers:
            return response
        content = response.content[:1000]
        return httpx.Response(200, content=content)

    bridge.fault = cut
    found = client.download(made, tmp_path / "here")
    assert found.verify() == []
    ranges = [request.headers.get("range") for request in bridge.asked if "/shards/" in request.url.path]
    assert ranges == [None, "bytes=1000-"]
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"manifest.json", "part-00000.parquet"}


def test_bytes_that_are_wrong_are_never_taken(client: Client, bridge: Bridge, made: str, tmp_path: Path) -> None:
    def flip(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if "/shards/" not in request.url.path:
            return response
        return httpx.Response(200, content=bytes([response.content[0] ^ 1]) + response.content[1:])

    bridge.fault = flip
    with pytest.raises(CorruptArtifact, match="does not match its sha256"):
        client.download(made, tmp_path / "here")
    assert not (tmp_path / "here" / "manifest.json").exists()


def test_a_shard_that_would_leave_the_folder_is_refused(
    client: Client, bridge: Bridge, made: str, tmp_path: Path
) -> None:
    def outside(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if not request.url.path.endswith("/shards"):
            return response
        page: dict[str, Any] = response.json()
        page["items"][0]["name"] = "../../outside.parquet"
        return httpx.Response(200, json=page)

    bridge.fault = outside
    with pytest.raises(BadInput, match="no file name"):
        client.download(made, tmp_path / "in" / "here")
    assert not list(tmp_path.glob("*.parquet"))


def test_a_key_of_the_environment_is_sent(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_API_KEY", "tset_secret")
    with Client(transport=bridge) as client:
        client.indexes()
    assert bridge.asked[0].headers["authorization"] == "Bearer tset_secret"


def test_the_client_needs_no_library_of_the_service(tmp_path: Path) -> None:
    absent = "numpy,pandas,torch,faiss,numba,sentence_transformers,fastapi,starlette,pydantic,dbos,sqlalchemy,uvicorn"
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}.split(","):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from service.client import Client
from contract.artifact import Artifact
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_shards_open_with_plain_pyarrow(client: Client, made: str, tmp_path: Path) -> None:
    client.download(made, tmp_path / "here")
    assert pq.read_table(tmp_path / "here" / "part-00000.parquet").num_rows == 12
