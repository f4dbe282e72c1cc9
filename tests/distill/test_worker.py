"""The worker's job of a run: on a shared folder, over an exchange of each kind, killed, cancelled, and sent twice."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from contract.artifact import open_artifact
from contract.draft import Plan, drafting
from contract.errors import BadInput, CorruptArtifact, NameTaken, NotFound
from contract.manifest import MANIFEST
from contract.progress import silent
from contract.run import REPORT, REPORT_PAGE, RUN_VERSION
from contract.store import Store
from distill import worker
from distill.exchange import api as exchange_http
from distill.exchange.api import HttpExchange
from distill.exchange.exchange import Exchange
from distill.exchange.folder import FolderExchange
from distill.pipeline import run_distillation
from distill.reporting.outcome import read_report
from distill.teachers.labels import VERSION as LABELS_VERSION
from distill.teachers.teacher import VERSION as TEACHER_VERSION
from distill.worker import build_job
from jobs.settings import WorkerSettings
from tests.distill.tiny import config_of, make_encoder, make_transfer_set, neighbour, utterances, write_task
from tests.service.house import running, settings_in
from tests.service.test_client import Bridge

SHORT: dict[str, Any] = {
    "task": {"name": "task", "shots": 15},
    "transfer_set": {"name": "near"},
    "teacher": {"model": "tiny", "updates": 8, "learning_rate": 3e-3, "max_length": 32},
    "student": {"layers": 1, "width": 16, "heads": 2, "max_length": 32},
    "distill": {"updates": 6, "batch_size": 16, "learning_rate": 2e-2},
    "finetune": {"updates": 4, "batch_size": 16},
    "precision": "float32",
}


def make_artifacts(root: Path) -> Path:
    """An artifacts folder as the service has it: a task, a transfer set, a model in the registry."""
    store = Store(root / "artifacts")
    rows = [
        {"utterance_id": f"train-{i}", "text": text, "neighbours": [neighbour(f"some {text} today")]}
        for i, (text, _) in enumerate(utterances(80, 1))
    ]
    make_transfer_set(store, "near", rows)
    make_encoder(store.root / "models" / "tiny")
    (store.root / "tasks").mkdir()
    write_task(store.root / "tasks" / "task.jsonl")
    return store.root


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of the undisturbed run."""
    return build_job(
        WorkerSettings(artifacts=make_artifacts(tmp_path_factory.mktemp("whole"))), "r", SHORT, silent, False
    ).id


def alone(folder: Path, artifacts: Path) -> WorkerSettings:
    """The settings of a worker with a folder of its own, that has the models and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "models").exists():
        (folder / "models").symlink_to(artifacts / "models")
    return WorkerSettings(artifacts=folder, exchange="file:///replaced-below")


@pytest.fixture(params=["folder", pytest.param("object store", marks=pytest.mark.slow), "api"])
def over(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Any]]:
    """An artifacts folder, and an exchange with it, which the worker opens."""
    root = make_artifacts(tmp_path / "there")
    monkeypatch.setattr(exchange_http.time, "sleep", lambda _: threading.Event().wait(0.05))
    if request.param == "api":
        settings = settings_in(tmp_path / "there", workers=0, max_body_bytes=1_000_000)
        with running(settings) as client:
            bridge = Bridge(client)
            monkeypatch.setattr(worker, "open_exchange", lambda *_: HttpExchange("http://127.0.0.1", None, bridge))
            yield root, bridge
    elif request.param == "folder":
        monkeypatch.setattr(worker, "open_exchange", lambda *_: FolderExchange(f"file://{root}"))
        yield root, None
    else:
        bucket = f"memory://bucket-{tmp_path.name}"
        fsspec.filesystem("memory").put(f"{root}/", f"{bucket}/", recursive=True)
        monkeypatch.setattr(worker, "open_exchange", lambda *_: FolderExchange(bucket))
        yield root, bucket
        fsspec.filesystem("memory").rm(bucket, recursive=True)


def there(over: tuple[Path, Any], tmp_path: Path) -> Store:
    """The other side's store, brought to disk where it is elsewhere."""
    root, how = over
    if isinstance(how, str):
        root = tmp_path / "fetched"
        fsspec.filesystem("memory").get(f"{how}/", f"{root}/", recursive=True)
    return Store(root)


class Killed(BaseException):
    """What stands for a kill, and for a worker that is told to stop."""


def killed_in(stage: str, done: int) -> Callable[[str, int, int | None], None]:
    def listen(now: str, at: int, total: int | None) -> None:
        if now == stage and at >= done:
            raise Killed

    return listen


