"""The checkpoint: where a training loop stood, in one safetensors file, so that a killed run goes on from it.

Written and read by `distill.training.loop` while a draft is in the making. No random state is in it: the loop
seeds anew at every update.
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
from distill.reporting.outcome import CurvePoint

INTERVAL_S = 30.0  # between checkpoints: one costs 0.1 s for a small student, a second for a teacher


@dataclass(frozen=True)
class Best:
    """The best score on the way, and after which update it was."""

    score: float
    update: int


@dataclass(frozen=True)
class Standing:
    """How far a loop is: updates done, the curve so far, the losses since its last point, seconds spent.

    `best` is where the model is judged on the way. It is `over` with its last update, or when it got no better.
    """

    update: int = 0
    curve: tuple[CurvePoint, ...] = ()
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: Best | None = None
    over: bool = False

    def is_over(self, updates: int) -> bool:
        """Whether nothing is left of so many updates."""
        return self.over or self.update >= updates


class Checkpoint:
    """One file that is whole or the one before. `clock` tells when the next is due."""

    def __init__(self, path: Path, clock: Callable[[], float], interval_s: float = INTERVAL_S) -> None:
        self.path = path
        self._clock = clock
        self._interval_s = interval_s
        self._last = clock()

    def due(self) -> bool:
        return self._clock() - self._last >= self._interval_s

    def write(
        self,
        learners: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        standing: Standing,
        best: Mapping[str, Tensor] | None = None,
    ) -> None:
        """What learns, by names of the caller's choice, and how it stands; the best weights of a model on the way."""
        tensors = {
            f"{name}.{key}": tensor for name, module in learners.items() for key, tensor in _untied(module).items()
        }
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in (best or {}).items()}
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
            own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
            module.load_state_dict(own | {key: own[first] for key, first in _tied(module.state_dict()).items()})
        if optimizer is not None:
            _put_back(optimizer, tensors)
        curve, best = tuple(CurvePoint(**point) for point in standing["curve"]), standing.get("best")
        return Standing(**standing | {"curve": curve, "best": best and Best(**best)})

    def best(self) -> dict[str, Tensor]:
        """The best weights on the way; none where there are none."""
        try:
            with safe_open(self.path, "pt") as file:
                names = [key for key in file.keys() if key.startswith("best.")]  # noqa: SIM118 - not a dict
                return {name.removeprefix("best."): file.get_tensor(name) for name in names}
        except (FileNotFoundError, SafetensorError):
            return {}


def _untied(module: nn.Module) -> dict[str, Tensor]:
    """Each weight once, by its first name."""
    state = module.state_dict()
    tied = _tied(state)
    return {name: tensor for name, tensor in state.items() if name not in tied}


def _tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The weights that are others under a second name (a head's that are its embeddings): name -> first name."""
    first: dict[tuple[int, torch.Size], str] = {}
    tied = {}
    for name, tensor in state.items():
        if tensor.numel():
            known = first.setdefault((tensor.data_ptr(), tensor.shape), name)
            if known != name:
                tied[name] = known
    return tied


def _put_back(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
