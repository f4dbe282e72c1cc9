"""The mutual-information family: lower bounds on what student and teacher states know of each other.

Bounds of Poole et al. 2019, over a minibatch of K texts: `scores[i, j]` = f(x_j, y_i), (K, K), is what a critic makes
of text j's student state and text i's teacher state. The diagonal is of the joint distribution; every other text of the
batch is a negative. `log_baseline[i]` = log q(y_i), (K,), is learned beside it. Each gives a scalar in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from contract.errors import BadInput

CRITIC_WIDTH = 256  # of the critic's hidden layers; ours
EMBEDDING = 128  # of the vectors whose product is the score; ours


def infonce(scores: Tensor) -> Tensor:
    """I_NCE: how surely each teacher state is told its own student state among K; at most log K, little variance."""
    return math.log(len(scores)) + scores.log_softmax(dim=1).diagonal().mean()


def tuba(scores: Tensor, log_baseline: Tensor) -> Tensor:
    """I_TUBA with the learned baseline a(y) = q(y): no bound on the bound, but much variance."""
    return 1 + (scores.diagonal() - log_baseline).mean() - (_log_mean_others(scores) - log_baseline).exp().mean()


def nwj(scores: Tensor) -> Tensor:
    """I_NWJ: the baseline is the constant e."""
    return scores.diagonal().mean() - (_log_mean_others(scores) - 1).exp().mean()


def mi_alpha(scores: Tensor, log_baseline: Tensor, alpha: float) -> Tensor:
    """I_alpha, with the baseline a(y; x) = alpha mean_l e^f(x_l, y) + (1 - alpha) q(y); at most 1 + log(K / alpha).

    alpha = 1 is `infonce` (little variance, much bias), alpha = 0 is `tuba` (the other way round). In the last term y
    may meet independent x only, so that the mean there is over the K - 1 others: less than .015 nat at K = 64 from the
    estimator that leaves one text out of the joint term as well (benchmarks/mutual_information.py).
    """
    others = _log_mean_others(scores)
    of_joint = _log_mix(scores.logsumexp(dim=1) - math.log(len(scores)), log_baseline, alpha)
    of_others = _log_mix(others, log_baseline, alpha)
    return 1 + (scores.diagonal() - of_joint).mean() - (others - of_others).exp().mean()


def _log_mean_others(scores: Tensor) -> Tensor:
    """log mean_(l != i) e^f(x_l, y_i), (K,)."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return scores.masked_fill(own, -math.inf).logsumexp(dim=1) - math.log(len(scores) - 1)


def _log_mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(share e^first + (1 - share) e^second)."""
    if share in (0.0, 1.0):
        return first if share else second
    return torch.logaddexp(first + math.log(share), second + math.log1p(-share))


class Critic(nn.Module):
    """f(x, y) = g(x) . h(y) / sqrt(d), with g and h perceptrons: every text against every text in one product.

    With a baseline, log q(y) is one more perceptron, of the teacher's state.
    """

    def __init__(self, student_width: int, teacher_width: int, *, baseline: bool) -> None:
        super().__init__()
        self.of_student = _perceptron(student_width, EMBEDDING)
        self.of_teacher = _perceptron(teacher_width, EMBEDDING)
        self.baseline = _perceptron(teacher_width, 1) if baseline else None

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(K, Hs) and (K, Ht) -> scores (K, K), a row a teacher state."""
        if len(student) < 2:
            raise BadInput(
                "A bound on mutual information tells a text from the others of its batch, found a batch of one; "
                "take distill.batch_size = 2 or more, and a transfer set of at least two texts"
            )
        scores: Tensor = self.of_teacher(teacher.detach()) @ self.of_student(student).T
        return scores / math.sqrt(EMBEDDING)

    def log_baseline(self, teacher: Tensor) -> Tensor:
        """(K, Ht) -> (K,)."""
        assert self.baseline is not None, "made without a baseline"
        log_baseline: Tensor = self.baseline(teacher.detach())
        return log_baseline.squeeze(-1)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, CRITIC_WIDTH), nn.ReLU(), nn.Linear(CRITIC_WIDTH, outputs))
