"""Correlated Gaussians, whose mutual information is known in closed form, as Poole et al. 2019 try their bounds on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """x and y of `dimensions` each, every x_i correlated with its y_i alone, so that they know `nats` of each other."""

    dimensions: int
    nats: float

    @property
    def correlation(self) -> float:
        """Of I = -d/2 log(1 - rho^2)."""
        return math.sqrt(1 - math.exp(-2 * self.nats / self.dimensions))

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(rows, d) each."""
        x, noise = torch.randn(2, rows, self.dimensions, generator=generator).unbind()
        return x, self.correlation * x + math.sqrt(1 - self.correlation**2) * noise

    def best_scores(self, x: Tensor, y: Tensor) -> Tensor:
        """The best critic there is, log p(y_i | x_j) / p(y_i): (K, d), (K, d) -> (K, K)."""
        variance = 1 - self.correlation**2
        errors = (y[:, None, :] - self.correlation * x[None, :, :]).square() / variance
        return 0.5 * (y.square()[:, None, :] - errors - math.log(variance)).sum(-1)
