"""Retention: what is old goes when it is asked for, in front of whoever asks, and nothing that is needed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contract.draft import Plan, drafting
from contract.errors import BadInput
from contract.manifest import Kind, read_manifest
from contract.store import Store
from jobs.jobs import Jobs
from jobs.retention import old_artifacts, old_jobs, read_age, remove_old
from service.settings import Settings
from tests.jobs.counting import Counting, ended, submit
from transferset import app

LONG_AGO = 40 * 86_400
ON_SQLITE = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def make(store: Store, kind: Kind, name: str, *, age: float = LONG_AGO, finish: bool = True, **inputs: str) -> Path:
    """An artifact of that age, as far as anyone can tell."""
    directory = store.path(kind, name)
    with drafting(directory, Plan(kind, 1, {"name": name}, inputs)) as draft:
        draft.partial("shard.parquet").write_bytes(b"x" * 1000)
        draft.keep("shard", {"shard.parquet": 1})
        if finish:
            draft.finish()
    then = time.time() - age
    if finish:
        manifest = directory / "manifest.json"
        read = json.loads(manifest.read_bytes())
        read["made"]["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then))
        manifest.write_text(json.dumps(read))
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (then, then))
    return directory


def command(settings: Settings, *options: str) -> tuple[int, str]:
    called = ["clean", "--artifacts", str(settings.artifacts), "--database", settings.database_url, *options]
    result = CliRunner().invoke(app, called)
    if isinstance(result.exception, BadInput):
        return 2, result.exception.message
    return result.exit_code, result.output


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), (" 2W ", 1_209_600), ("90m", 5400)])
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "30 days", "٣d", "9999999d"])
def test_what_is_no_age_is_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match="as 30d"):
        read_age(text)


def test_old_jobs_are_those_that_have_ended_long_ago(jobs: Jobs, worker: Any) -> None:
    done = ended(jobs, submit(jobs, "a"))
    alive = submit(jobs, "b", steps=100_000)
    assert old_jobs(jobs, time.time() - 60) == []
    (old,) = old_jobs(jobs, time.time() + 60)
    assert (old.kind, old.name) == ("job", done.id)
    assert remove_old(Store(Path()), jobs, old) is None
    assert [job.id for job in jobs.newest(10)[0]] == [alive.id]
    jobs.cancel(alive.id)


def test_old_artifacts_stay_while_something_needs_them(jobs: Jobs, settings: Settings) -> None:
    store = settings.store
    used = read_manifest(make(store, "transfer-set", "used"))
    make(store, "run", "r", age=0, **{"transfer-set": used.id})
    for name in ("wanted", "building", "idle", "left"):
        make(store, "transfer-set", name, finish=name not in ("building", "left"))
    make(store, "transfer-set", "young", age=0)
    jobs.submit("run", "next", {"transfer_set": {"name": "wanted"}})
    jobs.submit("transfer-set", "building", {})
    found = {old.name: old for old in old_artifacts(store, jobs, "transfer-set", time.time() - 86_400)}
    assert sorted(found) == ["building@1", "idle@1", "left@1", "used@1", "wanted@1"]
    assert {name for name, old in found.items() if old.kept is None} == {"idle@1", "left@1"}
    assert "run r@1 was made from it" in str(found["used@1"].kept)
    assert found["idle@1"].bytes >= 1000
    assert "needs the transfer-set wanted@1" in str(remove_old(store, jobs, found["wanted@1"]))
    assert remove_old(store, jobs, found["left@1"]) is None
    assert not store.path("transfer-set", "left").exists()


@ON_SQLITE
def test_the_command_lists_asks_and_removes(jobs: Jobs, settings: Settings, worker: Any, counting: Counting) -> None:
    used = read_manifest(make(settings.store, "transfer-set", "used"))
    make(settings.store, "transfer-set", "idle")
    make(settings.store, "run", "r", **{"transfer-set": used.id})
    assert command(settings, "--older-than", "30d") == (2, "Nothing was chosen to be cleaned: expected --jobs, "
        "--transfer-sets or --runs, or several")  # fmt: skip
    code, said = command(settings, "--older-than", "30d", "--transfer-sets", "--dry-run")
    assert (code, "1 of 2 would go" in said, "used@1, 40 days" in said) == (0, True, True)
    assert settings.store.names("transfer-set") == ["idle", "used"]
    code, said = command(settings, "--older-than", "30d", "--transfer-sets", "--runs")
    assert (code, "say --yes" in said) == (2, True)
    assert settings.store.names("transfer-set") == ["idle", "used"]
    code, said = command(settings, "--older-than", "30d", "--transfer-sets", "--runs", "--yes", "--json")
    assert code == 0
    assert json.loads(said)["removed"] == ["r@1", "idle@1", "used@1"], "with the run goes what the set was needed for"
    assert settings.store.names("transfer-set") == settings.store.names("run") == []


@ON_SQLITE
def test_the_command_removes_nothing_that_is_young(jobs: Jobs, settings: Settings) -> None:
    make(settings.store, "transfer-set", "young", age=86_400)
    jobs.cancel(submit(jobs, "a").id)
    code, said = command(settings, "--older-than", "2d", "--transfer-sets", "--jobs", "--runs", "--yes")
    assert (code, "0 of 0 would go" in said) == (0, True)
    code, said = command(settings, "--older-than", "0m", "--jobs", "--yes")
    assert "removed 1" in said or "removed 0" in said  # it ended in this very second
