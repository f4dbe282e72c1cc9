"""The child: a worker that ends with its parent however that ends, and is started again when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import child as child_module
from jobs.child import Child, end_with_stdin, environment_of
from jobs.settings import WorkerSettings
from tests.service.house import until

# Stands for the worker: says its number, then lives until its standard input ends or it is told to stop.
WORKER = """
import os, sys
print(os.getpid(), file=open(sys.argv[1], "a"), flush=True)
sys.stdin.buffer.read()
"""


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every life of the child leaves its number."""
    file = tmp_path / "lives"
    real = subprocess.Popen
    monkeypatch.setattr(
        child_module.subprocess,
        "Popen",
        lambda command, **given: real([sys.executable, "-c", WORKER, str(file)], **given),
    )
    monkeypatch.setattr(child_module, "SHORTEST_PAUSE_S", 0.01)
    return file


def numbers(lives: Path) -> list[int]:
    return [int(line) for line in lives.read_text().splitlines()] if lives.exists() else []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_started_again_when_it_dies_and_ends_with_its_keeper(lives: Path, tmp_path: Path) -> None:
    with Child(WorkerSettings(artifacts=tmp_path), "distill") as child:
        until(lambda: len(numbers(lives)) == 1)
        os.kill(numbers(lives)[0], signal.SIGKILL)
        until(lambda: len(numbers(lives)) == 2)
        assert numbers(lives)[0] != numbers(lives)[1] == child.pid
    assert not is_alive(numbers(lives)[1])
    assert len(numbers(lives)) == 2


def test_it_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Its input ends with the parent, whatever ended that."""
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WORKER!r}, {str(tmp_path / "lives")!r}], stdin=subprocess.PIPE)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    until(lambda: numbers(tmp_path / "lives"))
    parent.kill()
    parent.wait()
    assert parent.stdin is not None
    parent.stdin.close()
    until(lambda: not is_alive(numbers(tmp_path / "lives")[0]))


def test_the_end_of_the_input_tells_the_worker_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    told = threading.Event()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        end_with_stdin(told)
        assert not told.is_set()
        os.close(writing)
        assert told.wait(10)


def test_it_has_its_parents_settings_but_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_PORT", "9000")
    monkeypatch.setenv("TRANSFERSET_HEALTH_FILE", "/tmp/health")
    monkeypatch.setenv("TRANSFERSET_ARTIFACTS", "elsewhere")
    found = environment_of(WorkerSettings(artifacts=tmp_path, poll_seconds=0.5))
    ours = {name: value for name, value in found.items() if name.startswith("TRANSFERSET_")}
    assert (ours["TRANSFERSET_ARTIFACTS"], ours["TRANSFERSET_POLL_SECONDS"]) == (str(tmp_path), "0.5")
    assert {"TRANSFERSET_HEALTH_FILE", "TRANSFERSET_EXCHANGE"}.isdisjoint(ours)


def test_a_child_that_ends_before_its_parent_ends_without_a_word() -> None:
    code = "import threading, time; from jobs.child import end_with_stdin; end_with_stdin(threading.Event())"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert (child.stderr.read(), child.wait(30)) == (b"", 0)
