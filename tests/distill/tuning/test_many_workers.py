"""Studies with several workers, on several hosts, and with workers that die: every trial once, none lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from contract.errors import BadInput
from distill.tuning.outcome import read_study
from distill.tuning.run_toml import to_toml
from distill.tuning.search_space import raw_settings
from distill.tuning.study import run_study
from distill.tuning.trial_storage import JOURNAL, TrialStorage, open_storage
from distill.tuning.validation import Validation
from tests.distill.tuning.world import make_search_world, options, small_space
from tests.jobs.postgres import running_postgres

ROOT = Path(__file__).parents[3]


def check_locks(one: TrialStorage, other: TrialStorage) -> None:
    with one.attending(3) as mine:
        assert mine
        with other.attending(3) as theirs:
            assert not theirs, "one worker a trial"
        with other.attending(4) as theirs:
            assert theirs
    with other.attending(3) as theirs:
        assert theirs, "let go of"


def test_a_trial_is_held_by_one_worker_at_a_time(tmp_path: Path) -> None:
    check_locks(open_storage(None, tmp_path, "s"), open_storage(None, tmp_path, "s"))


@pytest.mark.postgres
def test_on_postgres_too_and_two_that_open_it_at_once_both_get_it(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.database()
        script = (
            "import sys; from pathlib import Path; from distill.tuning.trial_storage import open_storage;"
            "open_storage(sys.argv[1], Path(), 's')"
        )
        openers = [subprocess.Popen([sys.executable, "-c", script, url], cwd=ROOT) for _ in range(3)]
        assert [opener.wait() for opener in openers] == [0, 0, 0]
        one, other = (open_storage(url, tmp_path, "s") for _ in range(2))
        check_locks(one, other)
        for storage in (one, other):
            storage.history.engine.dispose()  # type: ignore[attr-defined]


def test_a_database_that_is_not_there_is_a_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be opened") as raised:
        open_storage("postgresql://me:secret@127.0.0.1:1/none", tmp_path, "s")
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_study(tmp_path: Path) -> None:
    ids = set()
    lives = 0
    for seed in (0, 1):
        typed = [sys.executable, "-m", "tests.distill.tuning.killed_studies", str(tmp_path / str(seed)), str(seed)]
        ended = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=True)
        told = json.loads(ended.stdout.splitlines()[-1])
        assert told["left"] == [
            "best.toml",
            "history.jsonl",
            "manifest.json",
            "study.html",
            "study.json",
            "trials.parquet",
        ]
        ids.add(told["id"])
        lives += told["lives"]
    store, config = make_search_world(tmp_path / "whole")
    space = small_space(config)
    ids.add(run_study(store, "s", config, space, Validation("valid"), options(trials=5)).id)
    assert lives > 4, "it was killed at all"
    assert len(ids) == 1


def typed_command(root: Path, *more: str) -> list[str]:
    """`tune` as a process of its own."""
    store, config = make_search_world(root)
    (root / "RUN.toml").write_text(to_toml(raw_settings(config)))
    (root / "SPACE.toml").write_text('[space]\n"distill.learning_rate" = {low = 1e-3, high = 1e-1, log = true}\n')
    files = [str(root / "RUN.toml"), "--space", str(root / "SPACE.toml"), "--name", "s", "--test-seeds", "1"]
    return [sys.executable, "-m", "distill", "tune", *files, "--artifacts", str(store.root), *more]


def trials_in(folder: Path) -> list[Any]:
    from optuna.storages import JournalStorage

    from distill.tuning.journal import Journal

    path = folder / "artifacts" / "studies" / "s" / ".draft" / "scratch" / "study" / JOURNAL
    if not path.is_file():
        return []
    storage = JournalStorage(Journal(path))
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=names[0], storage=storage).trials if names else []


@pytest.mark.slow
def test_one_of_two_workers_is_killed_and_the_other_does_its_trial(tmp_path: Path) -> None:
    typed = typed_command(tmp_path, "--trials", "6", "--workers", "2")
    with subprocess.Popen(typed, cwd=ROOT) as study:
        while not any(trial.state.name == "RUNNING" for trial in trials_in(tmp_path)):
            assert study.poll() is None
            time.sleep(0.2)
        children = subprocess.run(["pgrep", "-P", str(study.pid), "-f", "spawn_main"], capture_output=True, text=True)
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
        assert study.wait() == 0
    found = read_study(tmp_path / "artifacts" / "studies" / "s")
    assert [trial.number for trial in found.trials] == list(range(6))
    assert {trial.state for trial in found.trials} <= {"complete", "pruned"}


@pytest.mark.slow
@pytest.mark.postgres
def test_two_hosts_make_one_study(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.database()
        hosts = [tmp_path / "one", tmp_path / "other"]
        typed = [typed_command(host, "--trials", "7", "--storage", url) for host in hosts]
        studies = [subprocess.Popen(command, cwd=ROOT) for command in typed]
        assert [study.wait() for study in studies] == [0, 0]
    one, other = (read_study(host / "artifacts" / "studies" / "s") for host in hosts)
    assert [trial.number for trial in one.trials] == list(range(7))
    assert one.trials == other.trials, "they are the same trials"
    assert one.on_test == other.on_test
