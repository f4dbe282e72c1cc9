"""Stored states: what a student is compared with is what its teacher would say beside it, whoever laid it down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import BadInput, CorruptArtifact
from contract.progress import silent
from contract.store import Store
from distill.config import RunConfig
from distill.models.states import QKV, Part, Said, Shape, States
from distill.objectives.objective import make_objective
from distill.pipeline import run_distillation
from distill.reading.examples import Examples
from distill.reading.gold import read_gold
from distill.reading.shelf import FOLDER
from distill.reading.stored_states import STATES, StoredStates
from distill.reading.tokens import Batch
from distill.students.student import make_student
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import ready_teacher
from distill.training.loop import Recipe
from distill.training.subject import taught_subject
from tests.distill.kinds import make_kind
from tests.distill.piece_encoders import make_piece_encoder
from tests.distill.test_intermediate_runs import CPU, HELPED, changed, shortened
from tests.distill.test_pipeline import Killed, killed_in
from tests.distill.test_student_runs import given
from tests.distill.tiny import make_world

SWAP = {"name": "swap", "probability": 0.2}
STORED = {"states": "stored"}
EVERY = {"intermediate": ["hidden-mse", "attention", "minilm", "minilmv2", "pkd", "infonce"], "layer_mapping": "skip"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    store, config = make_world(tmp_path_factory.mktemp("world"))
    return store, shortened(config)


def examples_of(store: Store, config: RunConfig, louder: float = 1.0) -> Examples:
    """What a run of this config learns from; its teacher's last layer says all so many times as large."""
    gold = read_gold(config.task)
    teacher = ready_teacher(store, config, gold, CPU, progress=silent)
    with torch.no_grad():
        teacher.model.encoder.encoder.layer[-1].output.LayerNorm.weight.mul_(louder)  # type: ignore[union-attr, index]
        teacher.model.head.weight.div_(louder)  # type: ignore[union-attr]
    lessons = obtain_lessons(store, config, teacher, gold, CPU, progress=silent)
    assert lessons is not None
    student = make_student(config.new_student, teacher, CPU, seed=0, texts=[lessons.sentences])
    shapes = Shape.of(student.config), Shape.of(teacher.model.encoder.config)
    objective = make_objective(config.objective, *shapes, pooling="mean", device="cpu", seed=0)
    recipe = Recipe.of(config.distill, 8, 0)
    subject = taught_subject(config, gold, student, teacher, lessons, objective, recipe, CPU)
    assert isinstance(subject.examples, Examples)
    return subject.examples


def taught(examples: Examples, rows: list[int]) -> Said:
    some = np.array(rows)
    return examples.taught(some, examples.tokens.batch(some))


def parts_of(states: States) -> Iterator[Part]:
    for layer in states.hidden:
        yield "hidden", layer
    for layer, attention in states.attention.items():
        yield from ((what, layer) for what in QKV if getattr(attention, what).shape[-1])


@pytest.mark.parametrize("tokens", ["the teacher's", "its own"])
def test_what_is_stored_is_what_the_teacher_says_beside_the_student(
    shared: tuple[Store, RunConfig], tmp_path: Path, tokens: str
) -> None:
    """On the same tokens, and where it reads its own and words are compared."""
    store, config = shared[0], changed(shared[1], objective=EVERY)
    if tokens == "its own":
        pieces = make_piece_encoder(tmp_path / "pieces", "word pieces")
        config = changed(config, student=given(pieces))
    live, stored = examples_of(store, config), examples_of(store, changed(config, objective=STORED))
    assert (live.teacher_tokens is None) == (tokens == "the teacher's")
    assert stored.teacher is None
    for rows in ([5, 0, 90], [3], list(range(40))):
        beside, laid = taught(live, rows), taught(stored, rows)
        assert beside.states is not None
        assert laid.states is not None
        assert laid.logits is not None
        assert torch.equal(beside.logits, laid.logits)  # type: ignore[arg-type]
        assert torch.equal(beside.states.mask, laid.states.mask)
        real = laid.states.mask.bool()
        for part in parts_of(laid.states):
            assert torch.allclose(beside.states.part(part)[real], laid.states.part(part)[real], rtol=1e-3, atol=1e-3)
            assert not laid.states.part(part)[~real].any()
        for layer, states in laid.states.compared.hidden.items():
            where = laid.states.compared.mask.bool()
            assert torch.allclose(beside.states.compared.hidden[layer][where], states[where], rtol=1e-3, atol=1e-3)


