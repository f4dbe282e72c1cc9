"""The build: what a worker does with the job of a transfer set."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from contract.artifact import Artifact
from contract.manifest import Json
from contract.progress import Progress
from contract.store import Store
from jobs.builder import Made
from service.indexes import OpenIndexes
from service.orders import resolve
from service.reader import Readers
from service.settings import Settings
from service.tasks import TaskFolder
from service.transfer_set import build_transfer_set, open_index


def build_job(settings: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Made:
    """Build what a job asks for. Its task is a name in the tasks folder."""
    asked = resolve(TaskFolder(settings.tasks_folder, Readers(settings.reading)), request)
    kept = _kept_open(settings.artifacts, settings.open_indexes)
    built = build_transfer_set(
        settings.store, name, asked, progress=progress, restart=restart, opener=lambda _, index: kept.get(index)
    )
    return made_of(built)


@lru_cache(maxsize=1)
def _kept_open(artifacts: Path, capacity: int) -> OpenIndexes:
    """The indexes a worker keeps open from job to job: an encoder loaded for each would fill the memory with pieces."""
    return OpenIndexes(Store(artifacts), open_index, capacity)


def made_of(artifact: Artifact) -> Made:
    """What a finished transfer set says of its utterances: how many came, how many stayed."""
    count = artifact.manifest.counts["utterances"]
    return Made(
        artifact.id, {"total": count.rows_in, "done": count.rows_out, "dropped": count.rows_in - count.rows_out}
    )
