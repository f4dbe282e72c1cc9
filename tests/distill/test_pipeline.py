"""A whole run in the tiny world: what it leaves, that it repeats, that it goes on, that it refuses in sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from scipy.special import softmax

from contract.errors import BadInput, Busy, CorruptArtifact, NameTaken, NotFound, TransfersetError
from contract.manifest import MANIFEST
from contract.progress import silent
from contract.store import Store
from distill.config import RunConfig, make_config
from distill.judging.metrics import METRICS
from distill.judging.predictions import predictions_of
from distill.models.device import Device, threads
from distill.models.logits import logits_of
from distill.pipeline import run_distillation
from distill.reading.gold import read_gold
from distill.reading.texts import open_transfer_set, read_texts
from distill.reading.tokens import Tokens
from distill.reporting.outcome import RunReport, read_report
from distill.teachers.labels import obtain_labels, read_labels
from distill.teachers.teacher import Teacher, obtain_teacher, open_teacher
from tests.distill.many_lives import told_after_kills
from tests.distill.tiny import make_encoder, make_transfer_set, make_world, neighbour, utterances

CPU = Device("cpu", "float32")


def changed(config: RunConfig, **sections: Any) -> RunConfig:
    raw = config.to_json()
    for section, values in sections.items():
        raw[section] = {**raw[section], **values} if isinstance(values, dict) and raw.get(section) else values
    return make_config(raw)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig, RunReport]:
    store, config = make_world(tmp_path_factory.mktemp("world"))
    run = run_distillation(store, "r1", config)
    return store, config, read_report(run.directory)


def test_a_run_leaves_a_student_its_predictions_and_its_report(
    finished: tuple[Store, RunConfig, RunReport],
) -> None:
    store, config, report = finished
    run = run_distillation(store, "r1", config)
    assert run.verify() == []
    hashed = {entry.name for entry in run.manifest.files}
    assert {"student/config.json", "student/model.safetensors", "student/tokenizer.json"} < hashed
    assert "predictions.parquet" in hashed
    assert {entry.name for entry in run.manifest.attachments} == {"report.json", "report.html"}
    assert sorted(run.manifest.inputs) == ["labels", "task", "teacher", "transfer-set"]
    said = predictions_of(pq.read_table(run.path("predictions.parquet")))
    assert report.metrics.finetuned["accuracy"] == METRICS["accuracy"](said.student)
    assert report.teacher.metrics["accuracy"] == METRICS["accuracy"](said.teacher)


def test_the_student_learns_from_the_teacher(finished: tuple[Store, RunConfig, RunReport]) -> None:
    report = finished[2]
    assert report.teacher.metrics["accuracy"] >= 0.9
    assert report.metrics.distilled is not None
    assert report.metrics.distilled["agreement"] >= 0.8
    assert report.curves.distill[-1].loss < report.curves.distill[0].loss / 3


def test_a_report_says_what_the_run_was(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, report = finished
    assert (report.run, report.arm, report.seed) == ("r1", "retrieved", 0)
    assert (report.task.classes, report.task.shots, report.task.train_rows, report.task.test_rows) == (4, 15, 60, 40)
    assert report.transfer_set is not None
    assert report.transfer_set.id == open_transfer_set(store, "near").id
    assert (report.transfer_set.utterances, report.transfer_set.neighbours) == (80, 80)
    assert (report.student.layers, report.student.width, report.student.heads) == (1, 16, 2)
    assert (report.updates.distill, report.updates.finetune) == (120, 20)
    assert report.ms_per_utterance > 0
    assert report.teacher.ms_per_utterance > 0
    assert make_config(report.settings) == config


def test_no_text_of_a_user_is_in_a_manifest(finished: tuple[Store, RunConfig, RunReport]) -> None:
    """A setting may hold no text; only files may."""
    for manifest in finished[0].root.glob("*/*/manifest.json"):
        assert not any(text in manifest.read_text() for text, _ in utterances(80, 1))


def test_the_same_run_elsewhere_has_the_same_id(finished: tuple[Store, RunConfig, RunReport], tmp_path: Path) -> None:
    """Other folders, another name, another number of threads around it: the same content."""
    store, config = make_world(tmp_path)
    with threads(2):
        run = run_distillation(store, "other-name", config)
    assert run.id == run_distillation(finished[0], "r1", finished[1]).id


def test_another_seed_is_another_student_of_the_same_teacher(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, report = finished
    began: list[str] = []
    run = run_distillation(store, "seed-1", changed(config, seed=1), progress=lambda stage, *_: began.append(stage))
    other = read_report(run.directory)
    assert other.teacher.id == report.teacher.id
    assert run.manifest.inputs["labels"] == run_distillation(store, "r1", config).manifest.inputs["labels"]
    assert {"teacher", "labels"}.isdisjoint(began), "they were there already"
    ours, theirs = (load_file(store.path("run", name) / "student" / "model.safetensors") for name in ("seed-1", "r1"))
    assert any(not ours[name].equal(theirs[name]) for name in ours)


def test_without_a_transfer_set_it_finetunes_for_as_long(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    report = read_report(run_distillation(store, "plain", changed(config, transfer_set=None)).directory)
    assert report.arm == "no distillation"
    assert (report.updates.distill, report.updates.finetune) == (0, 140)
    assert report.curves.finetune[-1].update == 140
    assert report.metrics.distilled is None
    assert report.transfer_set is None
    assert report.curves.distill == ()


@pytest.mark.parametrize(
    ("retriever", "arm"),
    [("none", "task-only"), ("random", "generic-random"), ("augmented", "augmented"), ("hybrid", "retrieved")],
)
def test_the_arm_follows_the_retriever(finished: tuple[Store, RunConfig, RunReport], retriever: str, arm: str) -> None:
    store, config, _ = finished
    make_transfer_set(store, retriever, [{"utterance_id": "train-0", "text": "rain now"}], retriever)
    short = changed(config, transfer_set={"name": retriever}, distill={"updates": 1}, finetune={"updates": 1})
    assert read_report(run_distillation(store, f"arm-{retriever}", short).directory).arm == arm
    named = changed(short, arm="my own")
    assert read_report(run_distillation(store, f"named-{retriever}", named).directory).arm == "my own"


def test_a_student_of_kept_layers_and_hard_labels_runs(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    kept = {"layers": 1, "width": None, "heads": None, "from": "last"}
    run = run_distillation(
        store, "kept", changed(config, student=kept, objective={"soft_weight": 0.5, "hard_weight": 0.5})
    )
    report = read_report(run.directory)
    assert (report.student.width, report.student.origin) == (32, "last")
    assert report.metrics.finetuned["accuracy"] > 0.8


def test_sentence_pairs_are_learnt(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    texts = [text for text, _ in utterances(120, 3)]
    rows = [
        {"id": str(i), "sentence1": a, "sentence2": a if i % 2 else texts[(i + 1) % 120], "label": "ab"[i % 2],
         "split": "test" if i >= 90 else "train"}
        for i, a in enumerate(texts)
    ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_transfer_set(
        store,
        "pairs",
        [
            {"utterance_id": row["id"], "text": row["sentence1"], "text_pair": row["sentence2"],
             "neighbours": [neighbour("rain")]}
            for row in rows[:90]
        ],
    )  # fmt: skip
    report = read_report(
        run_distillation(
            store,
            "pairs",
            changed(config, task={"path": str(path), "shots": None}, transfer_set={"name": "pairs"}),
        ).directory
    )
    assert (report.task.target, report.task.classes) == ("label", 2)
    assert report.metrics.finetuned["accuracy"] >= 0.5


# What was killed


class Killed(Exception):
    """What stands for a kill: it leaves through every `with` without saying goodbye."""


def killed_in(stage: str, done: int) -> Callable[[str, int, int | None], None]:
    def listen(now: str, at: int, total: int | None) -> None:
        if (now, at) == (stage, done):
            raise Killed

    return listen


@pytest.mark.parametrize(
    ("stage", "done"), [("teacher", 30), ("teacher", 60), ("labels", 0), ("labels", 160), ("distill", 40),
                        ("distill", 120), ("finetune", 10), ("finetune", 20)]
)  # fmt: skip
def test_a_run_that_stops_goes_on_to_the_same_id(
    finished: tuple[Store, RunConfig, RunReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    done: int,
) -> None:
    store, config = make_world(tmp_path)
    with pytest.raises(Killed):
        run_distillation(store, "r1", config, progress=killed_in(stage, done))
    assert not (store.path("run", "r1") / MANIFEST).exists()
    assert run_distillation(store, "r1", config).id == run_distillation(finished[0], "r1", finished[1]).id


def test_a_run_that_is_killed_again_and_again_ends_as_the_undisturbed_one(
    finished: tuple[Store, RunConfig, RunReport], tmp_path: Path
) -> None:
    _, config = make_world(tmp_path)
    toml = f"""precision = "float32"
