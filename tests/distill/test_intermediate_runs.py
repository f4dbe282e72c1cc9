"""Whole runs with intermediate objectives: the teacher beside the student, kills, pairs, and what is left after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from safetensors import safe_open

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.manifest import MANIFEST
from contract.progress import silent
from contract.store import Store
from distill.comparing.comparison import CompareOptions, compare
from distill.config import RunConfig, make_config
from distill.models.device import Device
from distill.models.states import Sight
from distill.pipeline import run_distillation
from distill.reading.gold import read_gold
from distill.reporting.outcome import read_report
from distill.settings.objective import IntermediateName
from distill.settings.task import Kind
from distill.students.student import make_student
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import obtain_teacher, open_teacher
from tests.distill.kinds import make_kind
from tests.distill.many_lives import told_after_kills
from tests.distill.tiny import make_transfer_set, make_world, neighbour, utterances

CPU = Device("cpu", "float32")
HELPED = {"intermediate": ["mi-alpha", "hidden-mse", "attention"], "intermediate_weight": [0.2, 0.5, 0.1]}


def changed(config: RunConfig, **sections: Any) -> RunConfig:
    raw = config.to_json()
    for section, values in sections.items():
        raw[section] = {**raw[section], **values} if isinstance(values, dict) and raw.get(section) else values
    return make_config(raw)


def shortened(config: RunConfig, **sections: Any) -> RunConfig:
    """Few updates, and a student of three heads of other width than the teacher's two."""
    short = changed(config, student={"width": 24, "heads": 3}, distill={"updates": 8}, finetune={"updates": 2})
    return changed(changed(short, teacher={"updates": 20}), **sections)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    store, config = make_world(tmp_path_factory.mktemp("world"))
    return store, shortened(config)


def weights_of(run: Artifact) -> set[str]:
    with safe_open(run.path("student/model.safetensors"), "pt") as file:
        return set(file.keys())


@pytest.mark.parametrize("mapping", ["skip", "emd"])
def test_every_intermediate_objective_runs_and_leaves_a_plain_student(
    shared: tuple[Store, RunConfig], mapping: str
) -> None:
    store, config = shared
    plain = run_distillation(store, "none", config)
    names = list(get_args(IntermediateName))
    run = run_distillation(store, mapping, changed(config, objective={"intermediate": names, "layer_mapping": mapping}))
    assert run.id != plain.id
    assert weights_of(run) == weights_of(plain), "projections and critics are thrown away"
    report = read_report(run.directory)
    assert len(report.curves.distill) == 8
    assert report.settings["objective"]["intermediate"] == names  # type: ignore[index, call-overload]


