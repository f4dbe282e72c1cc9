"""A run of many lives: killed again and again in processes of its own, until it is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def told_after_kills(root: Path) -> dict[str, Any]:
    """What is told at the end of the run of `root`'s RUN.toml: its id, its lives (three at least), its files."""
    command = [sys.executable, "-m", "tests.distill.killed_runs", str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert told["lives"] >= 3, "nothing was killed"
    return told
