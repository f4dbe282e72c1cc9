"""Objectives: losses of a batch as functions of logits, and their weighted sum. (B, C) logits give a scalar."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from distill.gold import NO_LABEL


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL from teacher to student over softened classes, (B, C) each -> scalar, the mean over the batch.

    Times temperature**2, so that gradients keep their size as the temperature changes (Hinton et al. 2015).
    """
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def hard_label_loss(student_logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with the gold classes, (B, C) and (B,) -> scalar: the mean over rows that have a gold label.

    Nothing (with a gradient of nothing) when no row of the batch has one.
    """
    labelled = classes != NO_LABEL
    total = F.cross_entropy(student_logits, classes, ignore_index=NO_LABEL, reduction="sum")
    return total / labelled.sum().clamp(min=1)


@dataclass(frozen=True)
class Objective:
    """`soft_weight` of the soft-target loss and the rest of the hard-label loss."""

    soft_weight: float
    temperature: float = 1.0

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor | None, classes: Tensor) -> Tensor:
        """The loss of a batch: (B, C), (B, C) or None, (B,) -> scalar."""
        loss = student_logits.new_zeros(())
        if self.soft_weight > 0:
            assert teacher_logits is not None, "soft targets need the teacher's logits"
            loss = loss + self.soft_weight * soft_target_loss(
                student_logits, teacher_logits, temperature=self.temperature
            )
        if self.soft_weight < 1:
            loss = loss + (1 - self.soft_weight) * hard_label_loss(student_logits, classes)
        return loss


HARD = Objective(soft_weight=0.0)