# On a shared folder


def test_a_job_makes_the_run_that_the_command_makes(artifacts: Path, whole: str, tmp_path: Path) -> None:
    config = config_of(
        artifacts / "models" / "tiny",
        artifacts / "tasks" / "task.jsonl",
        **{section: settings for section, settings in SHORT.items() if section not in ("task", "teacher")},
        teacher={key: value for key, value in SHORT["teacher"].items() if key != "model"},
    )
    assert run_distillation(Store(artifacts), "by-command", config).id == whole


def test_a_job_says_what_came_of_it_and_the_report_names_no_path(tmp_path: Path, whole: str) -> None:
    root = make_artifacts(tmp_path)
    stages: list[str] = []
    made = build_job(WorkerSettings(artifacts=root), "r", SHORT, lambda stage, *_: stages.append(stage), False)
    report = read_report(root / "runs" / "r")
    assert made.id == whole
    assert made.counts == {"total": 10, "done": 10}
    assert made.says["metrics"]["student"] == dict(report.metrics.finetuned)
    assert made.says["metrics"]["teacher"] == dict(report.teacher.metrics)
    assert list(dict.fromkeys(stages)) == [
        "teacher", "testing teacher", "texts", "labels", "tokens", "reading labels",
        "distill", "testing distill", "finetune", "testing finetune",
    ]  # fmt: skip
    assert report.settings["task"]["path"] == "task"
    assert report.settings["teacher"]["model"] == report.teacher.model == "tiny"
    for file in (REPORT, REPORT_PAGE, MANIFEST):
        assert str(tmp_path) not in (root / "runs" / "r" / file).read_text()


def test_the_columns_of_an_uploaded_task_reach_the_run(tmp_path: Path) -> None:
    root = make_artifacts(tmp_path)
    rows = [json.loads(line) for line in (root / "tasks" / "task.jsonl").read_text().splitlines()]
    odd = [{"wording": row["text"], "what": row["intent"], **{k: row[k] for k in ("id", "split")}} for row in rows]
    folder = root / "tasks" / "odd"
    folder.mkdir()
    (folder / "odd.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*odd, {"what": "lights", "split": "train"}])
    )
    (folder / "columns.json").write_text('{"text": "wording", "intent": "what"}')
    settings = WorkerSettings(artifacts=root)
    order = SHORT | {"task": {"name": "odd", "shots": 15}}
    with pytest.raises(BadInput, match="skip"):
        build_job(settings, "odd", order, silent, False)
    order["task"]["skip_bad_rows"] = True
    build_job(settings, "odd", order, silent, False)
    report = read_report(root / "runs" / "odd")
    assert (report.task.name, report.task.target, report.task.classes) == ("odd", "intent", 4)
    assert report.settings["task"]["columns"] == {"text": "wording", "intent": "what"}


def test_several_splits_reach_the_run(tmp_path: Path) -> None:
    root = make_artifacts(tmp_path)
    rows = [json.loads(line) for line in (root / "tasks" / "task.jsonl").read_text().splitlines()]
    folder = root / "tasks" / "parts"
    folder.mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        mine = [row | {"split": split} for row in rows[number::3]]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    order = SHORT | {"task": {"name": "parts", "train_split": ["train", "valid"]}, "transfer_set": None}
    build_job(WorkerSettings(artifacts=root), "parts", order, silent, False)
    assert read_report(root / "runs" / "parts").task.train_rows == 80


def test_settings_that_do_not_go_together_are_a_sentence_without_advice_for_the_command(artifacts: Path) -> None:
    order = SHORT | {"objective": {"soft_weight": 0, "hard_weight": 0}}
    with pytest.raises(BadInput, match="every weight is 0") as raised:
        build_job(WorkerSettings(artifacts=artifacts), "x", order, silent, False)
    assert "--set" not in raised.value.message


@pytest.mark.parametrize("stage", ["teacher", "testing teacher", "labels", "distill", "testing distill", "finetune"])
def test_a_job_that_ends_in_any_stage_goes_on_to_the_same_run(tmp_path: Path, whole: str, stage: str) -> None:
    settings = WorkerSettings(artifacts=make_artifacts(tmp_path))
    with pytest.raises(Killed):
        build_job(settings, "r", SHORT, killed_in(stage, 1), False)
    assert not (settings.artifacts / "runs" / "r" / MANIFEST).exists()
    assert build_job(settings, "r", SHORT, silent, False).id == whole


