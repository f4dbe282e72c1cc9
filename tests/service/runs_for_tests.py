"""A run without a distillation: the files a finished one has, and a builder that makes it of an order."""

from __future__ import annotations

import json
from typing import Any

from contract.artifact import Artifact, open_artifact
from contract.draft import Plan, drafting
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from contract.store import Store
from jobs.builder import Made
from service.settings import Settings

STUDENT = {
    "student/config.json": b'{"model_type": "bert"}',
    "student/model.safetensors": bytes(range(256)) * 1000,
    "student/tokenizer.json": b"{}",
    "student/training_args.bin": b"a pickle, perhaps",
}
PAGE = b"<!doctype html><title>report</title><style>p{color:red}</style><p>well"
METRICS = {"accuracy": 0.875, "macro_f1": 0.75}


def report_of(name: str) -> dict[str, Any]:
    return {
        "run": name,
        "metrics": {"finetuned": {**METRICS, "agreement": 0.5}},
        "teacher": {"parameters": 2_000_000, "metrics": METRICS},
        "student": {"parameters": 1_000},
    }


def make_run(
    store: Store, name: str, params: dict[str, Json] | None = None, *, weights: bytes | None = None
) -> Artifact:
    with drafting(store.path("run", name), Plan("run", 1, params or {"seed": 0}, {"task": "t"})) as draft:
        if not draft.finished:
            files = STUDENT | ({"student/model.safetensors": weights} if weights is not None else {})
            attached = {"report.json": json.dumps(report_of(name)).encode(), "report.html": PAGE}
            for file, content in {**files, **attached}.items():
                draft.partial(file).write_bytes(content)
            draft.keep("student", dict.fromkeys(files, 0))
            draft.keep("report", dict.fromkeys(attached, 0))
            draft.finish(attachments=[*attached])
    return open_artifact(store.path("run", name), "run", version=1)


def run_builder(settings: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Made:
    progress("distill", 1, 1)
    run = make_run(settings.store, name, {"order": canonical_json(request).decode()})
    return Made(run.id, {"total": 1, "done": 1}, {"metrics": {"student": METRICS}})
