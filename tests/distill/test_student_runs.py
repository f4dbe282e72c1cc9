"""Whole runs with students of every origin: other tokenizers than the teacher's, trimmed vocabularies, static ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from contract.artifact import Artifact
from contract.errors import BadInput, NotFound
from contract.manifest import MANIFEST
from contract.store import Store
from distill.config import RunConfig
from distill.judging.predictions import read_predictions
from distill.models.device import Device
from distill.models.logits import logits_of
from distill.pipeline import run_distillation
from distill.reading.gold import read_gold
from distill.reporting.outcome import read_report
from distill.settings.objective import IntermediateName
from distill.settings.task import Kind
from distill.students.student import open_student
from tests.distill.kinds import make_kind
from tests.distill.piece_encoders import CUTS, make_piece_encoder
from tests.distill.test_intermediate_runs import Killed, changed
from tests.distill.tiny import config_of, make_encoder, make_transfer_set, make_world, neighbour, utterances, write_task

CPU = Device("cpu", "float32")
SHORT: dict[str, Any] = {
    "teacher": {"updates": 20}, "distill": {"updates": 8}, "finetune": {"updates": 2},
}  # fmt: skip
BOTH = {"intermediate": ["hidden-mse", "minilmv2", "mi-alpha"]}


def slow(value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def given(encoder: Path, **settings: Any) -> dict[str, Any]:
    """The student section of a pretrained one."""
    return {"layers": None, "width": None, "heads": None, "from": "pretrained", "model": str(encoder), **settings}


def static(**settings: Any) -> dict[str, Any]:
    return {"layers": None, "width": None, "heads": None, "from": "static", **settings}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {cut: make_piece_encoder(tmp_path_factory.mktemp("encoder"), cut) for cut in CUTS}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    """The teacher knows whole words."""
    store, config = make_world(tmp_path_factory.mktemp("world"))
    return store, changed(config, **SHORT)


def says_again(run: Artifact, config: RunConfig) -> None:
    """The folder, opened, says of the test what the predictions hold."""
    gold = read_gold(config.task)
    student = open_student(run.directory / "student")
    tokens = gold.test.tokens(student.tokenizer, student.max_length)
    logits = logits_of(student.model, student.forward, tokens, CPU)
    assert logits.sentence is not None
    labels = [gold.classes[index] for index in logits.sentence.argmax(1)]
    said = read_predictions(run, "r").table
    kept = dict(zip(said["id"].to_pylist(), said["predicted"].to_pylist(), strict=True))
    assert dict(zip(gold.test.table["id"].to_pylist(), labels, strict=True)) == kept


# Other tokenizers


@pytest.mark.parametrize("cut", ["word pieces", slow("byte pairs"), slow("unigrams")])
def test_a_student_with_a_tokenizer_of_its_own_learns_by_every_objective(
    shared: tuple[Store, RunConfig], encoders: dict[str, Path], cut: str
) -> None:
    store, config = shared
    names = list(get_args(IntermediateName))
    student = given(encoders[cut])
    run = run_distillation(
        store, f"all-{cut.split()[0]}", changed(config, student=student, objective={"intermediate": names})
    )
    report = read_report(run.directory)
    assert (report.student.layers, report.student.width, report.student.origin) == (2, 24, "pretrained")
    assert all(np.isfinite(point.loss) for point in report.curves.distill)
    says_again(run, config)


@pytest.mark.slow
def test_states_of_words_are_learnt(shared: tuple[Store, RunConfig], encoders: dict[str, Path]) -> None:
    store, config = shared
    for name in ("hidden-mse", "attention", "minilm"):
        objective = {"soft_weight": 0.0, "intermediate": name}
        alone = changed(config, student=given(encoders["unigrams"]), objective=objective, distill={"updates": 80})
        curve = read_report(run_distillation(store, f"alone-{name}", alone).directory).curves.distill
        first, last = (np.mean([point.loss for point in part]) for part in (curve[:5], curve[-5:]))
        assert last < 0.85 * first


def test_a_teacher_of_pieces_teaches_a_student_of_other_pieces(encoders: dict[str, Path], tmp_path: Path) -> None:
    store, _ = make_world(tmp_path)
    config = changed(config_of(encoders["byte pairs"], tmp_path / "task.jsonl"), **SHORT)
    whole = run_distillation(store, "a", changed(config, student=given(encoders["word pieces"]), objective=BOTH))
    shorter = given(encoders["word pieces"], max_length=9)
    cut = run_distillation(store, "b", changed(config, student=shorter, objective=BOTH))
    assert whole.id != cut.id
    for run in (whole, cut):
        assert len(read_report(run.directory).curves.distill) == 8


def test_pairs_are_aligned_sentence_by_sentence(encoders: dict[str, Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    texts = [text for text, _ in utterances(40, 3)]
    rows = [
        {"id": str(i), "text": text, "text_pair": texts[i - 1], "label": "ab"[i % 2], "split": split}
        for i, text in enumerate(texts)
        for split in ["test" if i >= 30 else "train"]
    ]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    learnt = [{"utterance_id": row["id"], "text": row["text"], "text_pair": row["text_pair"]} for row in rows[:30]]
    make_transfer_set(store, "near", [row | {"neighbours": [neighbour("rain today")]} for row in learnt])
    config = changed(config_of(make_encoder(tmp_path / "teacher"), tmp_path / "task.jsonl"), **SHORT)
    config = changed(config, task={"shots": None, "target": "label"})
    run = run_distillation(store, "r", changed(config, student=given(encoders["word pieces"]), objective=BOTH))
    assert len(read_report(run.directory).curves.distill) == 8


@pytest.mark.parametrize("kind", ["joint", slow("slots")])
def test_slots_are_learnt_beside_states_of_other_tokens(kind: Kind, encoders: dict[str, Path], tmp_path: Path) -> None:
    store, config = make_kind(tmp_path, kind, **SHORT)
    run = run_distillation(store, "r", changed(config, student=given(encoders["word pieces"]), objective=BOTH))
    assert len(read_report(run.directory).curves.distill) == 8


def test_a_run_that_stops_goes_on_to_the_same_id_with_other_tokens_too(
    shared: tuple[Store, RunConfig], encoders: dict[str, Path], tmp_path: Path
) -> None:
    store, config = shared
    student = {"student": given(encoders["word pieces"], vocabulary="trimmed"), "objective": BOTH}
    whole = run_distillation(store, "whole", changed(config, **student))
    other, again = make_world(tmp_path)
    elsewhere = tmp_path / "moved"
    shutil.copytree(encoders["word pieces"], elsewhere)
    again = changed(changed(again, **SHORT), **student | {"student": given(elsewhere, vocabulary="trimmed")})

    def stop(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("distill", 5):
            raise Killed

    with pytest.raises(Killed):
        run_distillation(other, "whole", again, progress=stop)
    assert run_distillation(other, "whole", again).id == whole.id, "wherever its model lies"


def test_a_model_that_is_not_there_is_told_before_a_teacher_is_trained(
    shared: tuple[Store, RunConfig], tmp_path: Path
) -> None:
    _, config = shared
    empty = Store(tmp_path / "empty")
    shutil.copytree(shared[0].path("transfer-set", "near"), empty.path("transfer-set", "near"))
    with pytest.raises(NotFound, match="no such model"):
        run_distillation(empty, "r", changed(config, student=given(Path("no such model"))))
    assert not list(empty.root.glob("teachers/*"))


# Trimmed vocabularies


@pytest.mark.parametrize("origin", ["last", slow("scratch")])
def test_a_trimmed_student_is_smaller_and_says_how_much(encoders: dict[str, Path], tmp_path: Path, origin: str) -> None:
    store, _ = make_world(tmp_path)
    config = changed(config_of(encoders["word pieces"], tmp_path / "task.jsonl"), **SHORT)
    size = {} if origin == "scratch" else {"layers": 1, "width": None, "heads": None, "from": origin}
    runs = [
        run_distillation(store, name, changed(config, student={**size, "vocabulary": vocabulary}, objective=BOTH))
        for name, vocabulary in (("whole", "teacher"), ("trimmed", "trimmed"), ("few", 75))
    ]
    whole, trimmed, few = (read_report(run.directory).student for run in runs)
    assert len({run.id for run in runs}) == 3
    assert whole.vocabulary is None
    assert trimmed.vocabulary is not None
    assert few.vocabulary is not None
    assert few.vocabulary.pieces <= 75
    for facts in (trimmed, few):
        assert facts.vocabulary is not None
        assert facts.parameters == whole.parameters - facts.vocabulary.parameters_saved
        assert facts.vocabulary.changed == 0 or facts is few
    says_again(runs[1], config)
    says_again(runs[2], config)
    page = (runs[2].directory / "report.html").read_text(encoding="utf-8")
    assert f"{few.vocabulary.pieces} of {few.vocabulary.of} pieces" in page


def test_a_run_without_a_transfer_set_is_trimmed_to_its_training_rows(
    encoders: dict[str, Path], tmp_path: Path
) -> None:
    task = write_task(tmp_path / "task.jsonl", train=8)
    config = changed(config_of(encoders["word pieces"], task), **SHORT, transfer_set=None)
    config = changed(config, task={"shots": None}, student={"vocabulary": "trimmed"})
    run = run_distillation(Store(tmp_path / "a"), "r", config)
    facts = read_report(run.directory).student.vocabulary
    assert facts is not None
    assert facts.pieces < facts.of
    says_again(run, config)


# Static students


@pytest.mark.parametrize("kind", ["classes", "joint", slow("regression"), slow("slots"), slow("out-of-scope")])
def test_a_static_student_learns_every_kind_of_task(kind: Kind, tmp_path: Path) -> None:
    store, config = make_kind(tmp_path, kind, student=static(width=16))
    run = run_distillation(store, "r", changed(config, student=static(width=16)))
    report = read_report(run.directory)
    assert (report.student.layers, report.student.heads, report.student.width) == (0, 0, 16)
    assert report.curves.distill[-1].loss < 0.7 * report.curves.distill[0].loss
    folder = run.directory / "student"
    assert (folder / "sentence_head.safetensors").is_file() == (kind == "joint")
    opened = open_student(folder)
    assert opened.tags == (9 if kind in ("slots", "joint") else 0)
    if kind == "classes":
        assert report.metrics.finetuned["accuracy"] > 0.9
        says_again(run, config)
        page = (run.directory / "report.html").read_text(encoding="utf-8")
        assert "static embeddings of 16 numbers" in page


def test_a_static_student_repeats_and_is_another_for_another_beginning(
    shared: tuple[Store, RunConfig], tmp_path: Path
) -> None:
    store, config = shared
    ids = [
        run_distillation(where, name, changed(config, student=static(width=8, embeddings=embeddings))).id
        for where, name, embeddings in ((store, "s1", "teacher"), (store, "s2", "random"))
    ]
    assert len({*ids}) == 2
    other, again = make_world(tmp_path)
    again = changed(again, **SHORT, student=static(width=8))
    assert run_distillation(other, "s3", again).id == ids[0]


def test_a_static_student_has_no_layers_to_compare() -> None:
    config = config_of(Path("encoder"), Path("task"))
    with pytest.raises(BadInput, match=r"objective.intermediate is pkd, but a static student has no layers"):
        changed(config, student=static(), objective={"intermediate": "pkd"})


def test_a_run_that_is_refused_leaves_nothing_finished(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared
    with pytest.raises(BadInput, match="found a tokenizer of WordLevel"):
        run_distillation(store, "refused", changed(config, student={"vocabulary": "trimmed"}))
    assert not (store.path("run", "refused") / MANIFEST).exists()
