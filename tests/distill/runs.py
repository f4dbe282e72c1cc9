"""Runs for the tests: reports and predictions as the pipeline leaves them, without training anything."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contract.artifact import write_parquet
from contract.draft import Plan, drafting
from contract.run import RUN_VERSION
from contract.store import Store
from distill.judging.predictions import PREDICTIONS_FILE
from distill.reporting.outcome import (
    CurvePoint,
    Curves,
    Metrics,
    RunReport,
    Seconds,
    StudentFacts,
    TaskFacts,
    TeacherFacts,
    TransferSetFacts,
    Updates,
)
from distill.reporting.report import write_report

CLASSES = 12
RETRIEVERS = {"task-only": "none", "generic-random": "random", "augmented": "augmented", "retrieved": "lexical"}


def make_report(run: str = "r1", arm: str = "retrieved", seed: int = 0, **changes: Any) -> RunReport:
    """A report with believable numbers; `changes` replaces whole fields of it."""
    distils = arm != "no distillation"
    scores = {"accuracy": 0.807, "macro_f1": 0.803, "agreement": 0.862}
    report = RunReport(
        run=run,
        arm=arm,
        seed=seed,
        task=TaskFacts("clinc150", "a1" * 16, "intent", 150, 10, 1500, 4500, "test"),
        transfer_set=TransferSetFacts(f"set-{seed}", "b2" * 16, RETRIEVERS.get(arm, arm), 31020, 1500, 29520, 0.951)
        if distils
        else None,
        teacher=TeacherFacts("minilm", f"{seed:02}" * 16, 22_713_216, {"accuracy": 0.894, "macro_f1": 0.892}, 2.91),
        student=StudentFacts(2, 128, 2, "scratch", 4_416_000),
        updates=Updates(2500, 300) if distils else Updates(0, 2800),
        metrics=Metrics({"accuracy": 0.777, "macro_f1": 0.773, "agreement": 0.83} if distils else None, scores),
        ms_per_utterance=0.304,
        seconds=Seconds(75.2, 18.3, 140.2, 22.9),
        curves=Curves(_curve(2500) if distils else (), _curve(300)),
        settings=make_settings(seed),
    )
    return replace(report, **changes)


def make_settings(seed: int = 0, **distill: Any) -> dict[str, Any]:
    """The settings of a run config; `distill` lays over its section."""
    return {
        "task": {"path": "clinc150.parquet", "shots": 10, "seed": seed, "train_split": "train"},
        "transfer_set": {"name": f"set-{seed}"},
        "teacher": {"model": "minilm", "seed": seed, "updates": 500},
        "student": {"layers": 2, "width": 128, "heads": 2, "from": "scratch", "dropout": 0.1},
        "distill": {"updates": 2500, "temperature": 1.0, **distill},
        "finetune": {"updates": 300, "learning_rate": 3e-4, "updates_alone": None},
        "seed": seed,
        "arm": None,
    }


def make_predictions(
    accuracy: float = 0.8, *, rows: int = 400, seed: int = 0, teacher: float = 0.9, shuffled: bool = False
) -> pa.Table:
    """Predictions with just that accuracy, to the row; gold and teacher are the same for all with the same `rows`."""
    gold = np.random.default_rng(rows).integers(0, CLASSES, rows)
    order = np.random.default_rng(seed).permutation(rows) if shuffled else np.arange(rows)
    table = {
        "id": [f"test-{row}" for row in range(rows)],
        "gold": _names(gold),
        "predicted": _names(_with_accuracy(gold, accuracy, seed)),
        "teacher": _names(_with_accuracy(gold, teacher, 10_000)),
    }
    return pa.table(table).take(pa.array(order))


def keep_run(
    store: Store, report: RunReport, predictions: pa.Table | None = None, *, with_predictions: bool = True
) -> Path:
    """Write a finished run as the pipeline does, and return its directory."""
    table = make_predictions() if predictions is None else predictions
    directory = store.path("run", report.run)
    with drafting(directory, Plan("run", RUN_VERSION, {"run": report.run})) as draft:
        if with_predictions:
            write_parquet(table, draft.partial(PREDICTIONS_FILE))
            draft.keep("predictions", {PREDICTIONS_FILE: table.num_rows})
        write_report(report, draft.partial("report.json"), draft.partial("report.html"))
        draft.keep("report", {"report.json": 1, "report.html": 1})
        draft.finish(attachments=("report.json", "report.html"))
    return directory


def keep_arms(store: Store, accuracies: dict[str, float], *, seeds: int = 3, rows: int = 400, **options: Any) -> None:
    """One run for each arm and seed, around the arm's accuracy, named `c-ARM-SEED`."""
    for arm, accuracy in accuracies.items():
        for seed in range(seeds):
            name = f"c-{arm.replace(' ', '-')}-{seed}"
            wobble = (seed - (seeds - 1) / 2) * 0.01
            answers = make_predictions(accuracy + wobble, rows=rows, seed=seed, **options)
            keep_run(store, make_report(name, arm, seed), answers)


def _with_accuracy(gold: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """The gold labels with round((1 - accuracy) * rows) of them wrong; a lower accuracy errs on more of the same."""
    draw = np.random.default_rng(seed + 77)
    wrong = draw.permutation(len(gold))[: round((1 - accuracy) * len(gold))]
    said = gold.copy()
    said[wrong] = (gold[wrong] + 1 + draw.integers(0, CLASSES - 1, len(gold))[: len(wrong)]) % CLASSES
    return said


def _names(codes: np.ndarray) -> list[str]:
    return [f"intent {code}" for code in codes.tolist()]


def _curve(updates: int) -> tuple[CurvePoint, ...]:
    steps = [round(updates * part / 50) for part in range(1, 51)]
    return tuple(CurvePoint(step, 4.5 * math.exp(-step / updates * 4) + 0.4 + 0.05 * (step % 7)) for step in steps)
