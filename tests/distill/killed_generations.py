"""A generation that is killed with SIGKILL in the midst, life after life, until one gets through.

Run as `python -m tests.distill.killed_generations ROOT`, where the world of `test_generation` is: prints one JSON line
with the lives it took and the id. A process of its own, because it forks, which pytest's must not.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from contract.artifact import open_artifact
from contract.progress import silent
from contract.store import Store
from distill.augmentation import generation
from distill.augmentation.generation import obtain_generation
from distill.models.device import Device
from distill.reading.gold import read_gold
from distill.settings.augmentation import AugmentationConfig
from distill.settings.task import TaskConfig
from tests.distill.killed_runs import MAX_LIVES, die_at


def main(root: Path) -> None:
    generation.SHARD_ROWS = 7
    store, draw, lives = Store(root / "artifacts"), random.Random(0), 0
    transfer_set = open_artifact(store.path("transfer-set", "mine"), "transfer-set", version=1)
    gold = read_gold(TaskConfig(path=root / "task.jsonl", kind="classes", target="intent"))
    operations = [{"name": name, "probability": 0.3} for name in ("swap", "delete")]
    config = AugmentationConfig.model_validate({"operations": operations, "copies": 3})

    def make() -> str:
        return obtain_generation(store, config, 0, transfer_set, gold, Device("cpu", "float32"), progress=silent).id

    while lives < MAX_LIVES:
        lives += 1
        child = os.fork()
        if child == 0:
            die_at(draw.randrange(60, 250), store.root / "augmentations")
            make()
            os._exit(0)
        draw.random()
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
    print(json.dumps({"lives": lives, "id": make()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
