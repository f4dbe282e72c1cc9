"""Teachers of every sort: without answers, several together, the same for every test; what they say, live or stored."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from scipy.special import softmax

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.manifest import MANIFEST
from contract.progress import silent
from contract.store import Store
from distill.comparing.comparison import CompareOptions, compare
from distill.comparing.page import render_comparison
from distill.comparing.table import comparison_to_json
from distill.config import RunConfig, make_config
from distill.models.device import Device
from distill.models.logits import Logits
from distill.models.states import Said, Sight
from distill.objectives.objective import Objective
from distill.pipeline import run_distillation
from distill.reading.gold import read_gold
from distill.reading.source import Targets
from distill.reading.tokens import Batch
from distill.reporting.outcome import RunReport, read_report
from distill.settings.task import Kind
from distill.shipping.export import ExportOptions, export_run
from distill.shipping.outcome import read_export
from distill.students.student import Student, make_student
from distill.teachers.answers import obtain_answers
from distill.teachers.ensemble import averaged
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import ready_teacher
from distill.tuning.run_toml import to_toml
from distill.tuning.search_space import raw_settings
from tests.distill.kinds import make_kind
from tests.distill.masked_lms import make_masked_lm
from tests.distill.test_intermediate_runs import changed
from tests.distill.tiny import make_world

CPU = Device("cpu", "float32")
AS_IT_IS = {"updates": 0}
OF_STATES = {"soft_weight": 0.0, "intermediate": ["hidden-mse", "minilmv2"]}
OF_TOKENS = {"soft_weight": 0.0, "mlm_weight": 1.0}
HOMES = ("teachers", "labels")


def shortened(config: RunConfig, **sections: Any) -> RunConfig:
    short = changed(config, distill={"updates": 8}, finetune={"updates": 30}, precision="float32")
    return changed(changed(short, teacher={"updates": 20}), **sections)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    store, config = make_world(tmp_path_factory.mktemp("world"))
    return store, shortened(config)


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_masked_lm(tmp_path_factory.mktemp("masked") / "lm"))


def reported(run: Artifact) -> RunReport:
    return read_report(run.directory)


def made(store: Store) -> set[str]:
    """The teachers and labels there are."""
    return {
        str(path.parent.relative_to(store.root)) for home in HOMES for path in store.root.glob(f"{home}/*/{MANIFEST}")
    }


# Without answers of its own


def test_a_teacher_as_it_is_hands_on_its_states_and_nothing_else(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    before = made(store)
    run = run_distillation(store, "states", changed(config, teacher=AS_IT_IS, objective=OF_STATES))
    report = reported(run)
    assert sorted(run.manifest.inputs) == ["task", "teacher", "transfer-set"], "no labels were made"
    assert {path.split("/")[0] for path in made(store) - before} == {"teachers"}
    assert report.teacher.metrics == {}
    assert "agreement" not in report.metrics.finetuned
    assert report.curves.finetune[-1].update == 30, "the student is finetuned as any other"
    assert report.curves.distill[-1].loss < report.curves.distill[0].loss
    columns = pq.read_table(run.path("predictions.parquet")).column_names
    assert not any(column.startswith("teacher") for column in columns)


def test_the_page_says_that_such_a_teacher_has_no_answers(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    run = run_distillation(store, "states", changed(config, teacher=AS_IT_IS, objective=OF_STATES))
    page = (run.directory / "report.html").read_text()
    assert "has no answers of its own" in page
    assert "not finetuned" in page
    assert "unknown" not in page
    assert "Of the teacher kept" not in page


def test_a_teacher_as_it_is_serves_every_task_and_every_seed(tmp_path: Path, world: tuple[Store, RunConfig]) -> None:
    """Nothing of a task is in it: it is made once."""
    store, config = world
    one = shortened(config, teacher=AS_IT_IS, objective=OF_STATES)
    ids = set()
    for other in (one, changed(one, task={"shots": 3}), changed(one, teacher={"seed": 4, "learning_rate": 1e-5})):
        ids.add(ready_teacher(store, other, read_gold(other.task), CPU, progress=silent).id)
    ids.add(ready_teacher(store, one, read_gold(one.task), Device("cpu", "bfloat16"), progress=silent).id)
    assert len(ids) == 1
    longer = changed(one, teacher={"max_length": 16})
    assert ready_teacher(store, longer, read_gold(one.task), CPU, progress=silent).id not in ids


@pytest.mark.parametrize("kind", ["joint", "regression", "slots"])
def test_other_kinds_of_tasks_learn_from_it_too(tmp_path: Path, kind: Kind) -> None:
    store, config = make_kind(tmp_path, kind)
    report = reported(run_distillation(store, kind, shortened(config, teacher=AS_IT_IS, objective=OF_STATES)))
    assert report.teacher.metrics == {}
    assert report.metrics.teacher_intervals == {}


def test_runs_of_such_a_teacher_are_compared_with_others(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    run_distillation(store, "plain", changed(config, transfer_set=None))
    run_distillation(store, "soft", config)
    run_distillation(store, "states", changed(config, teacher=AS_IT_IS, objective=OF_STATES))
    mixed = compare(store, ["plain", "soft", "states"], CompareOptions())
    (group,) = mixed.groups
    assert group.teacher.score is not None, "the mean of those that have answers"
    states = compare(store, ["states"], CompareOptions())
    assert states.groups[0].teacher.score is None
    assert states.groups[0].arms[0].agreement is None
    for comparison in (mixed, states):
        assert "teacher" in render_comparison(comparison)
        comparison_to_json(comparison)


def test_a_student_can_be_kept_of_a_teacher_as_it_is(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    kept = {"layers": 1, "width": None, "heads": None, "from": "first"}
    plain = changed(config, teacher=AS_IT_IS, student=kept, transfer_set=None)
    assert reported(run_distillation(store, "kept-plain", plain)).student.width == 32


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"teacher": AS_IT_IS}, "has no answers to match, but objective.soft_weight is 1; set it to 0"),
        ({"teacher": AS_IT_IS, "objective": {"soft_weight": 0, "hard_weight": 1}}, "names nothing else of it"),
        ({"teacher": {**AS_IT_IS, "beside": [{"seed": 1}]}, "objective": OF_STATES}, "none to average"),
        ({"teacher": {"beside": [{}]}}, "stands twice"),
        ({"teacher": {"beside": [{"seed": 1}, {"seed": 1}]}}, "stands twice"),
        ({"teacher": {"beside": [{"updates": 0}]}}, "teacher.beside.0.updates"),
        ({"teacher": {"beside": [{"seed": seed} for seed in range(1, 9)]}}, "at most 7"),
        ({"student": {"from": "static", "layers": None, "heads": None}, "objective": OF_TOKENS}, "a static student"),
    ],
)
def test_what_does_not_go_together_gets_a_sentence(
    world: tuple[Store, RunConfig], sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        changed(world[1], **sections)


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("as-it-is", {"teacher": AS_IT_IS, "objective": OF_STATES}),
        ("several", {"teacher": {"updates": 20, "beside": [{"seed": 1, "updates": 10}]}}),
    ],
)
def test_its_students_are_shipped(world: tuple[Store, RunConfig], name: str, sections: dict[str, Any]) -> None:
    """Without the teacher's time: there is not one model that answers."""
    store, config = world
    run_distillation(store, f"ship-{name}", changed(config, **sections))
    export = export_run(store, f"ship-{name}", ExportOptions(forms=("torch",), timed_texts=2))
    assert set(read_export(export.directory).forms) == {"torch"}
    kinds = [ancestor.kind for ancestor in read_export(export.directory).lineage if ancestor.name]
    assert kinds.count("teacher") + kinds.count("teacher-1") == (2 if name == "several" else 1)


