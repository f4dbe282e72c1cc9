"""Transferset's own runs as evidence: what their reports say of task and settings, and nothing that was written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from contract.errors import BadInput, TransfersetError
from contract.manifest import MANIFEST, Json, read_manifest
from contract.run import REPORT
from contract.store import FOLDERS
from contract.task import Task, read_task
from distill.judging.metrics import METRICS_OF
from distill.recommending.evidence import Run
from distill.recommending.recipe import NO_DISTILLATION, NONE, THEN, Recipe
from distill.recommending.task_features import TaskFeatures, features_of, pass_over
from distill.reporting.outcome import RunReport, read_report
from distill.settings.augmentation import AugmentationConfig, MixupConfig
from distill.settings.objective import ObjectiveConfig
from distill.settings.task import TaskConfig

_UNLABELLED = 1.1  # from so many utterances a labelled row on, a transfer set has unlabelled task text too


@dataclass(frozen=True)
class OwnRuns:
    """Runs that were read, and a sentence for each that was not."""

    runs: tuple[Run, ...]
    skipped: tuple[str, ...]


def read_runs(places: Sequence[Path]) -> OwnRuns:
    """The finished runs of stores, of folders of runs, or of runs' own folders; BadInput where there are none."""
    runs, skipped = [], []
    for directory in (found for place in places for found in _runs_at(place)):
        try:
            runs.append(run_of(read_manifest(directory).id, read_report(directory)))
        except TransfersetError as error:
            skipped.append(error.message)
    return OwnRuns(tuple(runs), tuple(skipped))


def run_of(run_id: str, report: RunReport) -> Run:
    """A report as evidence; BadInput when its scores cannot be compared with a teacher's."""
    task, metric = report.task, METRICS_OF[report.task.kind][0]
    score, teacher_score = report.metrics.finetuned.get(metric), report.teacher.metrics.get(metric)
    if score is None or teacher_score is None or not (math.isfinite(score) and 0 < teacher_score < math.inf):
        raise BadInput(
            f"Run {report.run} has the {metric} {score} and its teacher {teacher_score}; expected numbers, the "
            "teacher's above 0: such a run says nothing of how much is kept"
        )
    return Run(
        run=run_id,
        board="transferset",
        task=task.name,
        task_key=f"{task.id}:{task.kind}:{task.target}:{task.shots or 'all'}",
        features=_features(report),
        student=_student(report),
        teacher=Path(report.teacher.model).name,
        recipe=_checked_recipe(report),
        score=score,
        teacher_score=teacher_score,
        metric=metric,
        shots=task.shots,
        seed=report.seed,
        updates=report.updates.distill + report.updates.finetune,
        seconds=round(report.seconds.distill + report.seconds.finetune, 1),
    )


def _runs_at(place: Path) -> list[Path]:
    folder = place / FOLDERS["run"] if (place / FOLDERS["run"]).is_dir() else place
    candidates = [folder] if (folder / REPORT).is_file() else sorted(folder.glob("*"))
    found = [path for path in candidates if (path / REPORT).is_file() and (path / MANIFEST).is_file()]
    if not found:
        raise BadInput(
            f"{place} has no finished run: expected the folder of all artifacts, of runs, or of one run "
            f"(with {REPORT} and {MANIFEST})"
        )
    return found


def _student(report: RunReport) -> str:
    student = report.student
    return (
        f"static, {student.width}"
        if student.origin == "static"
        else (f"{student.layers} x {student.width}, {student.origin}")
    )


def _checked_recipe(report: RunReport) -> Recipe:
    try:
        return _recipe(report)
    except ValidationError as error:
        raise BadInput(
            f"Run {report.run} has settings that this version does not know ({error.errors()[0]['loc']}); run it again"
        ) from error


def _recipe(report: RunReport) -> Recipe:
    chosen, objective = report.transfer_set, _objective(report.settings)
    if chosen is None:
        return Recipe(retriever=NO_DISTILLATION)
    names = objective.intermediate
    return Recipe(
        retriever=chosen.retriever,
        neighbours=_power_of_two(chosen.neighbours / max(chosen.utterances, 1)),
        unlabelled=chosen.utterances > _UNLABELLED * report.task.train_rows,
        intermediate=" + ".join(names) or NONE,
        alpha=objective.alpha if "mi-alpha" in names else None,
        layer_mapping=(objective.layer_mapping or "own") if names else None,
        intermediate_weight=objective.intermediate_weight[0] if names else None,
        soft_targets=objective.soft_targets if objective.soft_weight else NONE,
        temperature=objective.temperature,
        hard_weight=objective.hard_weight,
        **_augmentation(report.settings),
        adapted=bool(report.settings.get("teacher", {}).get("adapt")),
    )


def _augmentation(settings: Mapping[str, Json]) -> dict[str, Any]:
    """What was done to the texts while the student learned; the share is the operations' mean."""
    mixup = MixupConfig.model_validate(settings.get("mixup") or {})
    found = AugmentationConfig.model_validate(settings.get("augmentation") or {})
    names = [operation.name for operation in found.operations]
    return {
        "mixup": mixup.batches != "none",
        "augmentation": THEN.join(names) or NONE,
        "augmentation_share": fmean(operation.probability for operation in found.operations) if names else None,
        "augmentation_times": found.copies if names else None,
    }


def _objective(settings: Mapping[str, Json]) -> ObjectiveConfig:
    """[objective] of a report; older ones have its first settings in [distill]."""
    if "objective" in settings:
        return ObjectiveConfig.model_validate(settings["objective"])
    former = {name: settings["distill"][name] for name in ("soft_weight", "temperature") if name in settings["distill"]}
    return ObjectiveConfig.model_validate(former)


def _power_of_two(neighbours: float) -> int:
    return 0 if neighbours < 0.5 else int(2 ** round(math.log2(neighbours)))


def _features(report: RunReport) -> TaskFeatures:
    """Those of the task's file where it still lies there, else what the report says."""
    task = report.task
    known = TaskFeatures(task.kind, task.pairs, task.train_rows, task.classes)
    try:
        config = TaskConfig.model_validate(report.settings["task"])
    except ValidationError:  # of another version
        return known
    found = _task_at(config.path, tuple(sorted(config.columns.items())))
    if found is not None and found.id == task.id:
        try:
            return features_of(
                found, target=config.target, kind=task.kind, splits=config.train_splits, shots=task.shots,
                seed=config.seed,
            )  # fmt: skip
        except TransfersetError:
            pass  # rows that the run skipped as bad ones are not worth failing for
    return known


@cache
def _task_at(path: Path, columns: tuple[tuple[str, str], ...]) -> Task | None:
    try:
        return read_task(path, columns=dict(columns), on_bad_row=pass_over)
    except (TransfersetError, OSError):
        return None