def test_what_a_restart_discards_is_gone_before_the_first_step_is_told_of(tmp_path: Path, whole: str) -> None:
    """The job notes the first step as proof: killed then, it must find nothing of the other run."""
    settings = WorkerSettings(artifacts=make_artifacts(tmp_path))
    with pytest.raises(Killed):
        build_job(settings, "r", SHORT | {"seed": 9}, killed_in("distill", 1), False)
    with pytest.raises(NameTaken, match="half built with other settings"):
        build_job(settings, "r", SHORT, silent, False)

    def at_once(stage: str, done: int, total: int | None) -> None:
        raise Killed

    with pytest.raises(Killed):
        build_job(settings, "r", SHORT, at_once, True)
    assert build_job(settings, "r", SHORT, silent, False).id == whole
    assert build_job(settings, "r", SHORT, silent, True).id == whole, "a finished run stays"


# Over an exchange


def test_a_worker_without_the_folder_makes_the_same_run_and_it_is_there(
    over: tuple[Path, Any], tmp_path: Path, whole: str
) -> None:
    settings = alone(tmp_path / "one", over[0])
    assert build_job(settings, "r", SHORT, silent, False).id == whole
    store = there(over, tmp_path)
    run = open_artifact(store.path("run", "r"), "run", version=RUN_VERSION)
    assert (run.id, run.verify()) == (whole, [])
    found = {kind: store.names(kind) for kind in ("teacher", "labels")}  # type: ignore[arg-type]
    assert {kind: len(names) for kind, names in found.items()} == {"teacher": 1, "labels": 2}, (
        "of texts and of the test"
    )
    for kind, version in (("teacher", TEACHER_VERSION), ("labels", LABELS_VERSION)):
        for name in found[kind]:
            assert open_artifact(store.path(kind, name), kind, version=version).verify() == []  # type: ignore[arg-type]
    assert not list(store.root.glob(".arrivals/*.*.*"))


def test_a_second_worker_makes_neither_teacher_nor_labels_again(
    over: tuple[Path, Any], tmp_path: Path, whole: str
) -> None:
    build_job(alone(tmp_path / "one", over[0]), "r", SHORT, silent, False)
    stages: list[str] = []
    build_job(
        alone(tmp_path / "two", over[0]), "again", SHORT | {"seed": 1}, lambda stage, *_: stages.append(stage), False
    )
    assert {"teacher", "labels"}.isdisjoint(stages)
    assert {"fetching teacher", "fetching labels", "sending run"} <= {*stages}
    stages.clear()
    made = build_job(alone(tmp_path / "three", over[0]), "r", SHORT, lambda stage, *_: stages.append(stage), False)
    assert made.id == whole
    assert "distill" not in stages, "a finished run is fetched, not made again"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["fetching transfer-set", "teacher", "distill", "sending run"])
def test_a_job_that_ends_goes_on_here_or_with_another_worker(
    over: tuple[Path, Any], tmp_path: Path, whole: str, stage: str
) -> None:
    with pytest.raises(Killed):
        build_job(alone(tmp_path / "one", over[0]), "r", SHORT, killed_in(stage, 1), False)
    assert not (there(over, tmp_path).path("run", "r") / MANIFEST).exists()
    assert build_job(alone(tmp_path / "two", over[0]), "r", SHORT, silent, False).id == whole
    assert build_job(alone(tmp_path / "one", over[0]), "r", SHORT, silent, False).id == whole


def test_what_an_order_left_here_does_not_stand_in_the_way_of_another(
    over: tuple[Path, Any], tmp_path: Path, whole: str
) -> None:
    settings = alone(tmp_path / "one", over[0])
    with pytest.raises(Killed):
        build_job(settings, "r", SHORT | {"seed": 7}, killed_in("distill", 2), False)
    assert build_job(settings, "r", SHORT, silent, False).id == whole
    with pytest.raises(NameTaken):  # the exchange has it finished
        build_job(alone(tmp_path / "two", over[0]), "r", SHORT | {"seed": 7}, silent, False)


def test_a_transfer_set_that_was_made_anew_under_its_name_is_fetched_anew(tmp_path: Path) -> None:
    root = make_artifacts(tmp_path / "there")
    exchange = FolderExchange(f"file://{root}")
    settings = alone(tmp_path / "one", root)
    first = worker._exchanged(settings, exchange, "r1", SHORT, silent, False)
    shutil.rmtree(root / "transfer-sets" / "near")
    make_transfer_set(Store(root), "near", [{"utterance_id": "train-0", "text": "rain now"}])
    second = worker._exchanged(settings, exchange, "r2", SHORT, silent, False)
    assert first.manifest.inputs["transfer-set"] != second.manifest.inputs["transfer-set"]