[task]
path = {json.dumps(str(config.task.path))}
shots = 15
[transfer_set]
name = "near"
[teacher]
model = {json.dumps(config.teacher.model)}
updates = 60
learning_rate = 3e-3
max_length = 32
[student]
layers = 1
width = 16
heads = 2
max_length = 32
[distill]
updates = 120
batch_size = 16
learning_rate = 2e-2
[finetune]
updates = 20
batch_size = 16
"""
    (tmp_path / "RUN.toml").write_text(toml)
    told = told_after_kills(tmp_path)
    assert told["id"] == run_distillation(finished[0], "r1", finished[1]).id
    assert told["left"] == ["manifest.json", "predictions.parquet", "report.html", "report.json", "student"]


# The teacher and its labels


def said_by(teacher: Teacher, tokens: Tokens, dtype: Any = "float32") -> Any:
    return logits_of(teacher.model, teacher.model, tokens, Device("cpu", dtype)).sentence


def test_labels_are_what_the_teacher_says(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    gold = read_gold(config.task)
    teacher = open_teacher(obtain_teacher(store, config.teacher, gold, CPU, progress=silent), CPU)
    transfer_set = open_transfer_set(store, "near")
    texts = read_texts(transfer_set)
    labels = obtain_labels(store, teacher, transfer_set, texts, CPU, progress=silent)
    logits = read_labels(labels, texts).logits
    assert logits is not None
    assert logits.shape == (texts.table.num_rows, 4)
    for row in (0, 17, texts.table.num_rows - 1):
        alone = teacher.tokens([texts.table["text"][row].as_py()], [None])
        assert np.allclose(logits[row], said_by(teacher, alone)[0], atol=1e-2)
    assert labels.manifest.counts["texts"].rows_out == texts.table.num_rows
    turned = texts.table.take(np.arange(texts.table.num_rows)[::-1])
    shuffled = replace(texts, table=turned, transfer_set="another")
    with pytest.raises(CorruptArtifact, match="holds other texts"):
        read_labels(labels, shuffled)


def test_bfloat16_labels_are_those_of_float32_nearly(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    gold = read_gold(config.task)
    teacher = open_teacher(obtain_teacher(store, config.teacher, gold, CPU, progress=silent), CPU)
    tokens = teacher.tokens([text for text, _ in utterances(64, 9)], [None] * 64)
    exact, fast = (said_by(teacher, tokens, dtype) for dtype in ("float32", "bfloat16"))
    assert np.abs(softmax(exact, axis=1) - softmax(fast, axis=1)).max() < 1e-2
    assert not np.array_equal(exact, fast)


def test_a_teacher_is_known_by_all_that_makes_it(finished: tuple[Store, RunConfig, RunReport], tmp_path: Path) -> None:
    store, config, report = finished
    gold = read_gold(config.task)

    def known(config: RunConfig) -> str:
        return obtain_teacher(store, config.teacher, read_gold(config.task), CPU, progress=silent).id

    short = changed(config, teacher={"updates": 1})
    assert obtain_teacher(store, config.teacher, gold, CPU, progress=silent).id == report.teacher.id
    ids = [known(short), known(changed(short, teacher={"seed": 1})), known(changed(short, task={"shots": 3})),
           known(changed(short, teacher={"model": str(make_encoder(tmp_path / "e", seed=1))}))]  # fmt: skip
    assert len({report.teacher.id, *ids}) == 5
    copy = make_encoder(tmp_path / "again")
    assert known(changed(config, teacher={"model": str(copy)})) == report.teacher.id, "the path does not matter"


def test_a_damaged_teacher_is_not_used(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    short = changed(config, teacher={"updates": 1}, distill={"updates": 1}, finetune={"updates": 1})
    run_distillation(store, "r1", short)
    weights = next((store.root / "teachers").glob("*/encoder/model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="does not match the sha256"):
        run_distillation(store, "r2", short)


# What is refused


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"transfer_set": {"name": "far"}}, NotFound, "there are: .*near"),
        ({"transfer_set": {"name": "../../etc"}}, BadInput, "names are not paths"),
        ({"task": {"test_split": "dev"}}, BadInput, "no rows of split 'dev'"),
        ({"student": {"layers": 9, "width": None, "heads": None, "from": "skip"}}, BadInput, "has 2 to keep"),
    ],
)
def test_what_cannot_be_run_gets_a_sentence_and_leaves_no_run(
    finished: tuple[Store, RunConfig, RunReport], sections: dict[str, Any], error: type[TransfersetError], said: str
) -> None:
    store, config, _ = finished
    with pytest.raises(error, match=said):
        run_distillation(store, "refused", changed(config, **sections))
    assert not (store.path("run", "refused") / MANIFEST).exists()


def test_a_transfer_set_that_holds_a_test_text_is_refused(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    (leaked, _), *_ = utterances(40, 2)
    rows = [{"utterance_id": "u0", "text": "play a song", "neighbours": [neighbour(leaked)]}]
    make_transfer_set(store, "leaky", rows)
    with pytest.raises(BadInput, match=r"leaky holds 1 of the test's texts, expected none"):
        run_distillation(store, "leaky", changed(config, transfer_set={"name": "leaky"}))


def test_a_loss_that_is_no_number_is_told_with_its_learning_rate(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    hot = changed(config, distill={"learning_rate": 1e30, "clip": 1e30, "warmup": 0})
    with pytest.raises(BadInput, match=r"distill: the loss is nan at update \d+ of 120, at learning rate 1e\+30"):
        run_distillation(store, "hot", hot)


def test_weights_that_a_finished_phase_left_and_are_gone_are_missed(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    with pytest.raises(Killed):
        run_distillation(store, "r1", config, progress=killed_in("finetune", 10))
    (left,) = store.path("run", "r1").rglob("distill.safetensors")
    left.unlink()
    with pytest.raises(CorruptArtifact, match="the weights it left are gone"):
        run_distillation(store, "r1", config)


def test_a_name_that_is_taken_is_refused_with_what_differs(finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    with pytest.raises(NameTaken, match=r"params\.seed is 0 there and 7 here"):
        run_distillation(store, "r1", changed(config, seed=7))
    with pytest.raises(BadInput, match="names are not paths"):
        run_distillation(store, "../r1", config)


def test_a_model_of_pickles_is_not_read(tmp_path: Path, finished: tuple[Store, RunConfig, RunReport]) -> None:
    store, config, _ = finished
    directory = make_encoder(tmp_path / "encoder")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(BadInput, match="never read"):
        run_distillation(store, "pickled", changed(config, teacher={"model": str(directory)}))
    with pytest.raises(NotFound, match="There is no model 'nobody/nothing'"):
        run_distillation(store, "nothing", changed(config, teacher={"model": "nobody/nothing"}))


def test_two_at_one_run_is_one_too_many(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)

    def second(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("distill", 1):
            with pytest.raises(Busy):
                run_distillation(store, "r1", config)
            raise Killed

    with pytest.raises(Killed):
        run_distillation(store, "r1", config, progress=second)
