"""The gradients of an update: of all processes together, clipped, and of the word embedding only where it has any.

The word embedding's gradient has few rows that are not zero. A fresh 30,000 x 128 one an update costs more in page
faults than the whole optimizer; so the backward pass gives the touched rows, which are clipped as they are, stand in a
buffer during the step, and are wiped after it. The numbers are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from distill.models.device import Device
from distill.training.processes import Processes


class Gradients:
    """Those of some learners, the first of which has the word embedding."""

    def __init__(self, learners: Mapping[str, nn.Module], device: Device) -> None:
        self._learners = [parameters for learner in learners.values() if (parameters := list(learner.parameters()))]
        embedding = _word_embedding(next(iter(learners.values()))) if device.name == "cpu" else None
        self._table = None if embedding is None else embedding.weight
        self._buffer: Tensor | None = None
        if embedding is not None:
            embedding.sparse = True
            self._buffer = torch.zeros_like(embedding.weight)

    @contextmanager
    def ready(self, clip: float, loss: Tensor, processes: Processes) -> Iterator[None]:
        """Within they are as the optimizer wants them, and `loss` too is that of all processes.

        Learners are clipped apart: how steep a critic is does not slow the student.
        """
        table = self._table
        if table is None or table.grad is None or not table.grad.is_sparse:  # dense where a head is tied to it
            self._clip(clip, loss, processes)
            yield
            return
        assert self._buffer is not None
        rows, touched = _added_up(*processes.rows_of_all(table.grad._indices()[0], table.grad._values()))
        self._clip(clip, loss, processes, touched)
        table.grad = self._buffer.index_copy_(0, rows, touched)
        yield
        table.grad = None
        self._buffer.index_fill_(0, rows, 0.0)

    def _clip(self, clip: float, loss: Tensor, processes: Processes, touched: Tensor | None = None) -> None:
        """Add up those of all processes and clip them; `touched`, added up already, stands for the table's."""
        dense = [
            [p.grad for p in learner if p.grad is not None and (touched is None or p is not self._table)]
            for learner in self._learners
        ]
        processes.add_up([*(grad for learner in dense for grad in learner), loss])
        if touched is not None:
            dense[0].append(touched)
        for gradients in dense:
            steep = (nn.utils.get_total_norm(gradients) + 1e-6) / clip
            if not steep <= 1:  # one that is no number too, which the loss then tells
                torch._foreach_div_(gradients, steep)


def _added_up(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Each row once, with the sum of its values."""
    unique, places = torch.unique(rows, return_inverse=True)
    return unique, values.new_zeros(len(unique), values.shape[1]).index_add_(0, places, values)


def _word_embedding(model: nn.Module) -> nn.Embedding | None:
    """The largest embedding table; None when there is none."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings * table.embedding_dim, default=None)
