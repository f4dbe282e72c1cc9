"""Chaos in short: a few kills over both kinds of job, and a table that says that nothing was lost or doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.trial import Outcome
from tests.jobs.postgres import installed


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_few_kills_lose_double_and_change_nothing(tmp_path: Path, database: str) -> None:
    if database == "postgres" and installed() is None:
        pytest.skip("PostgreSQL is not installed")
    command = [sys.executable, "-m", "benchmarks.chaos", "--kills", "5", "--only", database, "--workers", "1"]
    done = subprocess.run(
        [*command, "--scratch", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills: 0 lost, 0 doubled, 0 changed" in done.stdout
    assert not list(tmp_path.iterdir()), "it cleans up"


def test_whatever_is_wrong_makes_an_outcome_fail() -> None:
    assert Outcome("sqlite", 1).is_whole
    for fault in ("lost", "doubled", "changed", "wrong"):
        assert not Outcome("sqlite", 1, **{fault: ["a job"]}).is_whole  # type: ignore[arg-type]
