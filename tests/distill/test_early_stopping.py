"""Early stopping in whole runs: what it needs, what it leaves, and that the report says what was really done."""

from __future__ import annotations

import json

import pytest

from contract.errors import BadInput
from contract.store import Store
from distill.comparing.variants import arm_settings
from distill.config import RunConfig
from distill.pipeline import run_distillation
from distill.reporting.outcome import read_report
from tests.distill.test_pipeline import changed
from tests.distill.tiny import make_world, utterances, write_task

STOPS = {"distill": {"updates": 120, "patience": 2, "evaluate_every": 5}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunConfig]:
    """The tiny world with a validation split."""
    root = tmp_path_factory.mktemp("world")
    store, config = make_world(root)
    valid = [
        {"id": f"valid-{index}", "text": text, "intent": intent, "split": "valid"}
        for index, (text, intent) in enumerate(utterances(24, 3))
    ]
    return store, changed(config, task={"path": str(write_task(root / "task.jsonl", extra=valid))})


def test_a_run_stops_early_and_says_after_how_many_updates(world: tuple[Store, RunConfig]) -> None:
    store, config = world
    run = run_distillation(store, "early", changed(config, task={"validation_split": "valid"}, **STOPS))
    report = read_report(run.directory)
    assert 10 < report.updates.distill < 120
    assert report.updates.distill % 5 == 0
    assert report.curves.distill[-1].update == report.updates.distill
    assert report.updates.finetune == 20
    assert run.manifest.params["distill"]["patience"] == 2


def test_seeds_that_stop_at_other_updates_are_one_arm(world: tuple[Store, RunConfig]) -> None:
    report = read_report(world[0].path("run", "early"))
    assert arm_settings(report)["distill.updates"] == "up to 120"
    assert arm_settings(report)["finetune.updates"] == "20"


def test_a_run_without_it_is_what_it_always_was(world: tuple[Store, RunConfig]) -> None:
    written = json.dumps(world[1].to_json())
    assert not any(name in written for name in ("patience", "evaluate_every", "validation", "accumulate", "processes"))


@pytest.mark.parametrize(
    ("task", "distill", "said"),
    [
        ({}, {"patience": 2}, "task.validation_split"),
        ({"validation_split": "valid"}, {"evaluate_every": 5}, "set patience"),
        ({}, {"tokens_per_batch": 100}, "leave one out"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    world: tuple[Store, RunConfig], task: dict[str, str], distill: dict[str, int], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        changed(world[1], task=task, distill=distill)


@pytest.mark.parametrize("split", ["train", "test", ["valid", "test"]])
def test_what_is_learnt_or_tested_on_is_no_validation(world: tuple[Store, RunConfig], split: str) -> None:
    with pytest.raises(BadInput, match="name another"):
        run_distillation(world[0], "no", changed(world[1], task={"validation_split": split}, **STOPS))


def test_a_teacher_does_not_stop_early(world: tuple[Store, RunConfig]) -> None:
    with pytest.raises(BadInput, match="makes all its updates"):
        changed(world[1], teacher={"patience": 2}, task={"validation_split": "valid"})
