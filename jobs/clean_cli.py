"""The command that lets go of what is old: `clean`. It says what it would remove, and asks."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from contract.console import ArtifactsOption, JsonOption, make_app, print_json, screen
from contract.errors import BadInput
from jobs.cli import DatabaseOption

app = make_app("clean", "Remove what is old, when asked.")


@app.callback()
def commands() -> None:
    """Remove what is old, when asked."""


@app.command()
def clean(
    older_than: Annotated[str, typer.Option("--older-than", help="As 30d, 12h, 2w: since its end.")],
    jobs: Annotated[
        bool, typer.Option("--jobs", help="The records of jobs that have ended; what they made stays.")
    ] = False,
    transfer_sets: Annotated[bool, typer.Option("--transfer-sets", help="Those half built and left too.")] = False,
    runs: Annotated[bool, typer.Option("--runs", help="Students with their reports, and those half built.")] = False,
    even_if_used: Annotated[bool, typer.Option("--even-if-used", help="Sets too that a run was made from.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: DatabaseOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old jobs, transfer sets and runs: lists them with their sizes, then asks. What something needs stays."""
    from jobs.jobs import Jobs
    from jobs.retention import old_artifacts, old_jobs, read_age, remove_old
    from jobs.settings import WorkerSettings, read

    if not (jobs or transfer_sets or runs):
        raise BadInput("Nothing was chosen to be cleaned: expected --jobs, --transfer-sets or --runs, or several")
    settings = read(WorkerSettings, database=database, artifacts=artifacts)
    before = time.time() - read_age(older_than)
    if not settings.artifacts.is_dir():
        raise BadInput(f"There is no folder of artifacts at {settings.artifacts}; name it with --artifacts")
    known = Jobs(settings.database_url)
    try:
        # Runs first: with them goes what a transfer set is still needed for.
        found = old_artifacts(settings.store, known, "run", before, even_if_used=even_if_used) if runs else []
        if transfer_sets:
            leaving = {f"run {old.name}" for old in found if old.kept is None}
            found += old_artifacts(
                settings.store, known, "transfer-set", before, even_if_used=even_if_used, leaving=leaving
            )
        found += old_jobs(known, before) if jobs else []
        going = [old for old in found if old.kept is None]
        if not as_json:
            for old in found:
                age = f"{(time.time() - old.since) / 86_400:.0f} days"
                why = f"; stays: {old.kept}" if old.kept else ""
                _say(f"{old.kind} {old.name}, {age}, {old.bytes:,} bytes{why}")
            _say(f"{len(going)} of {len(found)} would go, {sum(old.bytes for old in going):,} bytes")
        stayed: dict[str, str] = {}
        is_sure = not dry_run and bool(going) and (yes or _is_sure(len(going)))
        if is_sure:
            for old in going:
                if why_not := remove_old(settings.store, known, old, even_if_used=even_if_used):
                    stayed[old.name] = why_not
    finally:
        known.close()
    removed = [old for old in going if is_sure and old.name not in stayed]
    if as_json:
        print_json(
            {
                "found": [{"kind": o.kind, "name": o.name, "bytes": o.bytes, "stays": o.kept} for o in found],
                "removed": [old.name for old in removed],
                "stayed": stayed,
            }
        )
        return
    for name, why_not in stayed.items():
        _say(f"{name} stays: {why_not}")
    _say(f"removed {len(removed)}, {sum(old.bytes for old in removed):,} bytes")


def _is_sure(number: int) -> bool:
    if not sys.stdin.isatty():
        raise BadInput(f"Nobody can be asked whether {number} things shall go; say --yes, or look with --dry-run")
    return typer.confirm(f"Remove {number}?")


def _say(line: str) -> None:
    screen.print(line, markup=False, highlight=False, soft_wrap=True)
