"""The results: one Parquet table, a row for each finished run, for whoever asks something else of them later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.artifact import Artifact, write_parquet
from contract.errors import BadInput
from contract.manifest import move_into_place
from contract.store import Store
from distill.config import RunConfig, make_config, read_config
from distill.judging.metrics import METRICS, Judged
from distill.judging.predictions import Predictions, read_predictions
from distill.pipeline import open_run
from distill.reporting.outcome import RunReport, read_report
from experiments.experiment import Experiment, PlannedRun
from experiments.ledger import Entry, Ledger
from service.inspection import inspect_transfer_set
from service.plan import open_transfer_set

# Of what a student learnt from, as `inspect` has them: of its generic text, or where it has none of the task's.
INSPECTED = ("distinct_1", "distinct_2", "vocabulary_overlap")
_SCORES = pa.map_(pa.string(), pa.float64())
_LANGUAGES = pa.list_(
    pa.struct([("lang", pa.string()), ("rows", pa.int64()), ("student", _SCORES), ("teacher", _SCORES)])
)
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("experiment", "part", "task", "kind", "target")),
        ("shots", pa.int64()),
        *((name, pa.string()) for name in ("arm", "report_arm", "student", "retriever")),
        ("seed", pa.int64()),
        *((name, pa.float64()) for name in METRICS),
        ("agreement", pa.float64()),
        ("teacher_model", pa.string()),
        ("teacher", _SCORES),
        ("languages", _LANGUAGES),
        *((name, pa.int64()) for name in ("texts", "test_rows", "parameters", "distill_updates", "finetune_updates")),
        *((name, pa.float64()) for name in INSPECTED),
        *((name, pa.float64()) for name in ("training_seconds", "seconds")),
        *((name, pa.string()) for name in ("run", "run_id", "task_id", "teacher_id", "transfer_set_id", "labels_id")),
        *((name, pa.string()) for name in ("settings", "commit")),
    ]
)


def is_finished(store: Store, run: PlannedRun) -> bool:
    """Whether the run is there, made with these very settings; where the task lies does not matter.

    What was written before a setting came is read with that setting's default.
    """
    if run.name not in store.names("run"):
        return False
    try:
        there = make_config(read_report(store.path("run", run.name)).settings)
    except BadInput:  # of a version whose settings were others
        return False
    return _placeless(there) == _placeless(read_config(*run.config))


def results_table(store: Store, experiment: Experiment) -> pa.Table:
    """The finished runs, in the order of the plan."""
    told = ledger_of(store, experiment).entries()
    finished = [run for run in experiment.runs if is_finished(store, run)]
    inspected = {name: _inspected(store, name) for name in dict.fromkeys(run.transfer_set for run in finished)}
    rows = [_row(store, experiment, run, told.get(run.name)) | inspected[run.transfer_set] for run in finished]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def keep_results(store: Store, experiment: Experiment, table: pa.Table) -> Path:
    """Write the table, whole or not at all."""
    path = folder_of(store, experiment) / "results.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    write_parquet(table, partial)
    move_into_place(partial, path)
    return path


def folder_of(store: Store, experiment: Experiment) -> Path:
    """Where an experiment's own files lie, beside the artifacts."""
    return store.root / "experiments" / f"{experiment.name}{'-quick' if experiment.is_quick else ''}"


def ledger_of(store: Store, experiment: Experiment) -> Ledger:
    return Ledger(folder_of(store, experiment) / "ledger.jsonl")


def _row(store: Store, experiment: Experiment, planned: PlannedRun, entry: Entry | None) -> dict[str, Any]:
    artifact = open_run(store, planned.name)
    report = read_report(artifact.directory)
    spent = report.seconds.distill + report.seconds.finetune
    return {
        "experiment": experiment.name,
        "part": planned.part,
        "arm": planned.arm,
        "report_arm": report.arm,
        "seed": report.seed,
        **_of_task(report),
        **_of_models(report),
        **report.metrics.finetuned,
        "languages": _languages(read_predictions(artifact, planned.name)),
        "training_seconds": spent,
        "seconds": max(spent, entry.seconds) if entry else None,
        "commit": entry.commit if entry else None,
        **_ids(planned.name, artifact),
        "settings": json.dumps(report.settings),
    }


def _inspected(store: Store, name: str | None) -> dict[str, float | None]:
    """Nothing of a set that was removed since."""
    if name is None or name not in store.names("transfer-set"):
        return {}
    found = inspect_transfer_set(open_transfer_set(store, name))
    side = found.generic if found.generic.texts else found.task
    overlap = found.vocabulary_overlap if found.generic.texts and found.task.texts else None
    return dict(zip(INSPECTED, (side.distinct_1, side.distinct_2, overlap), strict=True))


def _of_task(report: RunReport) -> dict[str, Any]:
    task, chosen = report.task, report.transfer_set
    return {
        "task": task.name,
        "kind": task.kind,
        "target": task.target,
        "shots": task.shots,
        "test_rows": task.test_rows,
        "texts": chosen.texts if chosen else None,
        "retriever": chosen.retriever if chosen else None,
    }


def _of_models(report: RunReport) -> dict[str, Any]:
    student, teacher = report.student, report.teacher
    return {
        "student": f"{student.layers}x{student.width} {student.origin}",
        "parameters": student.parameters,
        "teacher_model": Path(teacher.model).name,
        "teacher": list(teacher.metrics.items()),
        "distill_updates": report.updates.distill,
        "finetune_updates": report.updates.finetune,
    }


def _ids(name: str, artifact: Artifact) -> dict[str, Any]:
    inputs = artifact.manifest.inputs
    kinds = {"task_id": "task", "teacher_id": "teacher", "transfer_set_id": "transfer-set", "labels_id": "labels"}
    return {"run": name, "run_id": artifact.id, **{column: inputs.get(kind) for column, kind in kinds.items()}}


def _languages(predictions: Predictions) -> list[dict[str, Any]] | None:
    """Every metric by language, where the test has several."""
    if len(predictions.languages) < 2:
        return None
    both = (("student", predictions.student), ("teacher", predictions.teacher))
    return [
        {
            "lang": lang,
            "rows": int(rows.sum()),
            **{who: _scores(judged, rows, predictions.metrics) for who, judged in both if judged is not None},
        }
        for lang, rows in predictions.languages.items()
    ]


def _scores(judged: Judged, rows: npt.NDArray[np.bool_], metrics: Sequence[str]) -> list[tuple[str, float]]:
    weights = rows[None].astype(np.float64)
    return [(name, float(METRICS[name].measure(judged, weights)[0])) for name in metrics]


def _placeless(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"task": config.task.model_copy(update={"path": Path()})})
