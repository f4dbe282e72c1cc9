"""Claims of runs that augment, mix, or go by a curriculum: known by it, the same again, told in the report, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import BadInput
from contract.progress import silent
from contract.store import Store
from contract.task_folder import PlacedTask
from distill.config import RunConfig, make_config
from distill.models.device import Device
from distill.models.states import Shape
from distill.objectives.objective import make_objective
from distill.order import read_order
from distill.pipeline import open_run, run_distillation
from distill.reading.gold import read_gold
from distill.reporting.outcome import RunReport, read_report
from distill.students.student import make_student
from distill.teachers.lessons import Lessons, obtain_lessons
from distill.teachers.teacher import ready_teacher
from distill.training.loop import Recipe
from distill.training.subject import taught_subject
from tests.distill.kinds import make_kind
from tests.distill.masked_lms import make_masked_lm
from tests.distill.test_pipeline import Killed, changed, killed_in
from tests.distill.tiny import make_world
from tests.distill.translators import make_translators

CPU = Device("cpu", "float32")
SWAP = {"name": "swap", "probability": 0.3}
AUGMENTED = {"operations": [SWAP, {"name": "delete", "probability": 0.2}], "every": 3}
TRANSLATED = {"name": "back-translation", "probability": 0.1, "there": "x", "back": "y"}
FEW = {"distill": {"updates": 40}, "finetune": {"updates": 5}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    store, config = make_world(tmp_path_factory.mktemp("world"))
    run_distillation(store, "plain", changed(config, **FEW))
    return store, config


def made(world: tuple[Store, RunConfig], name: str, **sections: Any) -> RunReport:
    store, config = world
    return read_report(run_distillation(store, name, changed(config, **{**FEW, **sections})).directory)


def lessons_of(world: tuple[Store, RunConfig], **sections: Any) -> Lessons:
    store, config = world[0], changed(world[1], **{**FEW, **sections})
    gold = read_gold(config.task)
    teacher = ready_teacher(store, config, gold, CPU, progress=silent)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    return lessons


def test_settings_that_are_not_used_are_not_in_a_runs_identity(world: tuple[Store, RunConfig]) -> None:
    params = open_run(world[0], "plain").manifest.params
    assert {"augmentation", "mixup", "curriculum"}.isdisjoint(params)


def test_copies_are_made_anew_after_so_many_epochs(world: tuple[Store, RunConfig]) -> None:
    """160 texts and about 140 copies are 18 batches of 16 an epoch: after three epochs the run is over, or not."""
    short, long = (lessons_of(world, augmentation=AUGMENTED, distill={"updates": n}) for n in (40, 120))
    assert len(short.generations) == 1
    assert len(long.generations) == 3
    assert [generation.begin for generation in long.generations] == sorted({g.begin for g in long.generations})
    texts = [generation.lessons.texts.table["text"].to_pylist() for generation in long.generations]
    assert texts[0] != texts[1] != texts[2]
    assert short.generations[0].lessons.transfer_set.id == long.generations[0].lessons.transfer_set.id
    rows = long.texts.table.num_rows + len(texts[0])
    assert long.generations[1].begin == 3 * (rows // 16)
    assert len(lessons_of(world, augmentation={**AUGMENTED, "every": 0}, distill={"updates": 500}).generations) == 1


def test_copies_are_taught_by_the_teacher_and_shared_by_seeds(world: tuple[Store, RunConfig]) -> None:
    first, second = (lessons_of(world, augmentation=AUGMENTED, seed=seed) for seed in (0, 1))
    ours, theirs = (each.generations[0].lessons.labels for each in (first, second))
    assert ours is not None
    assert theirs is not None
    assert ours.id == theirs.id
    assert ours.rows == first.generations[0].lessons.texts.table.num_rows


def test_a_run_says_what_augmentation_made_and_why_the_rest_is_not_there(world: tuple[Store, RunConfig]) -> None:
    report = made(world, "augmented", augmentation=AUGMENTED)
    assert report.transfer_set is not None
    facts = report.transfer_set.augmentation
    assert facts is not None
    assert facts.generations == 1
    assert facts.asked == 160
    assert facts.texts + sum(facts.dropped.values()) == 160
    assert facts.dropped["unchanged"] > 0
    page = (world[0].path("run", "augmented") / "report.html").read_text()
    assert "Not made: unchanged" in page
    manifest = open_run(world[0], "augmented").manifest
    assert manifest.inputs["augmentation"]
    assert manifest.params["augmentation"]["every"] == 3
    assert manifest.id != open_run(world[0], "plain").id


@pytest.mark.parametrize(
    "sections",
    [
        {"augmentation": {**AUGMENTED, "every": 1}},
        {"mixup": {"batches": "append"}},
        {"mixup": {"batches": "replace", "targets": "live"}, "objective": {"intermediate": "mi-alpha"}},
        {"curriculum": {"by": "rank"}},
        {
            "augmentation": {**AUGMENTED, "every": 1},
            "mixup": {"batches": "append"},
            "curriculum": {"by": "rank"},
            "distill": {"updates": 40, "accumulate": 2},
        },
    ],
    ids=["augmented", "mixed", "mixed live", "by rank", "all, accumulated"],
)
def test_a_run_that_stops_goes_on_to_the_same_id(world: tuple[Store, RunConfig], sections: dict[str, Any]) -> None:
    store, config = world[0], changed(world[1], **{**FEW, **sections})
    whole = run_distillation(store, "whole", config).id
    with pytest.raises(Killed):
        run_distillation(store, "broken", config, progress=killed_in("distill", 23))
    assert run_distillation(store, "broken", config).id == whole
    for name in ("whole", "broken"):
        for path in sorted(store.path("run", name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        store.path("run", name).rmdir()


def test_a_mixed_batch_goes_mixed_through_student_and_teacher(world: tuple[Store, RunConfig]) -> None:
    mixed = {"mixup": {"batches": "append"}, "objective": {"intermediate": "hidden-mse"}}
    store, config = world[0], changed(world[1], **{**FEW, **mixed})
    gold = read_gold(config.task)
    teacher = ready_teacher(store, config, gold, CPU, progress=silent)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    student = make_student(config.new_student, teacher, CPU, seed=0)
    shapes = Shape.of(student.config), Shape.of(teacher.model.encoder.config)
    objective = make_objective(config.objective, *shapes, pooling="mean", device="cpu", seed=0)
    recipe = Recipe.of(config.distill, 40, 0)
    subject = taught_subject(config, gold, student, teacher, lessons, objective, recipe, CPU)
    batch = subject.examples.tokens.batch(subject.order.rows(0))
    assert subject.examples.teacher is not None
    student.model.eval()
    for speak in (subject.speak, subject.examples.teacher):
        ours, plain = speak(batch).states, speak(replace(batch, mixture=None)).states
        assert ours is not None
        assert plain is not None
        half, last = len(batch.input_ids) // 2, max(plain.hidden)
        assert torch.allclose(ours.hidden[last][:half], plain.hidden[last][:half], atol=1e-5)
        assert not torch.allclose(ours.hidden[0][half:], plain.hidden[0][half:], atol=1e-3)


@pytest.mark.slow
def test_each_of_them_changes_what_is_learnt(world: tuple[Store, RunConfig]) -> None:
    runs = {
        "plain": {},
        "mixed": {"mixup": {"batches": "append"}},
        "mixed live": {"mixup": {"batches": "append", "targets": "live"}},
        "replaced": {"mixup": {"batches": "replace"}},
        "by rank": {"curriculum": {"by": "rank"}},
        "copies": {"augmentation": {"operations": [SWAP]}},
        "more copies": {"augmentation": {"operations": [SWAP], "copies": 2}},
    }
    curves = [made(world, f"r-{n}", **sections).curves.distill for n, sections in enumerate(runs.values())]
    assert len({curve[-1].loss for curve in curves}) == len(runs)


@pytest.mark.slow
def test_live_targets_are_the_teachers_own_of_the_mixture(world: tuple[Store, RunConfig]) -> None:
    """A student that learns by live targets of mixtures still learns the task."""
    report = made(world, "live", mixup={"batches": "replace", "targets": "live"}, distill={"updates": 150})
    assert report.metrics.finetuned["accuracy"] > 0.8


def test_copies_keep_their_gold_where_the_user_says_so(world: tuple[Store, RunConfig]) -> None:
    objective = {"hard_weight": 1.0}
    without = made(world, "no-gold", augmentation={"operations": [SWAP]}, objective=objective)
    kept = made(world, "gold", augmentation={"operations": [SWAP], "gold": True}, objective=objective)
    assert without.curves.distill[-1].loss != kept.curves.distill[-1].loss


def test_models_are_in_a_runs_identity_by_their_content(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    there, back = make_translators(tmp_path)
    operations = [
        {"name": "contextual", "probability": 0.3, "model": str(make_masked_lm(tmp_path / "lm"))},
        {"name": "back-translation", "probability": 0.5, "there": str(there), "back": str(back)},
    ]
    report = made(world, "models", augmentation={"operations": operations})
    assert report.transfer_set is not None
    assert report.transfer_set.augmentation is not None
    assert report.transfer_set.augmentation.texts > 100
    assert str(tmp_path) not in json.dumps(open_run(world[0], "models").manifest.params)


OTHERS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("slots", "regression", "out-of-scope")]


@pytest.mark.parametrize("kind", ["joint", *OTHERS])
def test_tasks_of_every_kind_are_augmented(tmp_path: Path, kind: Any) -> None:
    store, config = make_kind(tmp_path, kind, distill={"updates": 30}, finetune={"updates": 5})
    plain = changed(config, augmentation={**AUGMENTED, "every": 1, "gold": True}, objective={"hard_weight": 0.5},
                    curriculum={"by": "rank"})  # fmt: skip
    if kind not in ("joint", "slots"):
        plain = changed(plain, mixup={"batches": "append"})
    report = read_report(run_distillation(store, "r", plain).directory)
    assert report.transfer_set is not None
    assert report.transfer_set.augmentation is not None
    assert np.isfinite([point.loss for point in report.curves.distill]).all()


def test_a_trimmed_vocabulary_has_the_words_of_the_copies(world: tuple[Store, RunConfig], tmp_path: Path) -> None:
    (tmp_path / "synonyms.json").write_text('{"please": ["glow"], "lamp": ["snow"]}')
    operations = [{"name": "synonyms", "probability": 1.0, "file": str(tmp_path / "synonyms.json")}]
    lessons = lessons_of(world, augmentation={"operations": operations})
    plain = replace(lessons, generations=())
    assert len(list(lessons.sentences)) > len(list(plain.sentences))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"augmentation": {"operations": [{"name": "swop", "probability": 0.1}]}}, "operations.0.name"),
        ({"augmentation": {"operations": [{"name": "swap"}]}}, "is missing"),
        ({"augmentation": {"operations": [{"name": "swap", "probability": 1.5}]}}, "less than or equal to 1"),
        ({"augmentation": {"operations": [{"name": "swap", "probability": 0}]}}, "greater than 0"),
        ({"augmentation": {"operations": [{**SWAP, "model": "bert"}]}}, 'model is no setting of name = "swap"'),
        ({"augmentation": {"operations": [{"name": "synonyms", "probability": 0.1}]}}, "needs file; add file"),
        ({"augmentation": {"operations": [{**TRANSLATED, "back": None}]}}, "add back"),
        ({"augmentation": {"copies": 2}}, "operations is empty"),
        ({"augmentation": {"operations": [SWAP], "copys": 2}}, "did you mean copies"),
        ({"augmentation": {"operations": [SWAP], "gold": True}}, "objective.hard_weight = 0 does not learn"),
        ({"augmentation": AUGMENTED, "distill": {"tokens_per_batch": 512, "batch_size": 64}}, "every counts epochs"),
        ({"augmentation": {"operations": [SWAP]}, "transfer_set": None}, "augmentation is of what a student"),
        ({"mixup": {"batches": "append"}, "transfer_set": None}, "mixup is of what a student distils on"),
        ({"curriculum": {"by": "rank"}, "transfer_set": None}, "curriculum is of what a student distils on"),
        ({"mixup": {"beta": 0.2}}, 'batches is "none"'),
        ({"mixup": {"batches": "append", "beta": 0}}, "greater than 0"),
        ({"mixup": {"batches": "append"}, "task": {"kind": "joint"}}, "leave it out for a task with slots"),
        ({"mixup": {"batches": "append"}, "objective": {"soft_weight": 0, "hard_weight": 1}}, "no gold labels"),
        ({"mixup": {"batches": "replace"}, "objective": {"hard_weight": 1}}, "leaves no text with a gold label"),
        ({"mixup": {"batches": "append"}, "objective": {"mlm_weight": 1}}, "no words to hide"),
        ({"curriculum": {"start": 0.1}}, 'by is "none"'),
        ({"curriculum": {"by": "score", "full": 0}}, "greater than 0"),
        ({"task": {"kind": "slots"}, "augmentation": {"operations": [TRANSLATED]}}, "slots lose their words"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_gets_a_sentence(
    world: tuple[Store, RunConfig], sections: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        changed(world[1], **sections)


def test_settings_are_read_again_as_they_were_written(world: tuple[Store, RunConfig]) -> None:
    config = changed(world[1], augmentation=AUGMENTED, mixup={"batches": "append"}, curriculum={"by": "score"})
    assert make_config(config.to_json()) == config
    assert config.to_json()["augmentation"]["operations"][0] == SWAP


def test_back_translation_may_change_the_neighbours_of_a_task_with_slots(world: tuple[Store, RunConfig]) -> None:
    config = changed(world[1], task={"kind": "slots"}, augmentation={"operations": [TRANSLATED], "texts": "neighbours"})
    assert config.augmentation.texts == "neighbours"


def test_a_curriculum_by_a_score_that_is_not_there_gets_a_sentence(world: tuple[Store, RunConfig]) -> None:
    with pytest.raises(BadInput, match="of the neighbours have none"):
        made(world, "scoreless", curriculum={"by": "score"})


def test_an_orders_models_are_those_that_lie_here_and_its_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "filler").mkdir()
    task, operation = PlacedTask(Path("toy.jsonl"), {}), {"name": "contextual", "probability": 0.1, "model": "filler"}
    order = {"task": {"name": "toy"}, "transfer_set": {"name": "near"}, "augmentation": {"operations": [operation]}}
    found = read_order(order, task, tmp_path)
    assert found.augmentation.operations[0].model == str(tmp_path / "filler")
    assert found.to_json()["augmentation"]["operations"] == [operation]
    order["augmentation"] = {"operations": [{"name": "synonyms", "probability": 0.1, "file": "/etc/passwd"}]}
    with pytest.raises(BadInput, match='expected file = "wordnet"'):
        read_order(order, task, tmp_path)
