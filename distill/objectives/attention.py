"""The attention loss: a student's raw attention scores against a teacher's, whatever heads and widths the two have."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from distill.models.states import Attention


def attention_loss(student: Attention, teacher: Attention, mask: Tensor) -> Tensor:
    """The mean squared difference of attention scores before the softmax (TinyBERT, Jiao et al. 2020), -> scalar.

    Over pairs of real tokens alone: `mask` is (B, L), 1 where there is a token. Where head counts differ, heads are
    matched as `in_groups` does.
    """
    groups = shared_groups(student, teacher)
    ours = in_groups(attention_scores(student), groups)
    theirs = in_groups(attention_scores(teacher), groups).detach()
    real = (mask.unsqueeze(2) * mask.unsqueeze(1)).bool().unsqueeze(1).expand_as(ours)
    return F.mse_loss(ours[real], theirs[real])


def attention_scores(attention: Attention) -> Tensor:
    """Q K^T / sqrt(d) of every head, (B, A, L, L)."""
    queries, keys = (by_head(states, attention.heads) for states in (attention.queries, attention.keys))
    return queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])


def by_head(states: Tensor, heads: int) -> Tensor:
    """(B, L, H) -> (B, A, L, d) in float32."""
    return states.float().reshape(*states.shape[:2], heads, -1).transpose(1, 2)


def shared_groups(student: Attention, teacher: Attention) -> int:
    """How many groups of heads both can be parted into: 4 and 12 heads make 4 groups, 2 and 3 make one."""
    return math.gcd(student.heads, teacher.heads)


def in_groups(of_heads: Tensor, groups: int) -> Tensor:
    """(B, A, L, L) -> (B, G, L, L): the mean over A / G neighbouring heads; head by head where there are G (ours).

    TinyBERT and MiniLM ask for as many heads in the student as in the teacher, and then nothing is averaged.
    """
    batch, _, length, _ = of_heads.shape
    return of_heads.reshape(batch, groups, -1, length, length).mean(2)
