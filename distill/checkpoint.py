"""The checkpoint: where a training loop stood, in one safetensors file, so that a killed run goes on from it.

Written and read by `distill.training` while a draft is in the making. No random state is in it: the loop seeds anew
at every update.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from contract.manifest import move_into_place
from distill.outcome import CurvePoint

INTERVAL_S = 30.0  # between checkpoints: one costs 0.1 s for a small student, a second for a teacher


@dataclass(frozen=True)
class Standing:
    """How far a loop is: updates done, the curve so far, the losses since its last point, seconds spent."""

    update: int = 0
    curve: tuple[CurvePoint, ...] = ()
    loss_sum: float = 0.0
    seconds: float = 0.0


class Checkpoint:
    """One file that is whole or the one before. `clock` tells when the next is due."""

    def __init__(self, path: Path, clock: Callable[[], float], interval_s: float = INTERVAL_S) -> None:
        self.path = path
        self._clock = clock
        self._interval_s = interval_s
        self._last = clock()

    def due(self) -> bool:
        return self._clock() - self._last >= self._interval_s

    def write(self, learners: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, standing: Standing) -> None:
        """What learns, by names of the caller's choice, and how it stands."""
        tensors = {f"{name}.{key}": t for name, module in learners.items() for key, t in module.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(whole, partial, {"standing": json.dumps(asdict(standing))})
        move_into_place(partial, self.path)
        self._last = self._clock()

    def read(self, learners: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer | None) -> Standing:
        """Put these learners and the optimizer back where they stood; the beginning when there is no checkpoint."""
        try:
            with safe_open(self.path, "pt") as file:
                standing = json.loads(file.metadata()["standing"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (FileNotFoundError, SafetensorError):
            return Standing()
        for name, module in learners.items():
            own = f"{name}."
            module.load_state_dict({key.removeprefix(own): t for key, t in tensors.items() if key.startswith(own)})
        if optimizer is not None:
            _put_back(optimizer, tensors)
        return Standing(
            standing["update"],
            tuple(CurvePoint(**point) for point in standing["curve"]),
            standing["loss_sum"],
            standing["seconds"],
        )


def _put_back(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
