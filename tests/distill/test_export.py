"""Exports of every kind of task: whole or not there, the same each time, and every form says what the run said."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from contract.errors import BadInput, Busy, CorruptArtifact, NameTaken, NotFound
from contract.store import Store
from distill.judging.evaluation import answers_of, answers_of_table
from distill.judging.metrics import METRICS_OF
from distill.models.logits import Logits
from distill.pipeline import open_run
from distill.reading.gold import read_gold
from distill.reporting.outcome import read_report
from distill.settings.task import Kind
from distill.shipping import export as export_module
from distill.shipping.export import _where, export_run, open_export
from distill.shipping.forms import FILE_OF, FORMS, FormName, Spoken, open_form
from distill.shipping.meaning import meaning_of_run, read_meaning
from distill.shipping.outcome import read_export
from distill.shipping.parity import Scores, Unfaithful, check_float32, check_int8, distance, heard_of
from tests.distill.shipped import KINDS, QUICK, Shipped, make_export

BARE = replace(QUICK, forms=("torch",))

ALL_KINDS = [kind if kind in ("classes", "joint") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.fixture(params=ALL_KINDS)
def shipped(request: pytest.FixtureRequest, shipped_kind: Callable[[Kind], Shipped]) -> Shipped:
    return shipped_kind(request.param)


@pytest.fixture
def intents(shipped_kind: Callable[[Kind], Shipped]) -> Shipped:
    return shipped_kind("classes")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_of_the_test_what_the_run_wrote_down(shipped: Shipped, name: FormName) -> None:
    config, run, export = shipped.config, shipped.run, shipped.export
    gold = read_gold(config.task)
    form = open_form(export.directory, name, read_meaning(export.path("meaning.json")))
    said = form.speak(heard_of(gold))
    ours = answers_of(Logits(said.sentence, said.slots), gold)
    theirs = answers_of_table(pq.read_table(run.path("predictions.parquet")))
    if name != "int8":
        assert ours.labels == theirs.labels
        assert ours.slots == theirs.slots
        for one, other in ((ours.confidence, theirs.confidence), (ours.amounts, theirs.amounts)):
            assert (one is None) == (other is None)
            assert one is None or np.allclose(one, other, atol=1e-4)  # type: ignore[arg-type]
    else:
        for one, other in ((ours.labels, theirs.labels), (ours.slots, theirs.slots)):
            assert one is None or np.mean([a == b for a, b in zip(one, other, strict=True)]) > 0.8  # type: ignore[arg-type]
        if ours.amounts is not None:
            assert np.corrcoef(ours.amounts, theirs.amounts)[0, 1] > 0.99  # type: ignore[arg-type]


def test_the_outcome_holds_every_form_beside_the_teacher(shipped: Shipped) -> None:
    run, export = shipped.run, shipped.export
    found, report = read_export(export.directory), read_report(run.directory)
    assert list(found.forms) == ["teacher", *FORMS]
    decides = METRICS_OF[report.task.kind][0]
    assert found.decides == decides
    for name in ("torch", "onnx"):
        assert found.forms[name].metrics[decides] == pytest.approx(report.metrics.finetuned[decides], abs=1e-6)
    assert found.forms["teacher"].metrics[decides] == report.teacher.metrics[decides]
    assert all(0 < facts.latency.p50 <= facts.latency.p99 for facts in found.forms.values())
    assert found.forms["int8"].megabytes < found.forms["onnx"].megabytes
    distance = found.forms["onnx"].distance
    assert distance is not None
    assert distance <= 1e-4
    assert found.faster("teacher") is None
    assert found.faster("int8") == found.forms["teacher"].latency.p50 / found.forms["int8"].latency.p50


def test_the_lineage_names_all_it_hangs_on(shipped: Shipped) -> None:
    run, export = shipped.run, shipped.export
    found = {each.kind: each for each in read_export(export.directory).lineage}
    assert found["run"].id == run.id
    assert export.manifest.inputs == {"run": run.id}
    for kind, id_ in run.manifest.inputs.items():
        assert found[kind].id == id_
        assert id_ in (export.directory / "README.md").read_text(encoding="utf-8")
    assert found["transfer-set"].name == "near"
    assert found["task"].name is None


def test_the_lines_of_the_card_run(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    run, export = shipped.run, shipped.export
    card = (export.directory / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(export.directory)
    blocks = [block.splitlines() for block in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)]
    assert [len(block) for block in blocks] == [3, 3]
    kind = read_report(run.directory).task.kind
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec("\n".join(block), {})
        assert printed.getvalue().strip() not in ("", "None")
    assert ("sentence_head" in card) == (kind == "joint")
    assert ("out of scope: the threshold" in card) == (kind == "out-of-scope")


def test_no_form_holds_a_path_or_a_text_of_the_task(shipped: Shipped) -> None:
    config, export = shipped.config, shipped.export
    texts = [text for text, _ in read_gold(config.task).test.texts if len(text.split()) > 3]
    for path in export.directory.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        assert str(config.task.path).encode() not in content, path.name
        assert b"/distill/" not in content, path.name
        assert not any(text.encode() in content for text in texts), path.name


def test_plain_libraries_reach_the_score_of_the_report(intents: Shipped) -> None:
    """Without a line of ours between the folder and the score."""
    config, run, export = intents.config, intents.run, intents.export
    rows = [row for line in config.task.path.read_text().splitlines() if (row := json.loads(line))["split"] == "test"]
    folder = export.directory
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    names = model.config.id2label
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    right = [0, 0]
    for row in rows:
        with torch.no_grad():
            said = model(**tokenizer(row["text"], return_tensors="pt")).logits[0]
        text = plain.encode(row["text"])
        fed = {"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}
        theirs = session.run(["logits"], {name: np.array([values]) for name, values in fed.items()})[0][0]
        for place, logits in enumerate((said.numpy(), theirs)):
            right[place] += names[int(logits.argmax())] == row["intent"]
    accuracy = read_report(run.directory).metrics.finetuned["accuracy"]
    assert [count / len(rows) for count in right] == [accuracy, accuracy]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "slots", "joint"])
@pytest.mark.parametrize(
    "student",
    [
        {"from": "static", "width": 16, "layers": None, "heads": None},
        {"from": "last", "layers": 1, "width": None, "heads": None},
    ],
    ids=str,
)
def test_every_student_is_shipped(tmp_path: Path, kind: Kind, student: dict[str, Any]) -> None:
    shipped = make_export(tmp_path / "w", kind, student=student)
    found = read_export(shipped.export.directory)
    assert list(found.forms) == ["teacher", *FORMS]
    card = (shipped.export.directory / "README.md").read_text(encoding="utf-8")
    assert ("from transformers import pipeline" in card) == (student.get("from") != "static")
    assert found.opened_by_transformers == (student.get("from") != "static")


# Whole, or not there


class Killed(Exception):
    """What stands for a kill."""


def kill_at(wanted: str) -> Any:
    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == wanted:
            raise Killed

    return progress


def test_killed_anywhere_it_is_not_there_and_goes_on_to_the_same_bytes(intents: Shipped, tmp_path: Path) -> None:
    store, folder = intents.store, tmp_path / "ship"
    for stage in ("onnx", "latency"):
        with pytest.raises(Killed):
            export_run(store, "r1", QUICK, to=folder, progress=kill_at(stage))
        assert [path.name for path in folder.iterdir()] == [".draft"], "nothing that could be taken for a student"
        with pytest.raises(NotFound, match="not finished"):
            open_export(folder)
    whole = export_run(store, "r1", QUICK, to=folder)
    assert whole.id == intents.export.id
    assert whole.manifest.files == intents.export.manifest.files
    assert sorted(entry.name for entry in whole.manifest.attachments) == ["README.md", "export.json"]
    assert whole.verify() == []
    assert not list(folder.rglob(".*partial"))


def test_a_form_that_is_another_student_is_refused_and_leaves_nothing(
    intents: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = intents.store, tmp_path / "ship"
    real = export_module.write_onnx

    def without_its_mask(student: Any, path: Path) -> None:
        """What a faulty exporter once did: every text as long as the longest of its batch."""
        real(student, path)
        model = onnx.load(str(path))
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                if name == "attention_mask":
                    node.input[place] = "all_there"
        everything = onnx.helper.make_node("Greater", ["input_ids", "minus_one"], ["all_there_bool"])
        cast = onnx.helper.make_node("Cast", ["all_there_bool"], ["all_there"], to=onnx.TensorProto.INT64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(-1, np.int64), "minus_one"))
        model.graph.node.insert(0, cast)
        model.graph.node.insert(0, everything)
        onnx.save(model, str(path))

    monkeypatch.setattr(export_module, "write_onnx", without_its_mask)
    with pytest.raises(Unfaithful, match="no copy of the student: its logits differ by up to"):
        export_run(store, "r1", QUICK, to=folder)
    assert not folder.exists()


def test_two_at_once_are_one_and_a_sentence(intents: Shipped, tmp_path: Path) -> None:
    store, folder = intents.store, tmp_path / "ship"

    def another(stage: str, done: int, total: int | None) -> None:
        if stage == "parity":
            with pytest.raises(Busy):
                export_run(store, "r1", BARE, to=folder)

    assert export_run(store, "r1", BARE, to=folder, progress=another).verify() == []


def test_a_folder_of_something_else_is_left_alone(intents: Shipped, tmp_path: Path) -> None:
    store, folder = intents.store, tmp_path / "ship"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(NameTaken, match="not an artifact"):
        export_run(store, "r1", QUICK, to=folder)
    assert (folder / "mine.txt").read_text() == "mine"


def test_other_settings_under_a_finished_name_are_refused(intents: Shipped) -> None:
    with pytest.raises(NameTaken, match="licences"):
        export_run(intents.store, "r1", replace(QUICK, licences={"student": "mit"}))


def test_another_task_or_none_is_told(intents: Shipped, tmp_path: Path) -> None:
    store, folder = intents.store, tmp_path / "ship"
    with pytest.raises(NotFound, match="name it with --task"):
        export_run(store, "r1", replace(QUICK, task=tmp_path / "gone.jsonl"), to=folder)
    rows = [{"text": f"text {n}", "intent": f"i{n % 2}", "split": ("train", "test")[n % 4 > 1]} for n in range(8)]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadInput, match="is not the task that run r1 learnt"):
        export_run(store, "r1", replace(QUICK, task=tmp_path / "other.jsonl"), to=folder)


def test_the_task_of_a_run_that_a_service_ordered_is_found_by_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.jsonl").write_text('{"text": "a"}\n')
    assert _where(store, "mine") == tmp_path / "tasks" / "mine.jsonl"
    assert _where(store, "../mine") == Path("../mine")
    assert _where(store, str(tmp_path)) == tmp_path


def test_without_onnx_it_is_the_directory_and_the_card(intents: Shipped, tmp_path: Path) -> None:
    store, folder = intents.store, tmp_path / "ship"
    export = export_run(store, "r1", BARE, to=folder)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "meaning.json"} <= names
    assert not names & {FILE_OF["onnx"], FILE_OF["int8"]}
    assert "onnxruntime" not in (folder / "README.md").read_text(encoding="utf-8")
    assert "opset" not in export.manifest.params


def test_a_damaged_student_is_not_shipped(intents: Shipped, tmp_path: Path) -> None:
    weights = intents.run.directory / "student" / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CorruptArtifact, match="does not match"):
            export_run(intents.store, "r1", BARE, to=tmp_path / "ship")
    finally:
        weights.write_bytes(whole)


def test_without_its_teacher_there_is_nothing_to_be_faster_than(intents: Shipped, tmp_path: Path) -> None:
    """A store that has the run alone."""
    alone = Store(tmp_path / "alone")
    shutil.copytree(intents.run.directory, alone.path("run", "r1"))
    found = read_export(export_run(alone, "r1", BARE).directory)
    assert list(found.forms) == ["torch"]
    assert found.faster("torch") is None
    assert [each.name for each in found.lineage if each.kind == "teacher"] == [None]


def test_an_older_run_does_not_say_whether_it_is_of_pairs_but_its_export_does(intents: Shipped, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    shutil.copytree(intents.run.directory, alone.path("run", "r1"))
    path = alone.path("run", "r1") / "report.json"
    report = json.loads(path.read_bytes())
    del report["task"]["pairs"]
    path.write_text(json.dumps(report))
    assert meaning_of_run(open_run(alone, "r1")).pairs is None
    assert read_meaning(export_run(alone, "r1", BARE).path("meaning.json")) == meaning_of_run(intents.run)


# What is held against what


def test_a_loss_beyond_what_is_allowed_is_refused_but_one_row_may_always_differ(intents: Shipped) -> None:
    gold = read_gold(intents.config.task)
    whole = Scores({"accuracy": 0.9}, 0.0)
    for lost, refused in ((0.0, False), (1 / 40, False), (1.1 / 40, True)):
        scores: dict[FormName, Scores] = {"onnx": whole, "int8": Scores({"accuracy": 0.9 - lost}, 1.0)}
        with pytest.raises(Unfaithful, match=r"expected to lose at most 0\.5 points") if refused else nullcontext():
            check_int8(gold, scores, 0.005)
        check_int8(gold, scores, 0.05)


@pytest.mark.parametrize("distance_found", [1.01e-4, float("nan"), float("inf")])
def test_logits_that_are_not_the_students_are_refused(distance_found: float) -> None:
    with pytest.raises(Unfaithful):
        check_float32(Scores({}, distance_found))
    check_float32(Scores({}, 1e-4))


def test_a_word_that_one_form_says_and_the_other_does_not_is_infinitely_far() -> None:
    one, other = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    other[1] = np.nan
    assert distance(Spoken(None, one), Spoken(None, one)) == 0
    assert distance(Spoken(None, other), Spoken(None, other)) == 0
    assert distance(Spoken(None, one), Spoken(None, other)) == np.inf
