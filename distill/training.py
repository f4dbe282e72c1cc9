"""The one training loop: teacher, distillation and finetuning all go through it, and it reads top to bottom.

What an update does follows from (seed, update) alone, so a loop that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from contract.errors import BadInput
from contract.progress import Progress
from distill.batches import Schedule
from distill.checkpoint import Checkpoint, Standing
from distill.config import TeacherConfig, TrainingConfig
from distill.device import Device
from distill.examples import Examples
from distill.objectives import Objective
from distill.outcome import CurvePoint
from distill.states import Speaker

CURVE_POINTS = 100  # at most so many points a curve


class Diverged(BadInput):
    """A loss is no number any more."""


@runtime_checkable
class Onlooker(Progress, Protocol):
    """A listener that also sees the model on the way. It may change nothing of it, and may end the training."""

    def look(self, stage: str, update: int, model: nn.Module, speak: Speaker) -> None: ...


@dataclass(frozen=True)
class Recipe:
    """How to learn it. The rate warms up over a share of the updates, then falls to nothing in a straight line."""

    updates: int
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    clip: float
    seed: int
    head_learning_rate: float | None = None  # for parameters named head.* and slot_head.*

    @classmethod
    def of(cls, config: TrainingConfig, updates: int, seed: int) -> Recipe:
        head = config.head_learning_rate if isinstance(config, TeacherConfig) else None
        return cls(
            updates,
            config.batch_size,
            config.learning_rate,
            config.warmup,
            config.weight_decay,
            config.clip,
            seed,
            head,
        )


def train(
    stage: str,
    model: nn.Module,
    speak: Speaker,
    examples: Examples,
    objective: Objective,
    recipe: Recipe,
    checkpoint: Checkpoint,
    *,
    device: Device,
    progress: Progress,
) -> Standing:
    """Train `model` in place, and what the objective has beside it; the curve and the seconds it took come back.

    `speak` is how a batch goes through the model.
    """
    learners = {"model": model, "helpers": objective.helpers}
    optimizer = _optimizer(learners, recipe)
    gradients = _RowGradients(model, device)
    standing = checkpoint.read(learners, optimizer)
    clipped = [parameters for learner in learners.values() if (parameters := list(learner.parameters()))]
    schedule = Schedule(examples.tokens.lengths, recipe.batch_size, recipe.seed)
    rates = [group["lr"] for group in optimizer.param_groups]
    point_every = max(1, -(-recipe.updates // CURVE_POINTS))
    curve, loss_sum, seconds, began = list(standing.curve), standing.loss_sum, standing.seconds, time.monotonic()
    onlooker = progress if isinstance(progress, Onlooker) else None

    model.train()
    for update in range(standing.update, recipe.updates):
        torch.manual_seed(recipe.seed * 1_000_003 + update)  # dropout's draws: the same after a restart
        rows = schedule.rows(update)
        batch, targets = examples.tokens.batch(rows, device.name), examples.targets(rows, device.name)
        with device.matmuls():
            taught = examples.taught(rows, batch)
            said = speak(batch)
        loss = objective(said, taught, targets)

        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with gradients.as_dense():
            for parameters in clipped:  # apart: how steep a critic is does not slow the student
                nn.utils.clip_grad_norm_(parameters, recipe.clip)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _slope(update, recipe)
            optimizer.step()

        loss_sum += _finite(loss, stage, update, recipe)
        done = update + 1
        if done % point_every == 0 or done == recipe.updates:
            since = done - (curve[-1].update if curve else 0)
            curve.append(CurvePoint(done, loss_sum / since))
            loss_sum = 0.0
        if checkpoint.due() or done == recipe.updates:
            spent = seconds + time.monotonic() - began
            checkpoint.write(learners, optimizer, Standing(done, tuple(curve), loss_sum, spent))
        progress(stage, done, recipe.updates)
        if onlooker is not None:
            onlooker.look(stage, done, model, speak)

    model.eval()
    return Standing(recipe.updates, tuple(curve), loss_sum, seconds + time.monotonic() - began)


def _finite(loss: Tensor, stage: str, update: int, recipe: Recipe) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise Diverged(
            f"{stage}: the loss is {value} at update {update + 1} of {recipe.updates}, at learning rate "
            f"{recipe.learning_rate:g}; take a lower one, or a longer warm-up"
        )
    return value


def _slope(update: int, recipe: Recipe) -> float:
    """The share of the learning rate that update 0, 1, 2 … uses."""
    warm = round(recipe.warmup * recipe.updates)
    if update < warm:
        return (update + 1) / (warm + 1)
    return (recipe.updates - update) / max(1, recipe.updates - warm)


def _optimizer(learners: Mapping[str, nn.Module], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW, fused (ten times as fast as plain on a processor); biases and norms are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in (named for learner in learners.values() for named in learner.named_parameters()):
        is_head = name.startswith(("head.", "slot_head.")) and recipe.head_learning_rate is not None
        rate = recipe.head_learning_rate if is_head else recipe.learning_rate
        assert rate is not None
        groups.setdefault((rate, recipe.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()], fused=True
    )


class _RowGradients:
    """The word embedding's gradient, which has few rows that are not zero, in one buffer that stays.

    A fresh 30,000 x 128 gradient an update costs more in page faults than the whole optimizer; so the backward pass
    gives the touched rows, which stand in the buffer during the step and are wiped after it. The numbers are the same.
    """

    def __init__(self, model: nn.Module, device: Device) -> None:
        embedding = _word_embedding(model) if device.name == "cpu" else None
        self._weight = None if embedding is None else embedding.weight
        if embedding is not None:
            embedding.sparse = True
            self._buffer = torch.zeros_like(embedding.weight)

    @contextmanager
    def as_dense(self) -> Iterator[None]:
        """Within, the gradient is an ordinary one."""
        weight = self._weight
        if weight is None or weight.grad is None:
            yield
            return
        rows, values = weight.grad._indices()[0], weight.grad._values()
        self._buffer.index_add_(0, rows, values)
        weight.grad = self._buffer
        yield
        weight.grad = None
        self._buffer.index_fill_(0, rows, 0.0)


def _word_embedding(model: nn.Module) -> nn.Embedding | None:
    """The largest embedding table; None when there is none."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings * table.embedding_dim, default=None)
