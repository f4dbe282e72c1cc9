"""The relation losses of MiniLM and MiniLMv2: how tokens relate to each other, whatever width the two models have."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.models.states import Attention
from distill.objectives.attention import attention_scores, by_head, shared_groups

FAR = -1e9  # the score of padding: its probability is 0, and unlike an infinite one it leaves gradients finite


def minilm_loss(student: Attention, teacher: Attention, mask: Tensor) -> Tensor:
    """KL of the attention distributions plus KL of the value relations (Wang et al. 2020, MiniLM), -> scalar.

    The paper takes the last layer of both. `mask` is (B, L). It asks for equal head counts; where they differ, the
    distributions of neighbouring heads are averaged in as many groups as both can make (ours).
    """
    groups = shared_groups(student, teacher)
    attention = _divergence(attention_scores(student), attention_scores(teacher), mask, groups)
    return attention + _divergence(_value_scores(student), _value_scores(teacher), mask, groups)


def minilmv2_loss(student: Attention, teacher: Attention, mask: Tensor, *, relation_heads: int) -> Tensor:
    """KL of the query-query, key-key and value-value relations, their mean (Wang et al. 2021, MiniLMv2), -> scalar.

    Both models' states are cut anew into `relation_heads`, so that neither heads nor widths need agree. More relation
    heads see finer relations.
    """
    pairs = ((student.queries, teacher.queries), (student.keys, teacher.keys), (student.values, teacher.values))
    losses = [
        _divergence(
            relation_scores(ours, relation_heads), relation_scores(theirs, relation_heads), mask, relation_heads
        )
        for ours, theirs in pairs
    ]
    return torch.stack(losses).mean()


def relation_scores(states: Tensor, heads: int) -> Tensor:
    """X X^T / sqrt(d) of every relation head, (B, L, H) -> (B, R, L, L).

    Where R does not divide H, the first heads are one wider (ours): 128 makes 8 heads of 11 and 4 of 10.
    """
    parts = states.float().tensor_split(heads, dim=-1)
    widest = parts[0].shape[-1]  # the others are filled up with zeros, which add nothing to a product
    cut = torch.stack([F.pad(part, (0, widest - part.shape[-1])) for part in parts], dim=1)
    roots = torch.tensor([math.sqrt(part.shape[-1]) for part in parts], device=states.device)
    return cut @ cut.transpose(-1, -2) / roots[:, None, None]


def _value_scores(attention: Attention) -> Tensor:
    """V V^T / sqrt(d) of every head, (B, A, L, L)."""
    values = by_head(attention.values, attention.heads)
    return values @ values.transpose(-1, -2) / math.sqrt(values.shape[-1])


def _divergence(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor, groups: int) -> Tensor:
    """KL from the teacher's distributions over tokens to the student's, the mean over real tokens and groups."""
    ours = _log_distributions(student_scores, mask, groups)
    theirs = _log_distributions(teacher_scores.detach(), mask, groups)
    divergence = (theirs.exp() * (theirs - ours)).sum(-1)  # (B, G, L)
    real = mask.bool().unsqueeze(1).expand_as(divergence)
    return divergence[real].mean()


def _log_distributions(scores: Tensor, mask: Tensor, groups: int) -> Tensor:
    """(B, A, L, L) scores -> (B, G, L, L) log probabilities of the tokens that are no padding."""
    masked = scores.masked_fill(mask[:, None, None, :] == 0, FAR)
    batch, _, length, _ = scores.shape
    by_group = masked.log_softmax(dim=-1).reshape(batch, groups, -1, length, length)
    return by_group.logsumexp(dim=2) - math.log(by_group.shape[2])
