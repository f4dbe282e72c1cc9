"""The one training loop: teacher, distillation and finetuning all go through it, and it reads top to bottom.

What an update does follows from (seed, update) alone, so a loop that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from contract.errors import BadInput
from contract.progress import Progress
from distill.models.device import Device
from distill.models.states import Speaker
from distill.objectives.objective import Loss
from distill.objectives.share import WHOLE, Share
from distill.reading.source import ExampleSource
from distill.reporting.outcome import CurvePoint
from distill.settings.teacher import TeacherConfig
from distill.settings.training import TrainingConfig
from distill.training.batches import BudgetSchedule, Order, Rows, Schedule
from distill.training.checkpoint import Checkpoint, Standing
from distill.training.early_stopping import EarlyStopping, Judge, Patience
from distill.training.gradients import Gradients
from distill.training.met_rows import MetRows
from distill.training.processes import ALONE, Processes

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
    tokens_per_batch: int | None = None
    accumulate: int = 1
    patience: Patience | None = None

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
            config.tokens_per_batch,
            config.accumulate,
            None if config.patience is None else Patience(config.patience, config.evaluate_every),
        )

    def order(self, lengths: Rows) -> Order:
        """The order in which texts of these lengths are met where nothing else asks for another."""
        if self.tokens_per_batch is not None:
            return BudgetSchedule(lengths, self.tokens_per_batch, self.seed)
        return Schedule(lengths, self.batch_size, self.seed)

    def texts_a_batch(self, lengths: Rows) -> float:
        """How many texts of such lengths a batch has, about."""
        return self.batch_size if self.tokens_per_batch is None else self.tokens_per_batch / float(lengths.mean())


def train(
    stage: str,
    model: nn.Module,
    speak: Speaker,
    examples: ExampleSource,
    order: Order,
    objective: Loss,
    recipe: Recipe,
    checkpoint: Checkpoint,
    *,
    device: Device,
    progress: Progress,
    judge: Judge | None = None,
    processes: Processes = ALONE,
    met: MetRows | None = None,
) -> Standing:
    """Train `model` in place, and what the objective has beside it; how it stands at the end comes back.

    `speak` is how a batch goes through the model, `order` says which of the examples are in it. `judge` scores the
    model as it is, where the recipe has patience. `met` are the rows of its word embedding that are met, where the
    others are left out.
    """
    learners = {"model": model, "helpers": objective.helpers}
    optimizer = _optimizer(learners, recipe)
    if met is not None:
        met.follow(optimizer)
    gradients = Gradients(learners, device)
    standing = checkpoint.read(learners, optimizer)
    if standing.is_over(recipe.updates):
        model.eval()
        return standing
    processes.refuse_other(standing.update, device.name)
    rates = [group["lr"] for group in optimizer.param_groups]
    point_every = max(1, -(-recipe.updates // CURVE_POINTS))
    curve, loss_sum, seconds, began = list(standing.curve), standing.loss_sum, standing.seconds, time.monotonic()
    onlooker = progress if isinstance(progress, Onlooker) else None
    early = None
    if judge is not None and recipe.patience is not None:
        early = EarlyStopping(model, judge, recipe.patience, standing.best, checkpoint.best())

    model.train()
    for update in range(standing.update, recipe.updates):
        torch.manual_seed(processes.seed(recipe.seed * 1_000_003 + update))  # dropout's: the same after a restart
        optimizer.zero_grad()
        loss = torch.zeros((), device=device.name)
        for rows, share in _parts(update, examples, order, recipe.accumulate, processes):
            batch, targets = examples.tokens.batch(rows, device.name), examples.targets(rows, device.name)
            with device.matmuls():
                taught = examples.taught(rows, batch)
                said = speak(batch)
            part = objective(said, taught, targets, share)
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()

        with gradients.ready(recipe.clip, loss, processes):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _slope(update, recipe)
            optimizer.step()

        loss_sum += _finite(loss, stage, update, recipe)
        done = update + 1
        over = done == recipe.updates
        if early is not None:
            over = early.look(done, last=over)
            model.train()
            if over:
                early.put_back()
        if done % point_every == 0 or over:
            since = done - (curve[-1].update if curve else 0)
            curve.append(CurvePoint(done, loss_sum / since))
            loss_sum = 0.0
        if over or (processes.main and checkpoint.due()):
            spent = seconds + time.monotonic() - began
            best = None if early is None else early.best
            standing = Standing(done, tuple(curve), loss_sum, spent, best, over)
            if processes.main:
                checkpoint.write(learners, optimizer, standing, None if over or early is None else early.weights)
        progress(stage, done, recipe.updates)
        if onlooker is not None:
            onlooker.look(stage, done, model, speak)
        if over:
            break

    model.eval()
    return standing


def _parts(
    update: int, examples: ExampleSource, order: Order, accumulate: int, processes: Processes
) -> Iterator[tuple[Rows, Share]]:
    """The rows that this process learns from in an update, part by part, and what share of the whole each is."""
    parts = [order.rows(update * accumulate + part) for part in range(accumulate)]
    if accumulate == processes.count == 1:
        yield parts[0], WHOLE
        return
    whole = Share.counted(examples, np.concatenate(parts))
    for rows in parts:
        mine = processes.share(rows)
        if len(mine):
            yield mine, Share.counted(examples, mine).of(whole)
        else:  # so that this process too has a gradient of everything, though of nothing
            yield rows[:1], Share.counted(examples, rows[:0]).of(whole)


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