def test_a_task_or_a_set_that_is_not_there_is_a_sentence(over: tuple[Path, Any], tmp_path: Path) -> None:
    settings = alone(tmp_path / "one", over[0])
    with pytest.raises(NotFound, match="no task other"):
        build_job(settings, "r", SHORT | {"task": {"name": "other"}}, silent, False)
    with pytest.raises(NotFound, match="There is no transfer-set"):
        build_job(settings, "r", SHORT | {"transfer_set": {"name": "far"}}, silent, False)


@pytest.mark.parametrize("over", ["folder", "api"], indirect=True)
def test_a_run_sent_by_two_at_once_is_there_once_and_whole(over: tuple[Path, Any], tmp_path: Path, whole: str) -> None:
    """A frozen worker comes back while another has taken its job: both have made the run, with times of their own."""
    for name in ("one", "two"):
        root = make_artifacts(tmp_path / f"world-{name}")
        build_job(WorkerSettings(artifacts=root), "r", SHORT, silent, False)
    faults: list[BaseException] = []

    def send(name: str) -> None:
        try:
            exchange: Exchange = worker.open_exchange("", None)
            exchange.send("run", "r", tmp_path / f"world-{name}" / "artifacts" / "runs" / "r", lambda done, total: None)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=send, args=(name,)) for name in ("one", "two", "one")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    run = open_artifact(over[0] / "runs" / "r", "run", version=RUN_VERSION)
    assert (run.id, run.verify()) == (whole, [])


@pytest.mark.parametrize("over", ["api"], indirect=True)
def test_bytes_that_are_wrong_are_never_taken_and_those_that_break_off_are_gone_on_with(
    over: tuple[Path, Any], tmp_path: Path, whole: str
) -> None:
    bridge: Bridge = over[1]

    def flip(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if "/transfer-sets/near/files/" not in request.url.path:
            return response
        return httpx.Response(200, content=bytes([response.content[0] ^ 1]) + response.content[1:])

    def cut(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        is_whole = "/files/" in request.url.path and "range" not in request.headers
        return httpx.Response(200, content=response.content[:1000]) if is_whole else response

    settings = alone(tmp_path / "one", over[0])
    bridge.fault = flip
    with pytest.raises(CorruptArtifact, match="does not match its sha256"):
        build_job(settings, "r", SHORT, silent, False)
    assert not (settings.artifacts / "exchanged" / "transfer-sets" / "near" / MANIFEST).exists()
    bridge.fault = cut
    assert build_job(settings, "r", SHORT, silent, False).id == whole
    assert [r.headers["range"] for r in bridge.asked if "range" in r.headers][:1] == ["bytes=1000-"]


@pytest.mark.parametrize("over", ["api"], indirect=True)
def test_a_service_that_is_busy_or_away_is_asked_again(over: tuple[Path, Any], tmp_path: Path, whole: str) -> None:
    bridge: Bridge = over[1]
    failures = iter(range(10_000))

    def shaky(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        turn = next(failures) % 3
        if turn == 0:
            raise httpx.ReadError("the line is dead")
        return httpx.Response(503, headers={"Retry-After": "0"}) if turn == 1 else response

    bridge.fault = shaky
    assert build_job(alone(tmp_path / "one", over[0]), "r", SHORT, silent, False).id == whole


def test_an_exchange_that_does_not_answer_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_http.time, "sleep", lambda _: None)
    settings = WorkerSettings(artifacts=tmp_path, exchange="http://127.0.0.1:9")
    with pytest.raises(exchange_http.Unreached, match="does not answer"):
        build_job(settings, "r", SHORT, silent, False)


def test_an_exchange_of_no_known_kind_is_a_sentence(tmp_path: Path) -> None:
    settings = WorkerSettings(artifacts=tmp_path, exchange="gopher://there")
    with pytest.raises(BadInput, match="expected http://"):
        build_job(settings, "r", SHORT, silent, False)


def test_a_finished_run_with_other_settings_keeps_its_name(tmp_path: Path) -> None:
    root = make_artifacts(tmp_path)
    with drafting(Store(root).path("run", "r"), Plan("run", 1, {})) as draft:
        draft.finish()
    with pytest.raises(NameTaken, match="is finished with other settings"):
        build_job(WorkerSettings(artifacts=root), "r", SHORT, silent, True)
