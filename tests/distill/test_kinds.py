"""Every kind of task, from its file to its report, in the tiny world: the student learns it by the teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from contract.progress import silent
from contract.store import Store
from distill.comparing.comparison import CompareOptions, compare
from distill.config import RunConfig, make_config
from distill.judging.metrics import METRICS, METRICS_OF
from distill.judging.predictions import predictions_of
from distill.models.device import Device
from distill.models.logits import logits_of
from distill.pipeline import run_distillation
from distill.reading.gold import NO_LABEL, read_gold
from distill.reading.known import Known
from distill.reading.slots import repair
from distill.reading.texts import open_transfer_set, read_texts
from distill.reporting.outcome import RunReport, read_report
from distill.settings.task import Kind
from distill.students.student import Student, make_student
from distill.teachers.labels import obtain_labels, read_labels
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import Teacher, obtain_teacher, open_teacher
from tests.distill.kinds import make_kind, tagged
from tests.distill.pages import check_page
from tests.distill.tokenizers_for_tests import TOKENIZERS

CPU = Device("cpu", "float32")
KINDS: tuple[Kind, ...] = ("regression", "slots", "joint", "out-of-scope")
LONG = {"distill": {"updates": 200}}


class Killed(Exception):
    """What stands for a kill."""


@pytest.fixture(scope="module", params=KINDS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    store, config = make_kind(tmp_path_factory.mktemp(request.param), request.param, **LONG)
    run = run_distillation(store, "r1", config)
    return request.param, store, config, run, read_report(run.directory)


def test_the_student_learns_it(finished: tuple[Kind, Store, RunConfig, Any, RunReport]) -> None:
    kind, _, _, run, report = finished
    decides = METRICS_OF[kind][0]
    assert report.task.kind == kind
    assert report.teacher.metrics[decides] > 0.85
    assert report.metrics.finetuned[decides] > 0.75
    assert report.metrics.distilled is not None
    assert report.metrics.distilled["agreement"] > 0.6
    said = predictions_of(pq.read_table(run.path("predictions.parquet")))
    assert said.kind == kind
    for name in METRICS_OF[kind]:
        assert report.metrics.finetuned[name] == METRICS[name](said.student)
        assert report.teacher.metrics[name] == METRICS[name](said.teacher)
        low, high = report.metrics.intervals[name]
        assert low <= high


def test_its_page_names_the_metrics_and_their_formulas(finished: tuple[Kind, Store, RunConfig, Any, RunReport]) -> None:
    kind, _, _, run, _ = finished
    page = check_page((run.directory / "report.html").read_text(encoding="utf-8")).text
    for name in METRICS_OF[kind]:
        assert METRICS[name].title in page
        assert METRICS[name].formula in page
    assert f"{METRICS[METRICS_OF[kind][0]].title} decides a comparison." in page


def test_a_comparison_is_decided_by_its_metric(finished: tuple[Kind, Store, RunConfig, Any, RunReport]) -> None:
    kind, store, config, _, report = finished
    run_distillation(store, "plain", changed(config, transfer_set=None, finetune={"updates_alone": 30}))
    (group,) = compare(store, ["r1", "plain"], CompareOptions(resamples=200)).groups
    assert group.metric is METRICS[METRICS_OF[kind][0]]
    assert group.best.score.value == max(arm.score.value for arm in group.arms)
    assert next(arm for arm in group.arms if arm.name == "retrieved").score.value == pytest.approx(
        report.metrics.finetuned[METRICS_OF[kind][0]]
    )
    for name in METRICS_OF[kind]:
        (asked,) = compare(store, ["r1", "plain"], CompareOptions(resamples=200, metric=name)).groups
        scores = [arm.score.value for arm in asked.arms]
        assert scores == sorted(scores, reverse=asked.metric.is_error)


@pytest.mark.parametrize(
    "kind", ["joint", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "joint")]
)
def test_a_run_that_stops_goes_on_to_the_same_id(kind: Kind, tmp_path: Path) -> None:
    short = {"distill": {"updates": 30}}
    store, config = make_kind(tmp_path / "whole", kind, **short)
    whole = run_distillation(store, "r1", config).id
    store, config = make_kind(tmp_path / "broken", kind, **short)
    for stage, stop in (("labels", 0), ("distill", 17), ("finetune", 20)):

        def listen(told: str, done: int, total: int | None, at: tuple[str, int] = (stage, stop)) -> None:
            if (told, done) == at:
                raise Killed

        with pytest.raises(Killed):
            run_distillation(store, "r1", config, progress=listen)
    assert run_distillation(store, "r1", config).id == whole


def changed(config: RunConfig, **sections: Any) -> RunConfig:
    raw = config.to_json()
    for section, values in sections.items():
        raw[section] = {**raw[section], **values} if isinstance(values, dict) else values
    return make_config(raw)


# Slots


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig, Teacher]:
    store, config = make_kind(tmp_path_factory.mktemp("joint"), "joint")
    artifact = obtain_teacher(store, config.teacher, read_gold(config.task), CPU, progress=silent)
    return store, config, open_teacher(artifact, CPU)


def test_neighbours_without_slots_are_labelled_by_the_teacher_word_by_word(
    joint: tuple[Store, RunConfig, Teacher],
) -> None:
    store, _, teacher = joint
    transfer_set = open_transfer_set(store, "near")
    texts = read_texts(transfer_set)
    labels = obtain_labels(store, teacher, transfer_set, texts, CPU, progress=silent)
    stored = read_labels(labels, texts, len(teacher.tags))
    assert stored.slots is not None
    offsets = texts.words(0, texts.table.num_rows).offsets
    best = stored.slots.rows(np.arange(offsets[-1])).argmax(axis=1)
    right = total = 0
    for row, text in enumerate(texts.table["text"].to_pylist()):
        words = slice(*offsets[row : row + 2])
        said = repair([teacher.tags[tag] for tag in best[words]])
        right += sum(one == other for one, other in zip(said, tagged(text), strict=True))
        total += len(said)
    assert right / total > 0.9
    assert labels.manifest.params["slot_top"] == 16
    again = obtain_labels(store, teacher, transfer_set, texts, CPU, progress=lambda *_: pytest.fail("they are there"))
    assert again.id == labels.id


def test_a_student_with_another_tokenizer_is_taught_the_same_of_every_word(
    joint: tuple[Store, RunConfig, Teacher],
) -> None:
    store, config, teacher = joint
    gold = read_gold(config.task)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    own = make_student(config.new_student, teacher, CPU, seed=0)
    taught = []
    for tokenizer in (own.tokenizer, TOKENIZERS["byte pairs"](), TOKENIZERS["letters"]()):
        examples = lessons.examples(Student(own.model, tokenizer, 200, tags=own.tags), gold)
        rows = np.array([3, 0, 80, 5])
        said, targets = examples.stored(rows, "cpu"), examples.targets(rows, "cpu")
        assert said.slot_logits is not None
        assert targets.tags is not None
        assert len(said.slot_logits) == len(targets.tags) == len(examples.tokens.batch(rows).words)  # type: ignore[arg-type]
        taught.append((said.slot_logits.numpy(), targets.tags.numpy()))
    for logits, tags in taught[1:]:
        assert np.array_equal(logits, taught[0][0])
        assert np.array_equal(tags, taught[0][1])


def test_gold_tags_stand_beside_the_words_of_training_rows_alone(joint: tuple[Store, RunConfig, Teacher]) -> None:
    store, config, _ = joint
    gold = read_gold(config.task)
    texts = read_texts(open_transfer_set(store, "near"))
    table = texts.table
    offsets = texts.words(0, table.num_rows).offsets
    tags = Known(gold, texts).tags(offsets)
    for row, (text, utterance) in enumerate(
        zip(table["text"].to_pylist(), table["utterance_id"].to_pylist(), strict=True)
    ):
        of_row = tags[np.arange(*offsets[row : row + 2])].tolist()
        assert of_row == ([gold.tags.index(tag) for tag in tagged(text)] if utterance else [-1] * len(of_row))


def test_gold_classes_stand_beside_training_rows_alone(joint: tuple[Store, RunConfig, Teacher]) -> None:
    store, config, _ = joint
    gold = read_gold(config.task)
    texts = read_texts(open_transfer_set(store, "near"))
    classes = Known(gold, texts).classes
    assert classes is not None
    found = classes[np.arange(texts.table.num_rows)].tolist()
    of_row = dict(zip(gold.train.table["text"].to_pylist(), gold.train.classes, strict=True))  # type: ignore[arg-type]
    rows = zip(texts.table["text"].to_pylist(), texts.table["utterance_id"].to_pylist(), strict=True)
    assert found == [of_row[text] if utterance else NO_LABEL for text, utterance in rows]


def test_the_labels_of_other_words_are_not_taken(joint: tuple[Store, RunConfig, Teacher]) -> None:
    from contract.errors import CorruptArtifact

    store, _, teacher = joint
    transfer_set = open_transfer_set(store, "near")
    texts = read_texts(transfer_set)
    labels = obtain_labels(store, teacher, transfer_set, texts, CPU, progress=silent)
    column = texts.table["text"].to_pylist()
    column[0] = column[0].replace(" ", "-")
    other = replace(
        texts,
        table=texts.table.set_column(1, "text", [column]).set_column(4, "tokens", [[None] * len(column)]),
        transfer_set="another",
    )
    with pytest.raises(CorruptArtifact, match="holds other texts"):
        read_labels(labels, other, len(teacher.tags))


def test_words_the_teacher_does_not_read_teach_nothing(joint: tuple[Store, RunConfig, Teacher]) -> None:
    """A text longer than the teacher reads: its last words are learnt from no one, and the test's are outside."""
    _, _, teacher = joint
    from distill.reading.words import gather_words, split_words

    text = " ".join(["rain"] * 60)
    tokens = teacher.tokens([text, "rain"], [None, None], gather_words([split_words(text), split_words("rain")]))
    found = logits_of(teacher.model, teacher.model, tokens, CPU).slots
    assert found is not None
    assert np.isnan(found[:, 0]).tolist() == [False] * 30 + [True] * 30 + [False]


