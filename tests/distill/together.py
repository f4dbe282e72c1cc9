"""Several processes that train one small model: each is `python -m tests.distill.together` with its part as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from contract.errors import WorkerLost
from contract.progress import silent
from distill.models.device import threads
from distill.objectives.objective import HARD, Objective
from distill.training.loop import Recipe
from distill.training.met_rows import met_rows
from distill.training.processes import Processes, joined
from tests.distill.test_training import CPU, RECIPE, bag, checkpoint_at, examples, learn, some_examples, with_helpers

LOST = 3


def start(folder: Path, rank: int, count: int, **told: Any) -> subprocess.Popen[str]:
    """Process `rank`; `told` is dropout, helpers, recipe, and after which update it kills itself."""
    part = json.dumps({"folder": str(folder), "rank": rank, "count": count, **told})
    return subprocess.Popen([sys.executable, "-m", "tests.distill.together", part], stderr=subprocess.PIPE, text=True)


def train_together(folder: Path, count: int, *, dies: dict[int, int] | None = None, **told: Any) -> list[int]:
    """The exit codes of all; those that `dies` names kill themselves after the update it gives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    started = [start(folder, rank, count, dies_at=(dies or {}).get(rank), **told) for rank in range(count)]
    said = [process.communicate(timeout=120)[1] for process in started]
    codes = [process.returncode for process in started]
    assert all(code in (0, LOST, -signal.SIGKILL) for code in codes), said
    return codes


def learnt(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    """The weights a process ended with."""
    return load_file(folder / f"weights-{rank}")


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of a weight."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def _play(told: dict[str, Any], processes: Processes) -> None:
    folder = Path(told["folder"])
    model = bag(told.get("dropout", 0.0))
    recipe: Recipe = replace(RECIPE, **told.get("recipe", {}))
    objective: Objective = HARD
    given: dict[str, Any] = {}
    if told.get("helpers"):
        objective, some = with_helpers()
        given = {"examples": some}

    def listen(stage: str, done: int, total: int | None) -> None:
        if done == told.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint = checkpoint_at(folder / "checkpoint", 3)  # due at every third look at the clock
    some = given.setdefault("examples", some_examples() if told.get("met") else examples()).tokens.met()
    with met_rows(model, some, CPU) if told.get("met") else nullcontext() as met:
        learn(model, folder, recipe, objective=objective, checkpoint=checkpoint, progress=listen if told.get("dies_at") else silent, processes=processes, met=met, **given)  # fmt: skip # noqa: E501
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    tensors |= {f"helpers.{name}": t for name, t in objective.helpers.state_dict().items()}
    save_file(tensors, folder / f"weights-{told['rank']}")


def main(arguments: Sequence[str]) -> None:
    told = json.loads(arguments[0])
    with threads():
        try:
            with joined(told["rank"], told["count"], Path(told["folder"]) / "meeting") as processes:
                _play(told, processes)
        except WorkerLost:
            sys.exit(LOST)


if __name__ == "__main__":
    main(sys.argv[1:])
