"""The choices: which texts a run chose to learn from as it went, each in a file of its own, so that it can go on.

N.safetensors, in the scratch of a run's draft: the rows chosen at batch N, a bit a text, and what that cost. Each is
written before an update is made with it, hence before any checkpoint that stands after it; none is ever changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from contract.draft import Draft
from contract.errors import CorruptArtifact
from contract.manifest import move_into_place
from distill.reporting.outcome import ChoiceCost
from distill.selecting.quota import Numbers
from distill.training.curriculum import Stage
from distill.training.processes import ALONE, Processes

_FOLDER = "chosen"


@dataclass(frozen=True)
class Choices:
    """Those of one run. Of several processes the main one chooses, the others read what it chose."""

    folder: Path
    processes: Processes = ALONE

    @classmethod
    def of(cls, draft: Draft, processes: Processes = ALONE) -> Choices:
        return cls(draft.scratch(_FOLDER), processes)

    def obtain(
        self, stage: Stage, now: int, texts: int, device: str, choose: Callable[[], tuple[Numbers, int]]
    ) -> Numbers:
        """The rows of `texts` chosen for a stage: before a kill, or now that its first batch is to be made.

        `choose` returns them and how many it looked at. CorruptArtifact when batch `now` is a later one, since the
        model is no longer what it was at the first.
        """
        path = self.folder / f"{stage.begin:010d}.safetensors"
        if self.processes.main and _read(path, texts) is None:
            if now != stage.begin:
                raise CorruptArtifact(
                    f"{path} says which texts were learnt from when this run was stopped, but it is gone or damaged; "
                    "run the same command with --restart"
                )
            began = time.monotonic()
            rows, looked_at = choose()
            _write(path, rows, texts, ChoiceCost(1, looked_at, time.monotonic() - began))
        self.processes.total(0.0, device)  # the others wait until it is there
        chosen = _read(path, texts)
        assert chosen is not None, "it was written just now"
        return chosen

    @property
    def cost(self) -> ChoiceCost | None:
        """What all of them took together; None where nothing was chosen on the way."""
        told = [_told(path) for path in sorted(self.folder.glob("[0-9]*.safetensors"))]
        seconds = round(sum(each.seconds for each in told), 1)
        return ChoiceCost(len(told), sum(each.texts for each in told), seconds) if told else None


def _write(path: Path, rows: Numbers, texts: int, cost: ChoiceCost) -> None:
    chosen = np.zeros(texts, np.bool_)
    chosen[rows] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file({"chosen": np.packbits(chosen)}, partial, {"cost": json.dumps(asdict(cost))})
    move_into_place(partial, path)


def _read(path: Path, texts: int) -> Numbers | None:
    """The rows, ascending; None where they are not, or not of so many texts."""
    try:
        with safe_open(path, "numpy") as file:
            packed = file.get_tensor("chosen")
    except (FileNotFoundError, SafetensorError):
        return None
    return np.flatnonzero(np.unpackbits(packed, count=texts)) if len(packed) == -(-texts // 8) else None


def _told(path: Path) -> ChoiceCost:
    with safe_open(path, "numpy") as file:
        return ChoiceCost(**json.loads(file.metadata()["cost"]))
