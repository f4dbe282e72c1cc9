"""The runner: what is finished is not made again, what was killed goes on, what fails stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.store import Store
from distill.pipeline import open_run
from distill.reporting.outcome import read_report
from experiments.experiment import Experiment, PlannedRun
from experiments.results import is_finished, ledger_of, results_table
from experiments.runner import run_experiment, standing_of
from tests.experiments.worlds import make_experiment, planned

ROOT = Path(__file__).parents[2]
PAUSE_S = 0.02


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Experiment]:
    """An experiment of which one run cannot be made, run once."""
    store, experiment = make_experiment(tmp_path_factory.mktemp("finished"))
    toml = experiment.runs[0].config[0]
    broken = replace(planned(toml, "near", 9, "transfer_set.name=nowhere"), arm="broken")
    experiment = replace(experiment, runs=(experiment.runs[0], broken, *experiment.runs[1:]))
    standing = run_experiment(store, experiment, workers=1)
    assert list(standing.failed) == [broken.name]
    assert "nowhere" in standing.failed[broken.name]
    return store, experiment


def test_every_run_but_the_one_that_fails_is_finished(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    standing = standing_of(store, experiment)
    assert [run.arm for run in standing.left] == ["broken"]
    assert len(standing.finished) == 4
    assert standing.text(2).startswith("4 of 5 runs are finished; 1 left, about ")


def test_the_teacher_and_the_labels_are_made_once(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    assert len(store.names("teacher")) == 1
    results = results_table(store, experiment)
    assert len(set(results["teacher_id"].to_pylist())) == 1
    assert len(set(results["labels_id"].drop_null().to_pylist())) == 1


def test_a_finished_run_is_not_made_again(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    made = {run.name: (store.path("run", run.name) / "manifest.json").stat().st_mtime_ns for run in done(experiment)}
    before = len(ledger_of(store, experiment).path.read_bytes())
    whole = replace(experiment, runs=done(experiment))
    assert run_experiment(store, whole, workers=1).left == ()
    assert len(ledger_of(store, experiment).path.read_bytes()) == before
    for name, at in made.items():
        assert (store.path("run", name) / "manifest.json").stat().st_mtime_ns == at


def test_a_run_of_other_settings_is_not_taken_for_finished(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    run = experiment.runs[0]
    assert is_finished(store, run)
    assert not is_finished(store, replace(run, command=(*run.command, "--set", "distill.updates=3")))


def test_where_the_task_lies_does_not_matter(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    run = experiment.runs[0]
    assert is_finished(store, replace(run, command=(*run.command, "--set", "task.path=elsewhere/task.jsonl")))


def test_a_run_from_before_a_setting_came_is_finished_and_one_of_an_older_form_is_not(
    finished: tuple[Store, Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, experiment = finished
    report = read_report(store.path("run", experiment.runs[0].name))
    before = {key: value for key, value in report.settings.items() if key != "objective"}
    older = {**before, "distill": {**report.settings["distill"], "temperature": 2.0}}
    for settings, is_there in ((before, True), (older, False)):
        monkeypatch.setattr("experiments.results.read_report", lambda _, s=settings: replace(report, settings=s))
        assert is_finished(store, experiment.runs[0]) is is_there


def test_the_results_have_a_row_a_run_with_all_that_made_it(finished: tuple[Store, Experiment]) -> None:
    store, experiment = finished
    rows = results_table(store, experiment).to_pylist()
    assert [row["run"] for row in rows] == [run.name for run in done(experiment)]
    for row in rows:
        artifact = open_run(store, row["run"])
        assert row["run_id"] == artifact.id
        assert row["transfer_set_id"] == artifact.manifest.inputs.get("transfer-set")
        assert row["labels_id"] == artifact.manifest.inputs.get("labels")
        assert 0 <= row["accuracy"] <= 1
        assert row["seconds"] >= row["training_seconds"] >= 0
        assert row["commit"] is not None
        assert (row["transfer_set_id"] is None) == (row["arm"] == "plain")


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Runner and workers are killed with -9; the ids of all runs are those of an experiment left in peace."""
    store, experiment = make_experiment(tmp_path / "peace", seeds=1, updates=150)
    run_experiment(store, experiment, workers=1)
    expected = {run.arm: open_run(store, run.name).id for run in experiment.runs}
    make_experiment(tmp_path / "war", seeds=1, updates=150)
    command = [sys.executable, "-m", "tests.experiments.killed_experiment", str(tmp_path / "war")]
    for seconds in (6.0, 8.0, 10.0, None):
        running = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
    assert running.returncode == 0
    war = Store(tmp_path / "war" / "artifacts")
    assert {run.arm: open_run(war, run.name).id for run in experiment.runs} == expected


@pytest.mark.slow
def test_workers_end_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    make_experiment(tmp_path, seeds=1, updates=100_000)
    command = [sys.executable, "-m", "tests.experiments.killed_experiment", str(tmp_path)]
    running = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    while len(group_of(running.pid)) < 2 or not (tmp_path / "artifacts" / "teachers").exists():
        time.sleep(PAUSE_S)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    patience = time.monotonic() + 30
    while group_of(running.pid) and time.monotonic() < patience:
        time.sleep(PAUSE_S)
    assert group_of(running.pid) == []


def done(experiment: Experiment) -> tuple[PlannedRun, ...]:
    return tuple(run for run in experiment.runs if run.arm != "broken")


def group_of(leader: int) -> list[int]:
    """The processes of its session that live."""
    told = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(leader)], capture_output=True, text=True, check=False)
    lines = [line.split() for line in told.stdout.splitlines()]
    return [int(pid) for pid, state in lines if not state.startswith("Z")]
