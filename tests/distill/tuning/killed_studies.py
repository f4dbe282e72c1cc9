"""A study that is killed with SIGKILL in the midst, life after life, until one gets through.

Run as `python -m tests.distill.tuning.killed_studies ROOT SEED`, in a process of its own, because it forks, which
pytest's must not. Prints one JSON line: the lives it took, the study's id, and what is left in its folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from distill.training.checkpoint import Checkpoint
from distill.tuning.study import open_study_artifact, run_study
from distill.tuning.validation import Validation
from tests.distill.killed_runs import die_at
from tests.distill.tuning.world import make_search_world, options, small_space

MAX_LIVES = 40
TRIALS = 5


def main(root: Path, seed: int) -> None:
    Checkpoint.__init__.__defaults__ = (0.0,)  # a checkpoint after every update
    store, config = make_search_world(root)
    draw, lives, ended = random.Random(seed), 0, 0
    while lives < MAX_LIVES:
        lives += 1
        touch = draw.randrange(200, 900)
        child = os.fork()
        if child == 0:
            die_at(touch, root / "artifacts")
            run_study(store, "s", config, small_space(config), Validation("valid"), options(trials=TRIALS))
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        if not (os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL):
            break
    made = open_study_artifact(store, "s")
    left = sorted(path.name for path in made.directory.iterdir())
    print(json.dumps({"lives": lives, "ended": ended, "id": made.id, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
