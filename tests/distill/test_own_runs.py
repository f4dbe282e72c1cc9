"""Own runs: reports become evidence by their facts, wherever they lie, and what cannot be compared is left out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from contract.errors import BadInput
from contract.store import Store
from contract.task import read_task
from distill.recommending.own_runs import read_runs, run_of
from distill.recommending.recipe import NO_DISTILLATION
from distill.recommending.task_features import features_of
from distill.reporting.outcome import TransferSetFacts
from tests.distill.runs import keep_arms, keep_run, make_report, make_settings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "artifacts")
    keep_arms(store, {"no distillation": 0.7, "retrieved": 0.8}, seeds=2)
    return store


def test_a_store_a_folder_of_runs_and_a_run_are_all_found(store: Store) -> None:
    runs = store.root / "runs"
    whole = read_runs([store.root]).runs
    assert len(whole) == 4
    assert read_runs([runs]).runs == whole
    assert sorted(run.run for place in sorted(runs.iterdir()) if place.is_dir() for run in read_runs([place]).runs) == (
        sorted(run.run for run in whole)
    )


def test_a_report_says_scores_and_choices(store: Store) -> None:
    run = run_of("id", make_report("r", "retrieved", 1))
    assert (run.task, run.shots, run.student, run.teacher, run.metric) == (
        "clinc150", 10, "2 x 128, scratch", "minilm", "accuracy",
    )  # fmt: skip
    assert run.kept == pytest.approx(0.807 / 0.894)
    assert (run.recipe.retriever, run.recipe.neighbours, run.recipe.unlabelled) == ("lexical", 16, False)
    assert (run.recipe.soft_targets, run.recipe.temperature) == ("kl", 1.0)  # where older reports have them
    assert (run.updates, run.seconds) == (2800, 163.1)
    assert run_of("id", make_report("r", "no distillation")).recipe.retriever == NO_DISTILLATION


def test_more_utterances_than_labelled_rows_are_unlabelled_text() -> None:
    facts = TransferSetFacts("s", "b" * 32, "none", 14_973, 14_973, 0, 0.0)
    assert run_of("id", make_report(transfer_set=facts)).recipe.unlabelled


def test_settings_become_choices_in_the_words_of_run_toml() -> None:
    settings: dict[str, Any] = make_settings() | {
        "objective": {"intermediate": "mi-alpha", "alpha": 0.5, "layer_mapping": "emd", "soft_targets": "mse"},
        "mixup": {"batches": "append"},
        "augmentation": {"operations": [{"name": "swap", "probability": 0.1}, {"name": "delete", "probability": 0.3}]},
        "teacher": {"model": "/home/someone/models/e5-small", "adapt": {"updates": 5}},
    }
    recipe = run_of("id", make_report(settings=settings)).recipe
    assert (recipe.intermediate, recipe.alpha, recipe.layer_mapping, recipe.soft_targets) == (
        "mi-alpha",
        0.5,
        "emd",
        "mse",
    )
    assert (recipe.mixup, recipe.augmentation) == (True, "swap > delete")
    assert recipe.augmentation_share == pytest.approx(0.2)
    assert recipe.adapted


def test_no_path_of_the_machine_is_kept() -> None:
    report = make_report()
    report = replace(report, teacher=replace(report.teacher, model="/home/someone/models/e5-small"))
    assert "someone" not in json.dumps(asdict(run_of("id", report)))


def test_a_task_that_still_lies_there_gives_all_its_features(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"text": f"words {n} here", "intent": f"i{n % 2}"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task, report = read_task(path), make_report()
    settings = make_settings() | {"task": {"path": str(path), "shots": 2}}
    report = replace(report, settings=settings, task=replace(report.task, id=task.id, shots=2))
    assert run_of("id", report).features == features_of(task, kind="classes", shots=2)
    changed = replace(report, task=replace(report.task, id="c" * 32))
    assert run_of("id", changed).features.words is None


@pytest.mark.parametrize("scores", [{}, {"accuracy": 0.0}, {"accuracy": float("nan")}])
def test_a_run_without_a_teachers_score_is_no_evidence(scores: dict[str, float]) -> None:
    report = make_report()
    with pytest.raises(BadInput, match="how much is kept"):
        run_of("id", replace(report, teacher=replace(report.teacher, metrics=scores)))


def test_settings_of_another_version_are_refused_in_a_sentence() -> None:
    with pytest.raises(BadInput, match="settings that this version does not know"):
        run_of("id", make_report(settings=make_settings() | {"objective": {"nonesuch": 1}}))


def test_broken_reports_are_left_out_and_told_of(store: Store) -> None:
    directory = keep_run(store, make_report("broken"))
    (directory / "report.json").write_text("{", encoding="utf-8")
    found = read_runs([store.root])
    assert len(found.runs) == 4
    assert len(found.skipped) == 1
    assert "not a report" in found.skipped[0]


def test_unfinished_runs_and_empty_folders_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "report.json").write_text("{}", encoding="utf-8")
    for place in (tmp_path, tmp_path / "half", tmp_path / "nowhere"):
        with pytest.raises(BadInput, match="no finished run"):
            read_runs([place])