def test_a_wrong_key_of_a_teacher_beside_is_told(world: tuple[Store, RunConfig]) -> None:
    with pytest.raises(BadInput, match=r"teacher\.beside\.0\.sed.*did you mean seed"):
        changed(world[1], teacher={"beside": [{"sed": 1}]})


def test_settings_of_several_teachers_are_written_as_toml_that_means_the_same(world: tuple[Store, RunConfig]) -> None:
    """As a study writes the best it found."""
    whole = changed(world[1], teacher={"adapt": {"texts": "train"}, "beside": [{"seed": 1}, {"model": "b"}]})
    for settings_of in (RunConfig.to_json, raw_settings):
        assert make_config(tomllib.loads(to_toml(settings_of(whole)))) == whole


# Masked tokens


def test_a_student_learns_to_tell_masked_tokens_as_its_teacher_does(
    world: tuple[Store, RunConfig], masked_lm: str
) -> None:
    store, config = world
    teacher = {"model": masked_lm, "updates": 0, "adapt": {"updates": 60, "learning_rate": 3e-3}}
    told = changed(config, teacher=teacher, objective=OF_TOKENS, distill={"updates": 60})
    run = run_distillation(store, "tokens", told)
    curve = reported(run).curves.distill
    assert np.mean([point.loss for point in curve[-5:]]) < 0.7 * np.mean([point.loss for point in curve[:3]])
    plain = run_distillation(store, "plain-masked", changed(told, transfer_set=None, finetune={"updates_alone": 1}))
    assert weights_of(run) == weights_of(plain), "the head is thrown away"