def test_only_the_layers_that_are_compared_are_laid_down_and_each_once(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    config = shortened(config, objective=STORED | {"intermediate": "hidden-mse", "layer_pairs": [[1, 2]]})
    shelf = store.path("transfer-set", "near").parent / FOLDER
    names = [sorted(examples_of(store, config).states.parts)]  # type: ignore[union-attr]
    made = {path: path.stat().st_mtime_ns for path in shelf.glob(f"*/{STATES}")}
    both = {"intermediate": ["hidden-mse", "attention"], "layer_pairs": [[1, 1], [1, 2]]}
    with_more = changed(config, objective=both)
    names.append(sorted(examples_of(store, with_more).states.parts))  # type: ignore[union-attr]
    of_attention: list[Part] = [("keys", 1), ("keys", 2), ("queries", 1), ("queries", 2)]
    assert names == [[("hidden", 2)], [("hidden", 1), ("hidden", 2), *of_attention][:2] + of_attention]
    assert {path.parent.name.rpartition("-")[0] for path in made} == {"hidden-2"}
    assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "it was not laid down again"
    assert len(list(shelf.glob(f"*/{STATES}"))) == 6


def test_a_run_of_stored_states_learns_as_one_beside_its_teacher(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared[0], changed(shared[1], objective=HELPED, distill={"updates": 20})
    beside = run_distillation(store, "beside", config)
    laid = run_distillation(store, "laid", changed(config, objective=STORED))
    assert beside.id != laid.id, "the last bits differ, so that the settings must"
    losses = [
        [point["loss"] for point in json.loads((run.directory / "report.json").read_bytes())["curves"]["distill"]]
        for run in (beside, laid)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=5e-2, abs=2e-2)


def test_a_run_that_stops_goes_on_to_the_same_id(shared: tuple[Store, RunConfig]) -> None:
    store, config = shared[0], changed(shared[1], objective=HELPED | STORED)
    whole = run_distillation(store, "whole", config).id
    with pytest.raises(Killed):
        run_distillation(store, "broken", config, progress=killed_in("distill", 5))
    assert run_distillation(store, "broken", config).id == whole


def test_who_is_stopped_while_laying_down_begins_anew(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    config = shortened(config, objective=HELPED | STORED)
    with pytest.raises(Killed):
        run_distillation(store, "broken", config, progress=killed_in("the teacher's states", 160))
    shelf = store.path("transfer-set", "near").parent / FOLDER
    assert not list(shelf.glob(f"*/{STATES}*")), "nothing half written is left"
    again = run_distillation(store, "broken", config).id
    for path in shelf.glob(f"*/{STATES}"):
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptArtifact):
        run_distillation(store, "other", config)
    assert again == run_distillation(store, "broken", config).id, "what is finished is not made again"


def test_soft_targets_alone_store_no_states(tmp_path: Path) -> None:
    """So that a study may ask for stored states, whatever objective it tries."""
    store, config = make_world(tmp_path)
    examples = examples_of(store, shortened(config, objective=STORED))
    assert (examples.states, examples.teacher) == (None, None)
    assert not list((store.path("transfer-set", "near").parent / FOLDER).glob(f"*/{STATES}"))


def test_joint_tasks_have_stored_states_too(tmp_path: Path) -> None:
    store, config = make_kind(tmp_path, "joint")
    run_distillation(store, "joint", shortened(config, objective=HELPED | STORED))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"objective": STORED | {"mlm_weight": 1.0} | HELPED}, "masks them anew"),
        (
            {"objective": STORED | HELPED, "augmentation": {"operations": [SWAP]}},
            "found augmentation",
        ),
        ({"objective": STORED | {"intermediate": "pkd"}, "mixup": {"batches": "append"}}, "found mixup"),
    ],
)
def test_what_is_made_anew_in_every_batch_cannot_be_stored(
    shared: tuple[Store, RunConfig], sections: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        changed(shared[1], **sections)


def test_larger_numbers_than_half_precision_has_are_its_largest(tmp_path: Path) -> None:
    store, config = make_world(tmp_path)
    config = shortened(config, objective=STORED | {"intermediate": "hidden-mse"})
    examples = examples_of(store, config, louder=1e6)
    states = taught(examples, [1, 2]).states
    assert states is not None
    assert states.hidden[max(states.hidden)].abs().max() == np.finfo(np.float16).max


def test_the_states_of_no_rows_but_those_asked_for_are_read() -> None:
    offsets = np.array([0, 2, 2 + 3, 6])
    flat = np.arange(6 * 4, dtype=np.float16).reshape(6, 4)
    stored = StoredStates(offsets, {("hidden", 3): flat}, 2)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    states = stored.of(np.array([2, 1]), Batch(mask, mask, None))
    assert list(states.hidden) == [3]
    assert states.attention == {}
    expected = np.zeros((2, 3, 4), np.float32)
    expected[0, 0], expected[1] = flat[5], flat[2:5]
    assert np.array_equal(states.hidden[3].numpy(), expected)
    assert replace(stored, parts={}).of(np.array([0]), Batch(mask[:1], mask[:1], None)).hidden == {}
