"""A run that is killed with SIGKILL in the midst, life after life, until one gets through.

Run as `python -m tests.distill.killed_runs ROOT`, where RUN.toml and ROOT/artifacts are: prints one JSON line with the
lives it took and the id of the run. A process of its own, because it forks, which pytest's must not.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from contract.store import Store
from distill.config import read_config
from distill.pipeline import open_run, run_distillation
from distill.training.checkpoint import Checkpoint

MAX_LIVES = 60


def die_at(touch: int, below: Path) -> None:
    """Kill this process before it touches anything below a folder for the `touch`-th time."""
    touches = 0

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal touches
        if event.split(".")[0] in ("open", "os", "shutil") and any(str(below) in str(arg) for arg in args):
            touches += 1
            if touches == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main(root: Path) -> None:
    Checkpoint.__init__.__defaults__ = (0.0,)  # a checkpoint after every update
    store, config = Store(root / "artifacts"), read_config(root / "RUN.toml")
    draw = random.Random(0)
    lives = 0
    while lives < MAX_LIVES:
        lives += 1
        child = os.fork()
        if child == 0:
            die_at(draw.randrange(60, 250), root / "artifacts")
            run_distillation(store, "r1", config)
            os._exit(0)
        draw.random()
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
    run = open_run(store, "r1")
    print(json.dumps({"lives": lives, "id": run.id, "left": sorted(p.name for p in run.directory.iterdir())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