def weights_of(run: Artifact) -> set[str]:
    with safe_open(run.path("student/model.safetensors"), "pt") as file:
        return set(file.keys())


def test_masked_tokens_are_one_objective_among_others(world: tuple[Store, RunConfig], masked_lm: str) -> None:
    """Also of a finetuned teacher: its head is kept as it was."""
    store, config = world
    mixed = {"mlm_weight": 0.3, "soft_weight": 1.0, "intermediate": "hidden-mse"}
    run = run_distillation(store, "mixed", changed(config, teacher={"model": masked_lm}, objective=mixed))
    assert len(reported(run).curves.distill) == 8
    alone = run_distillation(store, "unmixed", changed(config, teacher={"model": masked_lm}))
    assert run.id != alone.id
    assert "mlm_weight" not in reported(alone).settings["objective"]  # type: ignore[operator]


class Killed(Exception):
    """What stands for a kill."""


def test_a_run_on_masked_tokens_that_stops_goes_on_to_the_same_id(
    tmp_path: Path, masked_lm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.training.checkpoint.Checkpoint.due", lambda _: True)
    ids = []
    for stop in (None, 5):
        (tmp_path / str(stop)).mkdir()
        store, config = make_world(tmp_path / str(stop))
        told = shortened(config, teacher={"model": masked_lm, "updates": 0}, objective=OF_TOKENS)

        def listen(stage: str, done: int, total: int | None, stop: int | None = stop) -> None:
            if (stage, done) == ("distill", stop):
                raise Killed

        if stop is not None:
            with pytest.raises(Killed):
                run_distillation(store, "r", told, progress=listen)
        ids.append(run_distillation(store, "r", told).id)
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"teacher": {"model": "ENCODER"}}, "needs a teacher with a head for masked tokens"),
        ({"student": {"from": "pretrained", "model": "ENCODER", "layers": None, "width": None, "heads": None}},
         "their tokenizers are not the same"),
    ],
)  # fmt: skip
def test_masked_tokens_that_cannot_be_compared_get_a_sentence(
    world: tuple[Store, RunConfig], masked_lm: str, sections: dict[str, Any], said: str
) -> None:
    store, config = world
    placed = {
        section: {key: config.teacher.model if value == "ENCODER" else value for key, value in values.items()}
        for section, values in sections.items()
    }
    base = changed(config, teacher={"model": masked_lm, "updates": 0}, objective=OF_TOKENS)
    with pytest.raises(BadInput, match=said):
        run_distillation(store, "refused", changed(base, **placed), restart=True)
    assert not (store.path("run", "refused") / MANIFEST).exists()


# Several together

CLASSES = st.integers(2, 5)