def test_intermediate_objectives_alone_are_learnt(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared
    alone = changed(config, objective={"soft_weight": 0.0, **HELPED}, distill={"updates": 60})
    curve = read_report(run_distillation(store, "alone", alone).directory).curves.distill
    first, last = (np.mean([point.loss for point in part]) for part in (curve[:5], curve[-5:]))
    assert last < first - 0.3 * abs(first)


def test_a_live_teacher_says_what_is_stored(shared: tuple[Store, RunConfig]) -> None:
    """The trainer gets the same signal either way: a text's stored logits are those of the network beside it."""
    store, config = shared
    gold = read_gold(config.task)
    teacher = open_teacher(obtain_teacher(store, config.teacher, gold, CPU, progress=silent), CPU)
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    examples = lessons.examples(make_student(config.new_student, teacher, CPU, seed=0), gold)
    rows = np.array([5, 0, 90])
    live = teacher.shown(Sight(hidden=True, attention=True))(examples.tokens.batch(rows))
    assert live.logits is not None
    assert examples.teacher_logits is not None
    assert np.allclose(live.logits.numpy(), examples.teacher_logits[rows], atol=1e-2)
    assert live.states is not None
    assert (len(live.states.hidden), len(live.states.attention)) == (3, 2)
    assert not live.logits.requires_grad


def test_sentence_pairs_are_compared_state_by_state(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    texts = [text for text, _ in utterances(60, 3)]
    rows = [
        {"id": str(i), "sentence1": a, "sentence2": a if i % 2 else texts[(i + 1) % 60], "label": "ab"[i % 2],
         "split": "test" if i >= 40 else "train"}
        for i, a in enumerate(texts)
    ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"utterance_id": row["id"], "text": row["sentence1"], "text_pair": row["sentence2"],
              "neighbours": [neighbour("rain")]} for row in rows[:40]]  # fmt: skip
    make_transfer_set(store, "pairs", pairs)
    task = {"path": str(path), "shots": None}
    of_pairs = shortened(config, task=task, transfer_set={"name": "pairs"}, objective=HELPED)
    report = read_report(run_distillation(store, "pairs", of_pairs).directory)
    assert (report.task.target, len(report.curves.distill)) == ("label", 8)


@pytest.mark.parametrize("kind", ["joint", "regression"])
def test_other_kinds_of_tasks_have_states_too(tmp_path: Path, kind: Kind) -> None:
    store, config = make_kind(tmp_path, kind)
    run = run_distillation(store, kind, shortened(config, objective=HELPED))
    assert not any("critic" in name or "projection" in name for name in weights_of(run))
    assert len(read_report(run.directory).curves.distill) == 8


def test_layers_kept_of_the_teacher_need_no_projection(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared
    kept = {"layers": 1, "width": None, "heads": None, "from": "last"}
    run = run_distillation(store, "kept", changed(config, student=kept, objective=HELPED))
    assert read_report(run.directory).student.width == 32


# Kills


class Killed(Exception):
    """What stands for a kill."""


def test_a_run_that_stops_goes_on_to_the_same_id(shared: tuple[Store, RunConfig], tmp_path: Path) -> None:
    store, config = shared
    whole = run_distillation(store, "helped", changed(config, objective=HELPED))
    other, again = make_world(tmp_path)
    again = shortened(again, objective=HELPED)

    def stop(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("distill", 5):
            raise Killed

    with pytest.raises(Killed):
        run_distillation(other, "helped", again, progress=stop)
    assert run_distillation(other, "helped", again).id == whole.id


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    """kill -9 at any touch of the disk, a checkpoint an update: critic, baseline and projections come back whole."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    store, config = make_world(tmp_path / "whole")
    helped = shortened(config, objective=HELPED, distill={"updates": 30}, precision="float32")
    whole = run_distillation(store, "r1", helped)
    make_world(tmp_path / "killed")
    (tmp_path / "killed" / "RUN.toml").write_text(as_toml(helped))
    told = told_after_kills(tmp_path / "killed")
    assert told["id"] == whole.id


def as_toml(config: RunConfig) -> str:
    """The settings that are not None, as a RUN.toml."""
    lines = []
    for key, value in sorted(config.to_json().items(), key=lambda item: isinstance(item[1], dict)):
        if not isinstance(value, dict):
            lines += [f"{key} = {json.dumps(value)}"] if value is not None else []
            continue
        lines.append(f"[{key}]")
        lines += [f"{name} = {json.dumps(inner)}" for name, inner in value.items() if inner not in (None, {})]
    return "\n".join(lines) + "\n"


# What is told


def test_runs_of_other_objectives_are_other_arms(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared
    for name, objective in {"a": {}, "b": {"intermediate": "pkd"}, "c": {"intermediate": ["pkd", "nwj"]}}.items():
        run_distillation(store, name, changed(config, objective=objective))
    run_distillation(store, "alone-a", changed(config, transfer_set=None))
    run_distillation(store, "alone-b", changed(config, transfer_set=None, objective={"intermediate": "pkd"}, seed=1))
    arms = {
        arm.name: arm.runs
        for group in compare(store, ["a", "b", "c", "alone-a", "alone-b"], CompareOptions()).groups
        for arm in group.arms
    }
    assert arms == {
        "retrieved (objective.intermediate none)": ("a",),
        "retrieved (objective.intermediate pkd)": ("b",),
        "retrieved (objective.intermediate ['pkd', 'nwj'])": ("c",),
        "no distillation": ("alone-a", "alone-b"),  # which knows no objective
    }


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"objective": {"intermediate": "pkd", "layer_pairs": [[1, 7]]}}, r"found \[1, 7\]"),
        ({"objective": {"intermediate": "minilmv2", "relation_heads": 99}}, "relation_heads is 99"),
        ({"objective": {"intermediate": "nwj"}, "distill": {"batch_size": 1}}, "distill.batch_size = 2 or more"),
        (
            {"objective": {"intermediate": "hidden-mse", "layer_mapping": "last"}, "student": {"layers": 3}},
            "found 3 layers and 2; take skip or emd",
        ),
    ],
)
def test_what_cannot_be_run_gets_a_sentence(
    shared: tuple[Store, RunConfig], sections: dict[str, Any], said: str
) -> None:
    store, config = shared
    with pytest.raises(BadInput, match=said):
        run_distillation(store, "refused", changed(config, **sections), restart=True)
    assert not (store.path("run", "refused") / MANIFEST).exists()
