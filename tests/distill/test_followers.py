"""A run by several processes: who is killed ends all, and the same command goes on to the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.errors import WorkerLost
from contract.progress import Progress
from contract.store import Store
from distill.config import RunConfig
from distill.pipeline import run_distillation
from distill.reporting.outcome import read_report
from distill.training.followers import followed
from tests.distill.test_pipeline import changed
from tests.distill.tiny import make_world


def world(root: Path, **sections: Any) -> tuple[Store, RunConfig]:
    store, config = make_world(root)
    short = {"distill": {"updates": 40}, "finetune": {"updates": 10}, "teacher": {"updates": 20}}
    return store, changed(config, **(short | sections))


def killing(stage: str, at: int) -> Progress:
    """A listener that kills every follower after an update."""

    def listen(now: str, done: int, total: int | None) -> None:
        if (now, done) == (stage, at):
            for child in psutil.Process().children():
                child.kill()

    return listen


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["distill", "finetune"])
def test_a_run_whose_follower_was_killed_goes_on_to_the_same_run(tmp_path: Path, stage: str) -> None:
    store, config = world(tmp_path, processes=2)
    whole = run_distillation(store, "whole", config)
    with pytest.raises(WorkerLost, match="process 2 ended by signal 9"):
        run_distillation(store, "broken", config, progress=killing(stage, 7))
    assert run_distillation(store, "broken", config).id == whole.id
    assert psutil.Process().children() == []


@pytest.mark.slow
def test_the_number_of_processes_is_of_the_run_and_it_learns_as_well(tmp_path: Path) -> None:
    store, config = world(tmp_path, processes=2)
    two = run_distillation(store, "two", config)
    one = run_distillation(store, "one", changed(config, processes=1))
    assert two.id != one.id
    assert "processes" not in one.manifest.params
    assert two.manifest.params["processes"] == 2
    losses = [read_report(run.directory).curves.distill[0].loss for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_a_follower_that_finds_something_wrong_says_so(tmp_path: Path) -> None:
    store, config = world(tmp_path)
    told = {"root": str(store.root), "name": "r", "places": {}, "config": config.to_json() | {"seed": -1}}
    with pytest.raises(Exception, match="seed"), followed(2, told):
        raise AssertionError("it must not come to this")
