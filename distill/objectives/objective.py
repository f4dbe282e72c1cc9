"""Objectives: losses of a batch, and the freely weighted sum of them that a student learns by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.states import Part, Said, Shape, Sight
from distill.objectives.intermediate import Intermediate, make_intermediate
from distill.objectives.masked import MaskedHead, masked_token_loss
from distill.objectives.share import WHOLE, Share
from distill.reading.gold import NO_LABEL
from distill.reading.source import Targets
from distill.settings.objective import ObjectiveConfig, SoftTargets
from distill.settings.teacher import Pooling


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


class Loss(Protocol):
    """What the loop learns by."""

    @property
    def helpers(self) -> nn.Module:
        """What learns beside the model."""

    def __call__(self, student: Said, teacher: Said, targets: Targets, share: Share = WHOLE) -> Tensor:
        """The loss of a batch: what is said of it, by whom learns and by its teacher, and what is gold -> scalar."""


@dataclass(frozen=True)
class Objective:
    """Soft targets, gold labels, any number of intermediate objectives and masked tokens, each times its weight.

    What is learnt of words counts `slot_weight` times what is learnt of sentences.
    """

    soft_weight: float
    hard_weight: float
    temperature: float = 1.0
    soft_targets: SoftTargets = "kl"
    intermediates: tuple[tuple[float, Intermediate], ...] = ()
    slot_weight: float = 1.0
    masked: tuple[float, MaskedHead] | None = None

    @property
    def sight(self) -> Sight:
        """What of both models' states it must see."""
        seen = Sight(masked=self.masked is not None)
        for _, intermediate in self.intermediates:
            seen |= intermediate.sight
        return seen

    @property
    def teacher_parts(self) -> frozenset[Part]:
        """What of the teacher's states it needs."""
        return frozenset(part for _, intermediate in self.intermediates for part in intermediate.teacher_parts)

    @property
    def helpers(self) -> nn.Module:
        """What learns beside the student: projections, critics, baselines, the head of masked tokens."""
        heads = [] if self.masked is None else [self.masked[1]]
        return nn.ModuleList([*(intermediate for _, intermediate in self.intermediates), *heads])

    def __call__(self, student: Said, teacher: Said, targets: Targets, share: Share = WHOLE) -> Tensor:
        """The loss of a batch: what both say of it, and what is gold -> scalar. Of a part of one, its share."""
        losses = []
        if self.soft_weight > 0:
            losses.append(self.soft_weight * self._soft(student, teacher, share))
        if self.hard_weight > 0:
            losses.append(self.hard_weight * self._hard(student, targets, share))
        for weight, intermediate in self.intermediates:
            assert student.states is not None, f"{intermediate.name} needs the student's states"
            assert teacher.states is not None, f"{intermediate.name} needs the teacher's states"
            part = getattr(share, intermediate.unit)
            losses.append(weight * part * intermediate(student.states, teacher.states))
        if self.masked is not None:
            losses.append(share.tokens * self._masked(student, teacher))
        return torch.stack(losses).sum()

    def _masked(self, student: Said, teacher: Said) -> Tensor:
        """What the teacher puts in masked places."""
        assert self.masked is not None
        assert student.masked is not None, "masked tokens need the student's states in their places"
        assert teacher.masked is not None, "masked tokens need the teacher's logits in their places"
        weight, head = self.masked
        return weight * masked_token_loss(head(student.masked), teacher.masked, temperature=self.temperature)

    def _soft(self, student: Said, teacher: Said, share: Share) -> Tensor:
        """What the teacher says of sentences and words; words it saw no token of are rows of NaN."""
        losses = []
        if student.logits is not None:
            assert teacher.logits is not None, "soft targets need the teacher's logits"
            losses.append(share.texts * self._softened(student.logits.float(), teacher.logits))
        if student.slot_logits is not None:
            assert teacher.slot_logits is not None, "soft targets need the teacher's logits of words"
            known = ~teacher.slot_logits.isnan().any(-1)
            soft = self._softened(student.slot_logits.float()[known], teacher.slot_logits[known])
            losses.append(self.slot_weight * share.words * soft)
        return torch.stack(losses).sum()

    def _softened(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """One logit a row is an amount, which has no classes to soften; no rows teach nothing."""
        if not len(student_logits):
            return student_logits.sum()
        soft = _SOFT["mse" if student_logits.shape[1] == 1 else self.soft_targets]
        return soft(student_logits, teacher_logits, temperature=self.temperature)

    def _hard(self, student: Said, targets: Targets, share: Share) -> Tensor:
        losses = []
        if targets.classes is not None:
            assert student.logits is not None
            losses.append(share.classes * hard_label_loss(student.logits.float(), targets.classes))
        if targets.amounts is not None:
            assert student.logits is not None
            losses.append(share.amounts * amount_loss(student.logits.float(), targets.amounts))
        if targets.tags is not None:
            assert student.slot_logits is not None
            hard = hard_label_loss(student.slot_logits.float(), targets.tags)
            losses.append(self.slot_weight * share.tags * hard)
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
    embeddings: nn.Embedding | None = None,
) -> Objective:
    """The objective of a config for two models; `seed` is of what learns beside the student.

    `embeddings` are the student's, by which it tells masked tokens.
    """
    torch.manual_seed(seed)
    intermediates = tuple(
        (weight, make_intermediate(name, config, student, teacher, pooling).to(device))
        for name, weight in config.intermediates
    )
    soft = config.soft_weight, config.hard_weight, config.temperature, config.soft_targets
    masked = None
    if config.mlm_weight:
        assert embeddings is not None, "masked tokens are told by the student's embeddings"
        masked = config.mlm_weight, MaskedHead(student.width, embeddings).to(device)
    return Objective(*soft, intermediates, slot_weight, masked)
