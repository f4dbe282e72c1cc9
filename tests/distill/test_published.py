"""The published runs: their choices in our words, and what a run did not use is no choice of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.recommending.evidence import shipped_evidence
from distill.recommending.published import published_runs
from distill.recommending.recipe import Recipe
from distill.recommending.task_features import TaskFeatures

ROW: dict[str, Any] = {
    "Model": "TinyBERT4", "Teacher": "BERT_BASE", "intermediate_loss_type": "mi", "alpha": 0.9,
    "intermediate_strategy": "skip", "kd_loss_type": "mse", "mixup": True, "repeated_aug": 1, "aug_p": 0.3,
    "#example": 2500, "score": 0.6, "task": "rte", "ratio": 0.6 / 0.65, "baseline_score": 54.1, "contextual": 2,
    "backtranslation": 0, "random": 1,
}  # fmt: skip


def published(folder: Path, rows: list[dict[str, Any]], known: dict[str, TaskFeatures] | None = None) -> list[Any]:
    pq.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
    features = [{"task": "rte", "#example": 2490, "#label": 2}, {"task": "stsb", "#example": 5749, "#label": 1}]
    pq.write_table(pa.Table.from_pylist(features), folder / "dataset_features.parquet")
    return published_runs(folder, known or {})


def test_choices_are_in_the_words_of_run_toml(tmp_path: Path) -> None:
    (run,) = published(tmp_path, [ROW])
    assert run.recipe == Recipe(
        intermediate="mi-alpha", alpha=0.9, layer_mapping="skip", soft_targets="mse", mixup=True,
        augmentation="swap > contextual", augmentation_share=0.3, augmentation_times=1,
    )  # fmt: skip
    assert (run.teacher_score, run.kept) == (0.65, pytest.approx(0.6 / 0.65))
    assert run.features == TaskFeatures("classes", True, 2490, 2)


def test_what_was_not_used_is_no_choice(tmp_path: Path) -> None:
    plain = {**ROW, "intermediate_loss_type": "pkd", "contextual": 0, "random": 0}
    one, other = published(tmp_path, [plain, {**plain, "alpha": 0.1, "aug_p": 0.5, "repeated_aug": 4}])
    assert one.recipe == other.recipe
    assert (one.recipe.alpha, one.recipe.augmentation, one.recipe.augmentation_share) == (None, "none", None)


def test_a_student_that_scored_nothing_has_its_teachers_score_from_the_others(tmp_path: Path) -> None:
    nothing = {**ROW, "score": 0.0, "ratio": 0.0}
    assert [run.teacher_score for run in published(tmp_path, [nothing, ROW])] == [0.65, 0.65]


def test_a_single_label_is_an_amount_and_known_features_come_first(tmp_path: Path) -> None:
    known = TaskFeatures("classes", True, 2490, 2, 52.4, 0.5, 1.0)
    amounts, classes = published(tmp_path, [{**ROW, "task": "stsb"}, ROW], {"rte": known})
    assert (amounts.features.kind, amounts.features.classes) == ("regression", 0)
    assert classes.features == known


def test_the_runs_that_ship_have_the_teachers_of_papers_md() -> None:
    """Spot checks of the whole way against figures that were read from the released table by hand."""
    runs = [run for run in shipped_evidence() if run.board == "distiller"]
    assert len({run.task for run in runs}) == 8
    assert sum(run.recipe.intermediate == "mi-alpha" for run in runs) == 875
    assert {run.teacher_score for run in runs if run.task == "rte" and run.teacher == "BERT_BASE"} == {0.65}
