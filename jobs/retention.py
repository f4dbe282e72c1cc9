"""Retention: what has been kept long enough and may go, because somebody asks for it. Nothing goes by itself."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import strptime

from contract.errors import BadInput, CorruptArtifact, InUse, TransfersetError
from contract.manifest import MANIFEST, read_manifest
from contract.removal import half_built, remove_artifact, users
from contract.store import FOLDERS, Store, exact_name, split_version
from jobs.job import Job, JobKind
from jobs.jobs import Jobs

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True)
class Old:
    """Something that is old enough to go: a job by its id, an artifact by its exact name."""

    kind: str  # job, transfer-set, run
    name: str
    since: float  # Unix seconds: its end
    bytes: int = 0
    kept: str | None = None  # why it stays nevertheless


def read_age(text: str) -> float:
    """30d, 12h, 2w, 90m as seconds."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip().lower())
    if found is None:
        raise BadInput(f"{text[:40]!r} is no age: expected a whole number of m, h, d or w, as 30d")
    return int(found[1]) * _SECONDS[found[2]]


def old_jobs(jobs: Jobs, before: float) -> list[Old]:
    """The jobs that have ended before a time."""
    return [Old("job", job.id, job.ended_at or before) for job in jobs.ended_before(before)]


def old_artifacts(
    store: Store,
    jobs: Jobs,
    kind: JobKind,
    before: float,
    *,
    even_if_used: bool = False,
    leaving: Collection[str] = (),
) -> list[Old]:
    """The artifacts of a kind that were finished, or half built and left, before a time.

    Those that others were made from stay, `even_if_used` aside, or where those others are `leaving` too.
    """
    unended = jobs.unended()
    found = []
    for path, since in _aged(store, kind):
        if since < before:
            why = _needed(unended, kind, path)
            made = [] if even_if_used else [user for user in users(store, kind, path) if user not in leaving]
            if why is None and made:
                why = f"the {', '.join(made[:3])} was made from it"
            found.append(Old(kind, exact_name(path), since, _bytes(path), why))
    return found


def remove_old(store: Store, jobs: Jobs, old: Old, *, even_if_used: bool = False) -> str | None:
    """Let one thing go -> None, or why it stays."""
    try:
        if old.kind == "job":
            jobs.remove(old.name)
        else:
            kind: JobKind = "run" if old.kind == "run" else "transfer-set"
            check_no_job_needs(jobs, kind, old.name)
            remove_artifact(store, kind, old.name, even_if_used=even_if_used)
    except TransfersetError as error:
        return error.message
    return None


def check_no_job_needs(jobs: Jobs, kind: str, name: str) -> None:
    """InUse when a job that is queued or running builds, or reads, what has this name."""
    for job in jobs.unended():
        if _is_about(job, kind, name):
            raise InUse(f"Job {job.id} is {job.state} and needs the {kind} {name}; wait for its end, or cancel it")


def _needed(unended: list[Job], kind: JobKind, path: Path) -> str | None:
    job = next((job for job in unended if _is_about(job, kind, path.name)), None)
    return None if job is None else f"job {job.id} is {job.state} and needs it"


def _is_about(job: Job, kind: str, name: str) -> bool:
    plain = split_version(name)[0]
    about = {(job.kind, job.name)} | job.needs
    return any(what == kind and split_version(needed)[0] == plain for what, needed in about)


def _aged(store: Store, kind: JobKind) -> Iterator[tuple[Path, float]]:
    """The artifacts of a kind and since when each is as it is."""
    for manifest in sorted((store.root / FOLDERS[kind]).glob(f"[!.]*/{MANIFEST}")):
        yield manifest.parent, _finished_at(manifest)
    for found, path in half_built(store):
        if found == kind:
            yield path, max(each.stat().st_mtime for each in [path, *(path / ".draft").rglob("*")])


def _finished_at(manifest: Path) -> float:
    """When an artifact was finished, wherever it was copied since; of a broken one, its file's time."""
    try:
        return float(timegm(strptime(str(read_manifest(manifest.parent).made["at"]), "%Y-%m-%dT%H:%M:%SZ")))
    except (CorruptArtifact, OSError, KeyError, ValueError):
        return manifest.stat().st_mtime


def _bytes(path: Path) -> int:
    """What a folder takes; what is linked from elsewhere too frees nothing."""
    sizes = (each.stat() for each in path.rglob("*") if each.is_file())
    return sum(found.st_size for found in sizes if found.st_nlink == 1)