@settings(max_examples=40, deadline=None)
@given(CLASSES, st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_together_they_say_the_mean_of_their_probabilities(classes: int, members: int, rows: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    said = [Logits((8 * draw.standard_normal((rows, classes))).astype(np.float32), None) for _ in range(members)]
    together = averaged(said, amounts=False).sentence
    assert together is not None
    expected = np.mean([softmax(each.sentence.astype(np.float64), axis=1) for each in said], axis=0)  # type: ignore[union-attr]
    assert np.allclose(softmax(together.astype(np.float64), axis=1), expected, atol=1e-6)
    shuffled = averaged([said[-1], *said[:-1]], amounts=False).sentence
    assert np.allclose(together, shuffled, atol=1e-5)  # type: ignore[arg-type]


def test_one_alone_is_not_touched() -> None:
    said = Logits(np.array([[3.0, -2.0]], np.float32), None)
    assert averaged([said], amounts=False) is said


def test_amounts_are_averaged_as_they_are() -> None:
    said = [Logits(np.array([[value], [0.5]], np.float32), None) for value in (1.0, 4.0)]
    assert averaged(said, amounts=True).sentence.tolist() == [[2.5], [0.5]]  # type: ignore[union-attr]


def test_a_word_that_one_has_not_seen_is_the_others_to_tell() -> None:
    nan = [np.nan, np.nan]
    first, second = np.array([[0.0, 1.0], nan, nan], np.float32), np.array([[2.0, 0.0], [0.5, 3.0], nan], np.float32)
    found = averaged([Logits(None, first), Logits(None, second)], amounts=False).slots
    assert found is not None
    assert np.allclose(softmax(found[1]), softmax(second[1]))
    assert np.isnan(found[2]).all()
    assert np.allclose(softmax(found[0]), (softmax(first[0]) + softmax(second[0])) / 2)


def test_a_loud_teacher_does_not_drown_the_others() -> None:
    """Unlike by a mean of logits: one that is very sure counts as one."""
    loud, quiet = np.array([[100.0, 0, 0]], np.float32), np.array([[0, 2.0, 0]], np.float32)
    together = averaged([Logits(loud, None), Logits(quiet, None), Logits(quiet, None)], amounts=False).sentence
    assert together is not None
    assert together.argmax() == 1


def both(config: RunConfig, **sections: Any) -> RunConfig:
    return changed(config, teacher={"beside": [{"seed": 1, "updates": 10}]}, **sections)


def test_an_ensembles_labels_are_stored_once_beside_each_members_teacher(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    whole = changed(config, teacher={"beside": [{"seed": 5, "updates": 10}]})
    run_distillation(store, "soft", config)
    before = made(store)
    run = run_distillation(store, "stored", whole)
    fresh = made(store) - before
    assert sorted(path.split("/")[0] for path in fresh) == ["labels", "labels", "teachers"], (
        "texts, test and one teacher"
    )
    assert sorted(run.manifest.inputs) == ["labels", "task", "teacher", "teacher-1", "transfer-set"]
    seeded = run_distillation(store, "stored-1", changed(whole, seed=1))
    assert seeded.manifest.inputs["labels"] == run.manifest.inputs["labels"]
    assert made(store) - before == fresh


def test_every_member_and_all_together_are_in_the_report(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    run = run_distillation(store, "both", both(config))
    report = reported(run)
    teacher = report.teacher
    assert [member.id for member in teacher.members] == [run.manifest.inputs[name] for name in ("teacher", "teacher-1")]
    assert teacher.id not in {member.id for member in teacher.members}
    assert teacher.parameters == sum(member.parameters for member in teacher.members)
    assert teacher.members[0].metrics == reported(run_distillation(store, "soft", config)).teacher.metrics
    assert teacher.members[0].metrics != teacher.members[1].metrics
    assert teacher.model == f"{config.teacher.model} + {config.teacher.model}"
    page = (run.directory / "report.html").read_text()
    assert "Teacher 1," in page
    assert "Teachers together" in page
    assert "probabilities are averaged" in page
    assert make_config(report.settings) == both(config)


def test_the_answers_are_those_of_the_mean(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    whole = both(config)
    gold = read_gold(config.task)
    teacher = ready_teacher(store, whole, gold, CPU, progress=silent)
    answers = obtain_answers(store, teacher, gold, CPU, progress=silent)
    assert answers is not None
    said = [
        member.logits(lambda each: gold.test.tokens(each.tokenizer, each.max_length), CPU).sentence
        for member in teacher.members
    ]
    mean = np.mean([softmax(each.astype(np.float64), axis=1) for each in said], axis=0)  # type: ignore[union-attr]
    assert answers.together.labels == [gold.classes[index] for index in mean.argmax(1)]
    assert np.allclose(answers.together.confidence, mean.max(1), atol=1e-5)  # type: ignore[arg-type]


def test_teachers_that_read_otherwise_stand_together(
    world: tuple[Store, RunConfig], masked_lm: str, tmp_path: Path
) -> None:
    """Another model with another tokenizer and width; states are the first one's."""
    store, config = world
    other = changed(config, teacher={"beside": [{"model": masked_lm, "pooling": "first"}]})
    run = run_distillation(store, "others", changed(other, objective={"intermediate": "hidden-mse"}))
    assert len(reported(run).teacher.members) == 2


@pytest.mark.parametrize("kind", ["joint", "regression"])
def test_every_kind_of_task_has_ensembles(tmp_path: Path, kind: Kind) -> None:
    store, config = make_kind(tmp_path, kind)
    report = reported(run_distillation(store, kind, both(shortened(config))))
    assert set(report.teacher.members[1].metrics) == set(report.teacher.metrics)


# The same for every test


def test_a_teacher_is_trained_once_whatever_it_is_judged_on(tmp_path: Path) -> None:
    """A study judged on one split and the last run on another share its weights; what it says of each lies apart."""
    store, config = make_world(tmp_path)
    task = Path(config.task.path)
    rows = task.read_text().splitlines()
    extra = [
        row.replace('"test-', '"dev-').replace('"split": "test"', '"split": "dev"') for row in rows if '"test-' in row
    ]
    task.write_text("\n".join([*rows, *extra[:15]]) + "\n")
    short = shortened(config)
    stages: list[str] = []
    on_dev = run_distillation(store, "dev", changed(short, task={"test_split": "dev"}))
    on_test = run_distillation(store, "test", short, progress=lambda stage, *_: stages.append(stage))
    assert on_dev.manifest.inputs == on_test.manifest.inputs
    assert "teacher" not in stages
    assert "testing teacher" in stages
    assert len(list(store.root.glob(f"teachers/*/{MANIFEST}"))) == 1


def test_the_tests_rows_have_no_part_in_a_teacher(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    teacher = ready_teacher(store, config, read_gold(config.task), CPU, progress=silent).artifact
    assert not any(entry.name.endswith(".parquet") for entry in teacher.manifest.files)
    assert "test" not in teacher.manifest.params


# Live or stored


@pytest.mark.parametrize("kind", ["classes", "joint", "regression"])
@pytest.mark.parametrize("several", [False, True])
def test_live_or_stored_labels_give_the_trainer_the_same_signal(tmp_path: Path, kind: Kind, several: bool) -> None:
    """On the very batch of an update: the logits to half a float16's step, the loss and its gradient with them."""
    store, config = make_kind(tmp_path, kind)
    config = shortened(config)
    config = both(config) if several else config
    gold = read_gold(config.task)
    teacher = ready_teacher(store, config, gold, CPU, progress=silent)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    student = make_student(config.new_student, teacher, CPU, seed=0)
    examples = lessons.examples(student, gold)
    rows = np.array([7, 0, 90, 41, 3])
    batch = examples.tokens.batch(rows)
    stored = examples.stored(rows, "cpu")
    said = [as_logits(member.shown(Sight())(batch)) for member in teacher.members]
    live = averaged(said, amounts=kind == "regression")
    for ours, theirs in ((stored.logits, live.sentence), (stored.slot_logits, live.slots)):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert np.allclose(ours.numpy(), theirs.astype(np.float16), rtol=2**-10, atol=1e-5)
    soft = Objective(soft_weight=1.0, hard_weight=0.0, temperature=2.0)
    heard = Said(_tensor(live.sentence), slot_logits=_tensor(live.slots))
    targets = examples.targets(rows, "cpu")
    signals = [signal(student, soft, batch, said, targets) for said in (stored, heard)]
    losses, gradients = zip(*signals, strict=True)
    assert losses[0] == pytest.approx(losses[1], rel=5e-3, abs=1e-5)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.9999


def as_logits(said: Said) -> Logits:
    found = (None if logits is None else logits.numpy() for logits in (said.logits, said.slot_logits))
    return Logits(*found)


def _tensor(logits: np.ndarray | None) -> torch.Tensor | None:
    return None if logits is None else torch.from_numpy(logits)


def signal(
    student: Student, objective: Objective, batch: Batch, said: Said, targets: Targets
) -> tuple[float, torch.Tensor]:
    """The loss of a batch, and its gradient."""
    student.model.eval()
    student.model.zero_grad()
    loss = objective(student.forward(batch), said, targets)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])
