"""Objectives: losses of a batch, and the freely weighted sum of them that a student learns by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.config import ObjectiveConfig, Pooling, SoftTargets
from distill.examples import Targets
from distill.gold import NO_LABEL
from distill.intermediate import Intermediate, make_intermediate
from distill.states import Said, Shape, Sight


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL from teacher to student over softened classes, (B, C) each -> scalar, the mean over the batch.

    Times temperature**2, so that gradients keep their size as the temperature changes (Hinton et al. 2015).
    """
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy with the teacher's softened classes, times temperature**2, (B, C) each -> scalar.

    Its gradient is that of `soft_target_loss`, which is less by the teacher's entropy and so is nothing between equals.
    """
    teacher = (teacher_logits.detach() / temperature).softmax(dim=-1)
    return F.cross_entropy(student_logits / temperature, teacher) * temperature**2


def logit_mse(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:  # noqa: ARG001
    """The mean squared difference of logits, (B, C) each -> scalar (Ba and Caruana 2014). It knows no temperature.

    Unlike the soft targets it also asks for the teacher's mean logit, which no probability shows.
    """
    return F.mse_loss(student_logits, teacher_logits.detach())


def hard_label_loss(student_logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with the gold classes, (B, C) and (B,) -> scalar: the mean over rows that have a gold label.

    Nothing (with a gradient of nothing) when no row of the batch has one.
    """
    labelled = classes != NO_LABEL
    total = F.cross_entropy(student_logits, classes, ignore_index=NO_LABEL, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def amount_loss(student_amounts: Tensor, amounts: Tensor) -> Tensor:
    """The mean squared error of a regression, (B, 1) and (B,) -> scalar, over rows whose amount is known (no NaN)."""
    known = ~amounts.isnan()
    errors = student_amounts[known].squeeze(-1) - amounts[known]
    return errors.square().sum() / known.sum().clamp(min=1)


_SOFT: dict[SoftTargets, Callable[..., Tensor]] = {"kl": soft_target_loss, "ce": soft_cross_entropy, "mse": logit_mse}


@dataclass(frozen=True)
class Objective:
    """Soft targets, gold labels and any number of intermediate objectives, each times its weight.

    What is learnt of words counts `slot_weight` times what is learnt of sentences.
    """

    soft_weight: float
    hard_weight: float
    temperature: float = 1.0
    soft_targets: SoftTargets = "kl"
    intermediates: tuple[tuple[float, Intermediate], ...] = ()
    slot_weight: float = 1.0

    @property
    def sight(self) -> Sight:
        """What of both models' states it must see."""
        seen = Sight()
        for _, intermediate in self.intermediates:
            seen |= intermediate.sight
        return seen

    @property
    def helpers(self) -> nn.Module:
        """What learns beside the student: projections, critics, baselines."""
        return nn.ModuleList(intermediate for _, intermediate in self.intermediates)

    def __call__(self, student: Said, teacher: Said, targets: Targets) -> Tensor:
        """The loss of a batch: what both say of it, and what is gold -> scalar."""
        losses = []
        if self.soft_weight > 0:
            losses.append(self.soft_weight * self._soft(student, teacher))
        if self.hard_weight > 0:
            losses.append(self.hard_weight * self._hard(student, targets))
        for weight, intermediate in self.intermediates:
            assert student.states is not None, f"{intermediate.name} needs the student's states"
            assert teacher.states is not None, f"{intermediate.name} needs the teacher's states"
            losses.append(weight * intermediate(student.states, teacher.states))
        return torch.stack(losses).sum()

    def _soft(self, student: Said, teacher: Said) -> Tensor:
        """What the teacher says of sentences and words; words it saw no token of are rows of NaN."""
        losses = []
        if student.logits is not None:
            assert teacher.logits is not None, "soft targets need the teacher's logits"
            losses.append(self._softened(student.logits.float(), teacher.logits))
        if student.slot_logits is not None:
            assert teacher.slot_logits is not None, "soft targets need the teacher's logits of words"
            known = ~teacher.slot_logits.isnan().any(-1)
            losses.append(
                self.slot_weight * self._softened(student.slot_logits.float()[known], teacher.slot_logits[known])
            )
        return torch.stack(losses).sum()

    def _softened(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """One logit a row is an amount, which has no classes to soften; no rows teach nothing."""
        if not len(student_logits):
            return student_logits.sum()
        soft = _SOFT["mse" if student_logits.shape[1] == 1 else self.soft_targets]
        return soft(student_logits, teacher_logits, temperature=self.temperature)

    def _hard(self, student: Said, targets: Targets) -> Tensor:
        losses = []
        if targets.classes is not None:
            assert student.logits is not None
            losses.append(hard_label_loss(student.logits.float(), targets.classes))
        if targets.amounts is not None:
            assert student.logits is not None
            losses.append(amount_loss(student.logits.float(), targets.amounts))
        if targets.tags is not None:
            assert student.slot_logits is not None
            losses.append(self.slot_weight * hard_label_loss(student.slot_logits.float(), targets.tags))
        return torch.stack(losses).sum()


HARD = Objective(soft_weight=0.0, hard_weight=1.0)


def make_objective(
    config: ObjectiveConfig,
    student: Shape,
    teacher: Shape,
    *,
    pooling: Pooling,
    device: str,
    seed: int,
    slot_weight: float = 1.0,
) -> Objective:
    """The objective of a config for two models; `seed` is of what learns beside the student."""
    torch.manual_seed(seed)
    intermediates = tuple(
        (weight, make_intermediate(name, config, student, teacher, pooling).to(device))
        for name, weight in config.intermediates
    )
    soft = config.soft_weight, config.hard_weight, config.temperature, config.soft_targets
    return Objective(*soft, intermediates, slot_weight)
