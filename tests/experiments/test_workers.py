"""Workers: commands side by side, of which one that fails, or takes its process with it, stops no other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from demo.workers import run_side_by_side
from tests.distill.tiny import write_task


@pytest.fixture
def build(tmp_path: Path) -> list[str]:
    """A command that is over in a moment and needs neither index nor model."""
    task = write_task(tmp_path / "task.jsonl")
    return ["build", "--task", str(task), "--retriever", "none", "--name"]


def test_a_command_that_fails_is_told_in_a_sentence_and_the_others_go_on(build: list[str], tmp_path: Path) -> None:
    commands = [[*build, "one"], ["inspect", "nowhere"], [*build, "two"], ["no-such-command"]]
    ended = {tuple(each.command): each for each in run_side_by_side(commands, tmp_path / "artifacts", workers=1)}
    assert len(ended) == len(commands)
    assert (ended["inspect", "nowhere"].error or "").startswith("There is no transfer-set")
    assert "No such command" in (ended["no-such-command",].error or "")
    for name in ("one", "two"):
        assert ended[*build, name].error is None
        assert "80 texts" in ended[*build, name].said
        assert (tmp_path / "artifacts" / "transfer-sets" / name / "manifest.json").is_file()


def test_what_a_command_needs_before_it_is_run_by_the_same_worker_and_its_fault_is_told(
    build: list[str], tmp_path: Path
) -> None:
    second, other = [*build, "two"], [*build, "three"]
    before = {tuple(second): [*build, "one"], tuple(other): ["inspect", "nowhere"]}
    ended = list(run_side_by_side([second, other], tmp_path / "artifacts", workers=1, before=before))
    assert [each.command for each in ended] == [second, other]
    assert ended[0].error is None
    assert (ended[1].error or "").startswith("There is no transfer-set")
    made = sorted(path.name for path in (tmp_path / "artifacts" / "transfer-sets").glob("[a-z]*"))
    assert made == ["one", "two"]


def test_a_worker_that_dies_takes_only_its_command_with_it(build: list[str], tmp_path: Path) -> None:
    commands = [[*build, name] for name in ("one", "two", "three")]
    results = run_side_by_side(commands, tmp_path / "artifacts", workers=1)
    killer = threading.Thread(target=_kill_the_first_child)
    killer.start()
    errors = [each.error for each in results]
    killer.join()
    assert errors[0] is not None
    assert "exit code -9" in errors[0]
    assert errors[1:] == [None, None]


def test_no_worker_outlives_what_it_was_started_for(build: list[str], tmp_path: Path) -> None:
    results: Iterator[object] = run_side_by_side([[*build, "one"], [*build, "two"]], tmp_path / "a", workers=1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert active_children() == []


def test_no_commands_are_no_workers(tmp_path: Path) -> None:
    assert list(run_side_by_side([], tmp_path, workers=2)) == []


def _kill_the_first_child() -> None:
    while True:
        for child in active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
                return
