"""The runs published with Distiller (He et al. 2021), as evidence: their choices in the words of RUN.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distill.recommending.evidence import Run
from distill.recommending.recipe import NONE, THEN, Recipe
from distill.recommending.task_features import TaskFeatures

SOURCE = "github.com/Cli212/Distiller, autodistiller_experiments (He et al. 2021, arXiv 2109.11105)"
LICENCE = "its setup.py says MIT; it has no licence file of its own"

_INTERMEDIATE = {"ce": "hidden-ce", "mse": "hidden-mse", "cos": "hidden-cosine", "pkd": "pkd", "mi": "mi-alpha"}
_AUGMENTERS = {"contextual": "contextual", "backtranslation": "back-translation", "random": "swap"}
_SINGLE = {"sst-2", "cola"}  # the GLUE tasks whose text is one sentence


def published_runs(folder: Path, known: Mapping[str, TaskFeatures]) -> list[Run]:
    """The runs of runs.parquet; `known` has the features of the tasks whose text is at hand, by name."""
    features = {row["task"]: _features(row) for row in pq.read_table(folder / "dataset_features.parquet").to_pylist()}
    features |= known
    rows = pq.read_table(folder / "runs.parquet").to_pylist()
    teachers = _teacher_scores(rows)
    return [
        _run(number, row, features[row["task"]], teachers[row["task"], row["Teacher"]])
        for number, row in enumerate(rows)
    ]


def _run(number: int, row: Mapping[str, Any], features: TaskFeatures, teacher_score: float) -> Run:
    return Run(
        run=f"distiller-{number:04d}",
        board="distiller",
        task=row["task"],
        task_key=f"glue:{row['task']}",
        features=features,
        student=row["Model"],
        teacher=row["Teacher"],
        recipe=_recipe(row),
        score=row["score"],
        teacher_score=teacher_score,
    )


def _teacher_scores(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """(task, teacher) -> its score: student / ratio, of any run that did not score 0."""
    return {(row["task"], row["Teacher"]): round(row["score"] / row["ratio"], 6) for row in rows if row["ratio"]}


def _recipe(row: Mapping[str, Any]) -> Recipe:
    """Settings that a run did not use (alpha without mi, a share without augmentation) are no choices of it."""
    mutual = row["intermediate_loss_type"] == "mi"
    order = sorted((row[name], said) for name, said in _AUGMENTERS.items() if row[name])
    return Recipe(
        intermediate=_INTERMEDIATE[row["intermediate_loss_type"]],
        alpha=row["alpha"] if mutual else None,
        layer_mapping=row["intermediate_strategy"],
        soft_targets=row["kd_loss_type"],
        mixup=row["mixup"],
        augmentation=THEN.join(said for _, said in order) or NONE,
        augmentation_share=row["aug_p"] if order else None,
        augmentation_times=row["repeated_aug"] if order else None,
    )


def _features(row: Mapping[str, Any]) -> TaskFeatures:
    """What is published of a task: its rows and classes; a single label is an amount."""
    amounts = row["#label"] == 1
    return TaskFeatures(
        kind="regression" if amounts else "classes",
        pairs=row["task"] not in _SINGLE,
        rows=row["#example"],
        classes=0 if amounts else row["#label"],
    )
