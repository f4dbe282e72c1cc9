"""The worker's side of distill: what is done with the job of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from contract.artifact import Artifact
from contract.draft import discard, locked
from contract.errors import NameTaken, NotFound
from contract.manifest import MANIFEST, Json
from contract.progress import Progress
from contract.run import MODELS
from contract.store import Store
from contract.task_folder import PlacedTask, find_task
from distill import run_metrics
from distill.exchange.exchange import Exchange, FetchingStore, open_exchange
from distill.order import read_order
from distill.pipeline import run_distillation
from distill.reporting.outcome import RunReport, read_report
from jobs.builder import Made
from jobs.settings import WorkerSettings

EXCHANGED = "exchanged"  # the folder below the artifacts with the copies of a worker that has an exchange
LEARNING = ("distill", "finetune")  # the stages in which teacher and labels are finished


def build_job(settings: WorkerSettings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Made:
    """Distil the run a job asks for, with what is in the artifacts folder, or what the exchange has."""
    models = settings.artifacts / MODELS
    if settings.exchange is None:
        task = find_task(settings.tasks_folder, str(request["task"]["name"]))
        return _made_of(_distilled(settings.store, name, request, task, models, progress, restart))
    key = settings.exchange_key.get_secret_value() if settings.exchange_key else None
    exchange = open_exchange(settings.exchange, key)
    try:
        return _made_of(_exchanged(settings, exchange, name, request, progress, restart))
    finally:
        exchange.close()


def _exchanged(
    settings: WorkerSettings,
    exchange: Exchange,
    name: str,
    request: dict[str, Json],
    progress: Progress,
    restart: bool,
) -> Artifact:
    """The same with copies: what is needed is fetched, what was made is sent."""
    store = FetchingStore(settings.artifacts / EXCHANGED, exchange, progress)
    task = exchange.task(str(request["task"]["name"]), store.root / "tasks")
    stage_then = ""

    def listen(stage: str, done: int, total: int | None) -> None:
        nonlocal stage_then
        progress(stage, done, total)
        if stage in LEARNING and stage_then not in LEARNING:
            store.send_made()  # now, so that they are not made again if this worker does not come to the end
        stage_then = stage

    models = settings.artifacts / MODELS
    try:
        run = _distilled(store, name, request, task, models, listen, restart)
    except NameTaken:
        if store.has_there("run", name):
            raise
        store.forget("run", name)  # left here by an order that went elsewhere: the exchange is what counts
        run = _distilled(store, name, request, task, models, listen, False)
    store.send_made()
    if not store.has_there("run", name):
        store.send("run", name)
    return run


def _distilled(
    store: Store,
    name: str,
    request: dict[str, Json],
    task: PlacedTask,
    models: Path,
    progress: Progress,
    restart: bool,
) -> Artifact:
    config = read_order(request, task, models)
    if restart:  # before the first step is told of, which says that what was there is gone
        _discard(store.path("run", name))
    with run_metrics.watching(progress) as watched:
        return run_distillation(store, name, config, progress=watched)


def _discard(directory: Path) -> None:
    """Remove a half-built run; a finished one stays."""
    with locked(directory):
        if not (directory / MANIFEST).exists():
            discard(directory)


def _made_of(run: Artifact) -> Made:
    """What a finished run says of itself: its updates, and the student's and the teacher's metrics."""
    says: dict[str, Json] = {}
    counts: dict[str, int] = {}
    with suppress(NotFound):
        report = read_report(run.directory)
        run_metrics.observe(report)
        updates = report.updates.distill + report.updates.finetune
        counts = {"total": updates, "done": updates}
        says = {"metrics": _headline(report)}
    return Made(run.id, counts, says)


def _headline(report: RunReport) -> dict[str, Json]:
    return {
        "student": dict(report.metrics.finetuned),
        "teacher": dict(report.teacher.metrics),
        "student_parameters": report.student.parameters,
        "teacher_parameters": report.teacher.parameters,
    }
