"""Claims of runs that select: known by it, told in the report, the same after a kill, refused where it cannot be."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import BadInput, CorruptArtifact
from contract.progress import silent
from contract.store import Store
from distill.config import RunConfig
from distill.models.states import Shape
from distill.objectives.objective import make_objective, soft_target_loss
from distill.pipeline import open_run, run_distillation
from distill.reading.gold import read_gold
from distill.reporting.outcome import RunReport, SelectionFacts, read_report
from distill.selecting.choices import Choices
from distill.selecting.disagreement import Disagreement
from distill.settings.selection import SelectionConfig
from distill.students.student import Student, make_student
from distill.teachers.lessons import Lessons, obtain_lessons
from distill.teachers.teacher import Teacher, ready_teacher
from distill.training.checkpoint import Checkpoint
from distill.training.curriculum import Stage
from distill.training.loop import Recipe
from distill.training.subject import Subject, taught_subject
from tests.distill.kinds import make_kind
from tests.distill.many_lives import told_after_kills
from tests.distill.test_pipeline import CPU, Killed, changed, killed_in
from tests.distill.tiny import make_world

FEW = {"distill": {"updates": 40}, "finetune": {"updates": 5}}
SWAP = {"name": "swap", "probability": 0.3}
CHOSEN = {"by": "disagreement", "keep": 0.4, "every": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    return make_world(tmp_path_factory.mktemp("world"))


def made(world: tuple[Store, RunConfig], name: str, selection: dict[str, Any], **sections: Any) -> RunReport:
    config = changed(world[1], **{**FEW, **sections}, selection=selection)
    return read_report(run_distillation(world[0], name, config).directory)


def selection_of(report: RunReport) -> SelectionFacts:
    assert report.transfer_set is not None
    assert report.transfer_set.selection is not None
    return report.transfer_set.selection


def lessons_of(world: tuple[Store, RunConfig], **sections: Any) -> tuple[RunConfig, Teacher, Lessons]:
    store, config = world[0], changed(world[1], **{**FEW, **sections})
    gold = read_gold(config.task)
    teacher = ready_teacher(store, config, gold, CPU, progress=silent)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    return config, teacher, lessons


def subject_of(world: tuple[Store, RunConfig], folder: Path, **sections: Any) -> tuple[Subject, Student]:
    config, teacher, lessons = lessons_of(world, **sections)
    student = make_student(config.new_student, teacher, CPU, seed=config.seed)
    shapes = Shape.of(student.config), Shape.of(teacher.model.encoder.config)
    objective = make_objective(config.objective, *shapes, pooling="mean", device="cpu", seed=0)
    recipe, gold = Recipe.of(config.distill, config.distill.updates, config.seed), read_gold(config.task)
    subject = taught_subject(config, gold, student, teacher, lessons, objective, recipe, CPU, Choices(folder))
    return subject, student


def batches(subject: Subject, first: int, last: int) -> set[int]:
    return {int(row) for number in range(first, last) for row in subject.order.rows(number)}


# Known and told


def test_a_run_is_known_by_its_selection_and_shares_its_labels(world: tuple[Store, RunConfig]) -> None:
    plain = run_distillation(world[0], "plain", changed(world[1], **FEW))
    report = made(world, "sure", {"by": "confidence", "keep": 0.3, "balance": True})
    manifest = open_run(world[0], "sure").manifest
    assert "selection" not in plain.manifest.params
    assert manifest.params["selection"]["keep"] == 0.3
    assert manifest.id != plain.id
    assert manifest.inputs == plain.manifest.inputs, "all texts are labelled, whoever learns them"
    assert selection_of(report) == SelectionFacts(80, 24, {"not_chosen": 56})
    assert report.transfer_set is not None
    assert (report.transfer_set.texts, report.transfer_set.learnt) == (160, 104)


def test_a_report_says_in_a_line_what_was_left_out(world: tuple[Store, RunConfig]) -> None:
    facts = selection_of(made(world, "told", {"by": "margin", "keep": 0.5, "off_task": 0.9}))
    assert set(facts.dropped) == {"off_task", "not_chosen"}
    assert facts.texts + sum(facts.dropped.values()) == facts.asked == 80
    page = (world[0].path("run", "told") / "report.html").read_text()
    off, rest = facts.dropped["off_task"], facts.dropped["not_chosen"]
    assert f"40 of 80 (off task: {off}; not chosen: {rest})" in page


def test_a_report_says_what_choosing_on_the_way_took(world: tuple[Store, RunConfig]) -> None:
    facts = selection_of(made(world, "anew", CHOSEN))
    assert facts.anew is not None
    assert (facts.asked, facts.texts, facts.dropped) == (80, 80, {})
    assert (facts.anew.choices, facts.anew.texts) == (3, 240), "not at the beginning, when the student knows nothing"
    assert "80 of 80 (chosen anew 3 times in " in (world[0].path("run", "anew") / "report.html").read_text()


@pytest.mark.parametrize("sections", [{}, {"distill": {"updates": 30, "batch_size": 4, "accumulate": 2}}])
@pytest.mark.parametrize("every", [1, 7, 30])
def test_no_more_texts_are_looked_at_than_are_learnt(
    world: tuple[Store, RunConfig], tmp_path: Path, every: int, sections: dict[str, Any]
) -> None:
    subject, _ = subject_of(world, tmp_path, selection={**CHOSEN, "every": every}, **sections)
    size = len(subject.order.rows(0))
    total = 60 if sections else 40
    for number in range(total):
        subject.order.rows(number)
    cost = Choices(tmp_path).cost
    assert (cost.texts if cost else 0) <= total * size


# What is learnt


def test_only_what_is_selected_is_learnt_and_utterances_are_always(
    world: tuple[Store, RunConfig], tmp_path: Path
) -> None:
    *_, lessons = lessons_of(world, selection={"by": "entropy", "keep": 0.2})
    subject, _ = subject_of(world, tmp_path, selection={"by": "entropy", "keep": 0.2})
    learnt = batches(subject, 0, 40)
    own = np.flatnonzero(lessons.texts.table["utterance_id"].is_valid().to_numpy())
    assert learnt == {*lessons.rows.tolist()}
    assert {*own.tolist()} < learnt
    assert len(learnt) == 80 + 16


def test_a_selection_is_learnt_as_if_nothing_else_had_been_there(
    world: tuple[Store, RunConfig], tmp_path: Path
) -> None:
    subject, _ = subject_of(world, tmp_path, selection={"by": "confidence", "keep": 0.3})
    *_, lessons = lessons_of(world, selection={"by": "confidence", "keep": 0.3})
    alone = Recipe.of(world[1].distill, 40, 0).order(np.asarray(subject.examples.tokens.lengths)[lessons.rows])
    for number in range(20):
        assert np.array_equal(subject.order.rows(number), lessons.rows[alone.rows(number)])


def test_a_trimmed_vocabulary_has_the_pieces_of_what_is_learnt_alone(world: tuple[Store, RunConfig]) -> None:
    *_, lessons = lessons_of(world, selection={"by": "random", "keep": 0.1, "texts": "both"})
    texts = lessons.texts.table["text"].to_pylist()
    assert [text for text, _ in lessons.sentences] == [texts[row] for row in lessons.rows.tolist()]
    assert len(lessons.rows) == 16


def test_copies_are_chosen_among_copies_and_counted_with_them(world: tuple[Store, RunConfig]) -> None:
    augmentation = {"operations": [SWAP], "every": 2}
    sections = {"augmentation": augmentation, "curriculum": {"by": "rank"}}
    report = made(world, "copies", {"by": "confidence", "keep": 0.5, "off_task": 0.5}, **sections)
    assert report.transfer_set is not None
    facts = report.transfer_set.augmentation
    assert facts is not None
    assert facts.asked == facts.texts + sum(facts.dropped.values())
    assert facts.dropped["not_chosen"] > 0
    assert facts.dropped["unchanged"] > 0
    *_, lessons = lessons_of(world, selection={"by": "confidence", "keep": 0.5}, **sections)
    rows = len(lessons.rows) + len(lessons.generations[0].lessons.rows)
    assert lessons.generations[1].begin == 2 * (rows // 16), "an epoch is of what is learnt"


def test_a_selection_that_leaves_nothing_gets_a_sentence(world: tuple[Store, RunConfig]) -> None:
    with pytest.raises(BadInput, match=r"leaves none of the 160 texts .*selection.off_task = 0.9999 asks; lower it"):
        made(world, "none", {"off_task": 0.9999, "texts": "both"})


def test_a_task_that_turns_out_to_have_no_classes_is_told_before_a_teacher_is_trained(tmp_path: Path) -> None:
    store, config = make_kind(tmp_path, "regression")
    unknown = changed(config, task={"kind": None}, selection={"by": "entropy"})
    with pytest.raises(BadInput, match="which a task of regression has not"):
        run_distillation(store, "r", unknown)
    assert not store.path("teacher", "x").parent.exists()


KINDS = ["joint", pytest.param("out-of-scope", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_with_classes_select_by_what_is_said_of_sentences(tmp_path: Path, kind: Any) -> None:
    store, config = make_kind(tmp_path, kind, distill={"updates": 30}, finetune={"updates": 5})
    for selection in ({"by": "margin", "keep": 0.3, "balance": True}, {**CHOSEN, "balance": True}):
        report = read_report(run_distillation(store, selection["by"], changed(config, selection=selection)).directory)
        assert selection_of(report).asked == 80


@pytest.mark.parametrize("kind", ["slots", pytest.param("regression", marks=pytest.mark.slow)])
def test_tasks_without_classes_can_draw_at_random(tmp_path: Path, kind: Any) -> None:
    store, config = make_kind(tmp_path, kind, distill={"updates": 20}, finetune={"updates": 5})
    report = read_report(run_distillation(store, "r", changed(config, selection={"by": "random"})).directory)
    assert selection_of(report).texts == selection_of(report).asked // 2


# Disagreement


def disagreement(
    world: tuple[Store, RunConfig], folder: Path, **settings: Any
) -> tuple[Disagreement, Subject, Student]:
    subject, student = subject_of(world, folder, augmentation={"operations": [SWAP]}, student={"dropout": 0.5})
    _, _, lessons = lessons_of(world, augmentation={"operations": [SWAP]}, selection={"off_task": 0.001})
    parts = [lessons, lessons.generations[0].lessons]
    selections = [part.selection for part in parts if part.selection]
    config = SelectionConfig.model_validate({**CHOSEN, **settings})
    always = np.concatenate([selection.always for selection in selections])
    classes = np.concatenate([selection.classes for selection in selections if selection.classes is not None])
    chooser = Disagreement(config, student, subject.examples, always, classes, 2.0, 16, 0, CPU, Choices(folder))
    return chooser, subject, student


def test_a_score_is_the_loss_of_the_text_alone(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    """In the order of the rows, whatever their lengths and parts; nobody drops out, and nothing is left behind."""
    chooser, subject, student = disagreement(world, tmp_path)
    student.model.train()
    rows = np.arange(3, len(chooser.always), 5)
    before = torch.random.get_rng_state()
    scores = chooser.scores(rows)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert student.model.training
    student.model.eval()
    with torch.no_grad():
        for row, score in zip(rows, scores, strict=True):
            one = np.array([row])
            said, taught = student.forward(subject.examples.tokens.batch(one)), subject.examples.stored(one, "cpu")
            assert said.logits is not None
            assert taught.logits is not None
            loss = soft_target_loss(said.logits, taught.logits, temperature=2.0) / 4
            assert score == pytest.approx(float(loss), abs=1e-5)
    assert len({round(float(score), 6) for score in scores}) > len(rows) // 2


def test_the_farthest_are_chosen_beside_the_utterances(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    chooser, _, _ = disagreement(world, tmp_path)
    rows = np.arange(len(chooser.always))
    free = rows[~chooser.always]
    scores = chooser.scores(free)
    chosen = chooser(Stage(10, 10_000), 10, rows)
    assert {*rows[chooser.always].tolist()} <= {*chosen.tolist()}
    mine = np.isin(free, chosen)
    assert mine.sum() == round(0.4 * len(free))
    assert scores[mine].min() >= scores[~mine].max()
    near, *_ = disagreement(world, tmp_path / "near", order="low")
    mine = np.isin(free, near(Stage(10, 10_000), 10, rows))
    assert scores[mine].max() <= scores[~mine].min()


def test_few_batches_look_at_few_texts_drawn_by_the_seed(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    draws = []
    for name, begin in (("a", 10), ("b", 10), ("c", 12)):
        chooser, *_ = disagreement(world, tmp_path / name, keep=1.0)
        chosen = chooser(Stage(begin, begin + 2), begin, np.arange(len(chooser.always)))
        draws.append(chosen[~chooser.always[chosen]].tolist())
    assert len(draws[0]) == 32
    assert draws[0] == draws[1] != draws[2]


def test_chosen_classes_are_level_where_that_is_asked(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    counts = []
    for balance in (False, True):
        chooser, *_ = disagreement(world, tmp_path / str(balance), balance=balance)
        chosen = chooser(Stage(10, 10_000), 10, np.arange(len(chooser.always)))
        assert chooser.classes is not None
        counts.append(np.bincount(chooser.classes[chosen[~chooser.always[chosen]]], minlength=4))
    assert counts[0].sum() == counts[1].sum()
    assert np.ptp(counts[1]) <= 1 < np.ptp(counts[0])


# Killed


def toml_of(config: RunConfig) -> str:
    """The settings as a RUN.toml."""
    sections = {name: values for name, values in config.to_json().items() if isinstance(values, dict)}
    lines = [f"{section}.{key} = {json.dumps(value)}" for section, values in sections.items()
             for key, value in values.items() if value not in (None, {})]  # fmt: skip
    return "\n".join([f"seed = {config.seed}", f'precision = "{config.precision}"', *lines])


SECTIONS: list[dict[str, Any]] = [
    {},
    {"distill": {"updates": 40, "accumulate": 3}},
    {"distill": {"updates": 40, "batch_size": 64, "tokens_per_batch": 200}},
    {"augmentation": {"operations": [SWAP], "every": 1}, "curriculum": {"by": "rank"}, "mixup": {"batches": "append"}},
]


@pytest.mark.parametrize("sections", SECTIONS, ids=["plain", "accumulated", "by tokens", "augmented in stages, mixed"])
def test_a_run_that_chooses_goes_on_to_the_same_id(
    world: tuple[Store, RunConfig], monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> None:
    """Killed before the first choice, right after one, in the midst of a stage, with checkpoints of other updates."""
    store, config = world[0], changed(world[1], **{**FEW, **sections}, selection=CHOSEN)
    whole = run_distillation(store, "whole", config).id
    updates = count(1)
    monkeypatch.setattr(Checkpoint, "due", lambda self: next(updates) % 7 == 0)
    for at in (3, 11, 16, 29):
        with pytest.raises(Killed):
            run_distillation(store, "broken", config, progress=killed_in("distill", at))
    assert run_distillation(store, "broken", config).id == whole
    for name in ("whole", "broken"):
        shutil.rmtree(store.path("run", name))


def test_a_choice_that_is_gone_is_told_and_not_made_by_another_model(
    world: tuple[Store, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, config = world[0], changed(world[1], **FEW, selection=CHOSEN)
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(Killed):
        run_distillation(store, "gone", config, progress=killed_in("distill", 25))
    for path in (store.path("run", "gone") / ".draft").rglob("chosen/*"):
        path.unlink()
    with pytest.raises(CorruptArtifact, match="gone or damaged; run the same command with --restart"):
        run_distillation(store, "gone", config)
    assert run_distillation(store, "gone", config, restart=True).id


@pytest.mark.slow
def test_a_run_that_chooses_and_is_killed_at_any_moment_is_the_same(tmp_path: Path) -> None:
    few = {"distill": {"updates": 24}, "teacher": {"updates": 10}, "finetune": {"updates": 3}}
    store, config = make_world(tmp_path)
    config = changed(config, **few, selection={**CHOSEN, "every": 4})
    (tmp_path / "RUN.toml").write_text(toml_of(config))
    told = told_after_kills(tmp_path)
    shutil.rmtree(store.root)
    store, config = make_world(tmp_path)
    whole = run_distillation(store, "whole", changed(config, **few, selection={**CHOSEN, "every": 4}))
    assert told["id"] == whole.id
    assert told["left"] == ["manifest.json", "predictions.parquet", "report.html", "report.json", "student"]


@pytest.mark.slow
def test_two_processes_choose_the_same(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    both = changed(config, **FEW, selection=CHOSEN, processes=2)
    whole = run_distillation(store, "whole", both)
    assert selection_of(read_report(whole.directory)).anew is not None
    with pytest.raises(Killed):
        run_distillation(store, "broken", both, progress=killed_in("distill", 23))
    assert run_distillation(store, "broken", both).id == whole.id
