"""The small experiment in a process of its own, to be killed: `python -m tests.experiments.killed_experiment ROOT`."""

from __future__ import annotations

import sys
from pathlib import Path

from contract.store import Store
from experiments.runner import run_experiment
from tests.experiments.worlds import experiment_of

if __name__ == "__main__":
    root = Path(sys.argv[1])
    standing = run_experiment(Store(root / "artifacts"), experiment_of(root / "RUN.toml", seeds=1), workers=1)
    sys.exit(1 if standing.failed else 0)
