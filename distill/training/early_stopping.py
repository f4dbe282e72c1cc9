"""Early stopping: a model is judged on the way, its best weights are kept, and it stops when it gets no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from distill.training.checkpoint import Best

Judge = Callable[[], float]  # the score of the model as it is now, the higher the better


@dataclass(frozen=True)
class Patience:
    """Look every `every` updates; stop after `looks` without a better score."""

    looks: int
    every: int


class EarlyStopping:
    """What is best so far. Of equal scores the earlier is kept."""

    def __init__(
        self, model: nn.Module, judge: Judge, patience: Patience, best: Best | None, weights: Mapping[str, Tensor]
    ) -> None:
        self.best = best
        self.weights = dict(weights)
        self._model = model
        self._judge = judge
        self._patience = patience

    def look(self, done: int, *, last: bool) -> bool:
        """After update `done`: judge the model when it is due, and say whether to stop."""
        if not last and done % self._patience.every:
            return False
        score = self._judge()
        if self.best is None or score > self.best.score:
            self.best = Best(score, done)
            self.weights = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        return last or done - self.best.update >= self._patience.looks * self._patience.every

    def put_back(self) -> None:
        """Give the model its best weights."""
        self._model.load_state_dict(self.weights)
