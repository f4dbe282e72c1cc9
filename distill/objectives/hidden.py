"""Losses of hidden states: a student's vectors against a teacher's of the same width, (N, H) each -> scalar.

A row is a token's state or a text's. No gradient goes to the teacher. All are means over the rows, so that their size
does not follow the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of a number, as TinyBERT's hidden loss (Jiao et al. 2020)."""
    return F.mse_loss(student, teacher.detach())


def hidden_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean Euclidean distance of a row, not squared: a few far rows pull less than in `hidden_mse`."""
    distances: Tensor = torch.linalg.vector_norm(student - teacher.detach(), dim=-1)
    return distances.mean()


def hidden_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, the mean over rows, between 0 and 2 (DistilBERT, Sanh et al. 2019)."""
    cosines: Tensor = F.cosine_similarity(student, teacher.detach(), dim=-1)
    return 1 - cosines.mean()


def hidden_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy over the hidden dimension, each row softened to a distribution (He et al. 2021, Distiller)."""
    return F.cross_entropy(student, teacher.detach().softmax(dim=-1))


def pkd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The squared distance of the rows once both have length 1, the mean over rows (PKD, Sun et al. 2019)."""
    difference = F.normalize(student, dim=-1) - F.normalize(teacher.detach(), dim=-1)
    return difference.square().sum(-1).mean()
