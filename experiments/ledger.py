"""The ledger of an experiment, a line of JSON for each run that ended: from the runner, for it and for the results.

Lines are only added, each in one write, so that a kill cuts at most the last; what is no line is passed over.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """How a run ended: the seconds by the clock, the commit it was made with, and why it failed, if it did."""

    run: str
    seconds: float
    commit: str
    error: str | None = None


class Ledger:
    """The lines of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: Entry) -> None:
        """Keep how a run ended."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"\n{json.dumps(asdict(entry))}".encode())
        finally:
            os.close(handle)

    def entries(self) -> dict[str, Entry]:
        """The last word on every run."""
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        found = [entry for line in lines if (entry := _read(line)) is not None]
        return {entry.run: entry for entry in found}


def commit_of(folder: Path) -> str:
    """The commit that the code in `folder` is of, with a + where it was changed since; '' where nobody knows."""
    told = [_git(folder, "rev-parse", "--short", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")]
    return f"{told[0]}+" if told[1] else told[0]


def _read(line: bytes) -> Entry | None:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        return ""
