"""The mutual-information bounds on Gaussians of known information: what the best critic and a learned one find.

python -m benchmarks.mutual_information [--nats 2,4,6,8] [--batch 64] [--updates 1000]

Poole et al. 2019 try their bounds so: 20 dimensions, pairs correlated alike, I = -d/2 log(1 - rho^2). For each bound it
prints the mean over batches, its standard error and the standard deviation of one batch, in nats, under the best critic
and baseline, and under learned ones. `excess` is by how much our mi-alpha exceeds the estimator whose joint and last
terms both leave one text out, which is a true lower bound, of K - 1 texts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from distill.objectives.mutual_information import Critic, infonce, mi_alpha, nwj, tuba

DIMENSIONS = 20
ALPHAS = (0.0, 0.1, 0.5, 0.9, 1.0)
BATCHES = 1000  # that an estimate is the mean of

Bound = Callable[[Tensor, Tensor], Tensor]  # (K, K) scores, (K,) log baseline -> scalar
BOUNDS: dict[str, Bound] = {
    "infonce": lambda scores, _: infonce(scores),
    "nwj": lambda scores, _: nwj(scores + 1),  # its best critic is the log ratio plus one
    "tuba": tuba,
    **{f"mi-alpha {alpha:g}": partial(mi_alpha, alpha=alpha) for alpha in ALPHAS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats", default="2,4,6,8")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--updates", type=int, default=1000, help="Of a learned critic; 0 leaves it out.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        f"{float(nats):g} nats": measured(float(nats), arguments.batch, arguments.updates)
        for nats in arguments.nats.split(",")
    }
    print(
        json.dumps(
            {"dimensions": DIMENSIONS, "batch": arguments.batch, "log_batch": math.log(arguments.batch)} | report,
            indent=2,
        )
    )


def measured(nats: float, batch: int, updates: int) -> dict[str, object]:
    """Every bound at one information."""
    report: dict[str, object] = {name: summary(best_values(bound, nats, batch)) for name, bound in BOUNDS.items()}
    report["excess"] = {
        f"mi-alpha {alpha:g}": summary(best_values(partial(excess, alpha=alpha), nats, batch, BATCHES // 10))
        for alpha in ALPHAS[1:]
    }
    if updates:
        report["learned"] = {f"mi-alpha {alpha:g}": summary(learned(alpha, nats, batch, updates)) for alpha in ALPHAS}
    return report


def best_values(bound: Bound, nats: float, batch: int, batches: int = BATCHES) -> Tensor:
    """The bound under the best critic, log p(y | x) / p(y), with the best baseline, 1: (batches,)."""
    rho, draw = correlation(nats), torch.Generator().manual_seed(0)
    return torch.stack([bound(log_ratios(*pairs(rho, batch, draw), rho), torch.zeros(batch)) for _ in range(batches)])


def learned(alpha: float, nats: float, batch: int, updates: int) -> Tensor:
    """The bound under a critic and a baseline that learnt on other draws: (BATCHES,)."""
    rho, draw = correlation(nats), torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    critic = Critic(DIMENSIONS, DIMENSIONS, baseline=True)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-4)

    def bound() -> Tensor:
        x, y = pairs(rho, batch, draw)
        return mi_alpha(critic(x, y), critic.log_baseline(y), alpha)

    for _ in range(updates):
        optimizer.zero_grad()
        (-bound()).backward()
        torch.nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        return torch.stack([bound() for _ in range(BATCHES)])


def excess(scores: Tensor, log_baseline: Tensor, *, alpha: float) -> Tensor:
    """Our estimate less the one that leaves a negative out of the joint term too."""
    size = len(scores)
    own = torch.eye(size, dtype=torch.bool)
    without = scores[:, None, :].masked_fill(own[None], -math.inf)  # [i, j] are y_i's scores without x_j
    means = without.logsumexp(-1) - math.log(size - 1)
    mixed = (
        means if alpha == 1 else torch.logaddexp(means + math.log(alpha), log_baseline[:, None] + math.log1p(-alpha))
    )
    joint = (scores.diagonal()[:, None] - mixed)[~own].mean()
    marginal = (means.diagonal() - mixed.diagonal()).exp().mean()
    return mi_alpha(scores, log_baseline, alpha) - (1 + joint - marginal)


def correlation(nats: float) -> float:
    return math.sqrt(1 - math.exp(-2 * nats / DIMENSIONS))


def pairs(rho: float, rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """(rows, d) each."""
    x, noise = torch.randn(2, rows, DIMENSIONS, generator=draw).unbind()
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def log_ratios(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(y_i | x_j) / p(y_i), (K, K)."""
    errors = (y[:, None, :] - rho * x[None, :, :]).square() / (1 - rho**2)
    return 0.5 * (y.square()[:, None, :] - errors - math.log(1 - rho**2)).sum(-1)


def summary(values: Tensor) -> dict[str, float]:
    deviation = values.std().item()
    return {
        "mean": round(values.mean().item(), 4),
        "error": round(deviation / math.sqrt(len(values)), 4),
        "deviation": round(deviation, 4),
    }


if __name__ == "__main__":
    main()