def test_a_joint_student_is_two_files_that_plain_libraries_open(
    joint: tuple[Store, RunConfig, Teacher], tmp_path: Path
) -> None:
    """The tagger by transformers, the sentence head by safetensors and one product: they say what the student says."""
    import torch
    from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

    from distill.reading.tokens import tokenize
    from distill.reading.words import gather_words, split_words

    _, config, teacher = joint
    student = make_student(config.new_student, teacher, CPU, seed=0)
    student.model.eval()
    student.save(tmp_path)
    tagger, tokenizer = (
        AutoModelForTokenClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    text = "please play the song now"
    words = gather_words([split_words(text)])
    with torch.no_grad():
        said = student.forward(tokenize(tokenizer, [text], [None], max_length=32, words=words).batch(np.zeros(1, int)))
        theirs = tagger(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        head = load_file(tmp_path / "sentence_head.safetensors")
        logits = theirs.hidden_states[-1][:, 0] @ head["weight"].T + head["bias"]
        encoded = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)(**tokenizer(text, return_tensors="pt"))
    assert said.logits is not None
    assert said.slot_logits is not None
    assert torch.allclose(said.logits, logits, atol=1e-5)
    assert torch.allclose(said.slot_logits, theirs.logits[0, 1:-1], atol=1e-5), "each word is a token here"
    assert torch.allclose(encoded.last_hidden_state, theirs.hidden_states[-1], atol=1e-5)
    assert tagger.config.sentence_labels == list(teacher.classes)
    assert [tagger.config.id2label[n] for n in range(len(teacher.tags))] == list(teacher.tags)


def test_layers_kept_of_the_teacher_make_a_joint_student_too(joint: tuple[Store, RunConfig, Teacher]) -> None:
    _, config, teacher = joint
    kept = config.student.model_copy(update={"origin": "last", "width": None, "heads": None, "layers": 1})
    student = make_student(kept, teacher, CPU, seed=0)
    theirs = teacher.model.encoder.state_dict()["encoder.layer.1.output.dense.weight"]
    assert student.transformer.state_dict()["bert.encoder.layer.0.output.dense.weight"].equal(theirs)


# Languages


def test_several_languages_have_a_score_each(tmp_path: Path) -> None:
    import json

    store, config = make_kind(tmp_path, "joint", distill={"updates": 1}, finetune={"updates": 1})
    path = config.task.path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["lang"] = "de" if row["split"] == "test" and number % 3 == 0 else "en"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_distillation(store, "r1", config)
    report = read_report(run.directory)
    said = predictions_of(pq.read_table(run.path("predictions.parquet")))
    found = {each.lang: each for each in report.metrics.by_language}
    assert sorted(found) == ["de", "en"]
    assert found["de"].rows + found["en"].rows == 40
    mean = sum(each.rows * (each.teacher or 0) for each in found.values()) / 40
    assert mean == pytest.approx(METRICS["exact_match"](said.teacher))
    assert "By language" in check_page((run.directory / "report.html").read_text(encoding="utf-8")).text
