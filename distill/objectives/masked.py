"""Masked tokens told as the teacher tells them: the student's head for it, and the loss.

The head is learnt beside the student and thrown away after. Its tokens are the student's own embeddings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedHead(nn.Module):
    """From the states in masked places to the logits of all tokens, (M, H) -> (M, V), as BERT's head does it."""

    def __init__(self, width: int, embeddings: nn.Embedding) -> None:
        super().__init__()
        self._tied = (embeddings,)  # in a tuple, since they are the student's to learn and to save
        self.dense = nn.Linear(width, embeddings.embedding_dim)
        self.norm = nn.LayerNorm(embeddings.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(embeddings.num_embeddings))

    def forward(self, states: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(states.float()))), self._tied[0].weight, self.bias)


def masked_token_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL from teacher to student over softened tokens, (M, V) each -> scalar, the mean over masked places.

    As DistilBERT's (Sanh et al. 2019), times temperature**2. Where one model has more rows than its tokenizer has
    tokens (a table filled up to a round number), what both have is compared. No masked place teaches nothing.
    """
    both = min(student_logits.shape[1], teacher_logits.shape[1])
    student = F.log_softmax(student_logits[:, :both].float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits[:, :both].detach().float() / temperature, dim=-1)
    total = F.kl_div(student, teacher, reduction="sum", log_target=True)
    return total / max(1, len(student)) * temperature**2
