"""The `recommend` command: a task in, recipes out; runs are added to a table of the user's own."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.console import run
from contract.errors import CorruptArtifact
from contract.store import Store
from distill.cli import app
from distill.config import read_config
from distill.recommending.evidence import read_evidence
from distill.recommending.own_runs import read_runs
from distill.recommending.own_table import add_runs, all_evidence, table_of
from tests.distill.evidence_for_tests import world
from tests.distill.runs import keep_arms


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [{"text": f"please do thing {n}", "label": f"c{n % 3}"} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def called(monkeypatch: pytest.MonkeyPatch, store: Store, *arguments: str) -> int:
    """The exit code of `distill recommend …`, run as from a shell."""
    monkeypatch.setattr(sys, "argv", ["distill", "recommend", *arguments, "--artifacts", str(store.root)])
    with pytest.raises(SystemExit) as ended:
        run(app)
    return int(ended.value.code or 0)


def test_the_json_has_the_task_the_verdicts_and_ranked_recipes_with_their_evidence(
    monkeypatch: pytest.MonkeyPatch, store: Store, task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, store, "--task", str(task), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["task"]["rows"], found["task"]["classes"]) == (30, 3)
    published, own = found["boards"]
    assert (published["ranked_by"], published["beats_best_on_average"], published["judged_tasks"]) == (
        "average",
        False,
        8,
    )
    assert len(published["recipes"]) == 5
    for recipe in (*published["recipes"], *own["recipes"]):
        assert recipe["evidence"]
        assert recipe["kept"]["low"] <= recipe["kept"]["value"] <= recipe["kept"]["high"]
    assert published["recipes"][0]["cost"] == {"seconds": None, "updates": None}
    assert own["recipes"][0]["distillation_ratio"]["value"] > own["recipes"][-1]["distillation_ratio"]["value"]
    assert not store.root.exists()  # who only asks writes nothing


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_tables_show_recipes_at_every_width(
    monkeypatch: pytest.MonkeyPatch, store: Store, task: Path, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert called(monkeypatch, store, "--task", str(task), "-n", "2") == 0
    out = capsys.readouterr().out
    assert "best on average" in out
    assert "mi-alpha" in out
    assert "neighbours an utterance" in out


def test_a_written_recipe_is_a_run_toml_of_the_task(
    monkeypatch: pytest.MonkeyPatch, store: Store, task: Path, tmp_path: Path
) -> None:
    target = tmp_path / "run.toml"
    arguments = ["--task", str(task), "--shots", "3", "--write", str(target), "--pick", "2", "--pick-text", "2"]
    assert called(monkeypatch, store, *arguments) == 0
    config = read_config(target)
    assert (config.task.path, config.task.shots) == (task, 3)
    assert config.objective.intermediate
    assert called(monkeypatch, store, *arguments) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--task FILE, or --add-runs"),
        (["--task", "nowhere.jsonl"], "no task file"),
        (["--add-runs", "nowhere"], "no finished run"),
        (["--task", "TASK", "--student", "huge"], "No run has the student 'huge'"),
        (["--task", "TASK", "--target", "intent"], "no intent column"),
        (["--task", "TASK", "--split", "valid"], "no rows of split 'valid'"),
        (["--task", "TASK", "--write", "x.toml", "--pick-text", "99"], "--pick-text 99: there are 6 recipes"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, store: Store, task: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert called(monkeypatch, store, *(str(task) if word == "TASK" else word for word in arguments)) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_added_runs_are_evidence_from_then_on_each_once(
    monkeypatch: pytest.MonkeyPatch, store: Store, task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Store(tmp_path / "elsewhere")
    keep_arms(other, {"no distillation": 0.7, "retrieved": 0.8}, seeds=2)
    for new in (4, 0):
        assert called(monkeypatch, store, "--add-runs", str(other.root), "--json") == 0
        assert json.loads(capsys.readouterr().out)["added"] == {"found": 4, "new": new, "own": 4}
    assert len(read_evidence(table_of(store))) == 4
    assert called(monkeypatch, store, "--task", str(task), "--json") == 0
    (_, own) = json.loads(capsys.readouterr().out)["boards"]
    assert (own["runs"], own["tasks"]) == (58, 4)
    judged = (store.root / "evidence.judgement.json").read_bytes()
    assert called(monkeypatch, store, "--task", str(task), "--json") == 0
    assert (store.root / "evidence.judgement.json").read_bytes() == judged  # judged once


def test_runs_that_ship_are_not_added_again(store: Store) -> None:
    runs = all_evidence(store)["transferset"]
    assert add_runs(store, runs).new == 0
    assert not table_of(store).exists()


def test_a_broken_table_is_refused_and_left_as_it_is(store: Store) -> None:
    store.root.mkdir()
    table_of(store).write_bytes(b"broken")
    with pytest.raises(CorruptArtifact, match="remove it"):
        add_runs(store, world(1, board="transferset"))
    assert table_of(store).read_bytes() == b"broken"


def test_writers_at_once_wait_for_each_other_and_lose_no_run(store: Store) -> None:
    """Each opens the lock for itself, so that threads are as far apart as processes are."""
    runs = world(4, board="transferset")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda part: add_runs(store, runs[part::6]), range(6)))
    assert sorted(run.run for run in read_evidence(table_of(store))) == sorted(run.run for run in runs)
    assert not list(store.root.glob(".*.partial"))


def test_a_killed_writer_leaves_the_table_as_it_was(store: Store) -> None:
    add_runs(store, world(1, board="transferset"))
    (store.root / ".evidence.parquet.partial").write_bytes(b"half a tab")
    assert len(read_evidence(table_of(store))) == 12
    assert add_runs(store, world(2, board="transferset")).new == 12


def test_the_runs_of_a_store_are_read_as_they_were_kept(store: Store) -> None:
    keep_arms(store, {"retrieved": 0.8}, seeds=1)
    found = read_runs([store.root])
    assert add_runs(store, found.runs).own == 1
    assert read_evidence(table_of(store)) == list(found.runs)
