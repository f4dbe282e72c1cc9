"""The met rows of a word embedding: those of the tokens that a phase's texts have. The optimizer goes over them alone.

A student of 2 x 128 is nine tenths embedding table, of which a transfer set of 20,000 texts meets a third and a
task's own texts a tenth; going over the whole of it took AdamW a tenth of an update. A row that is never met has no
gradient and no moments: decay is all that becomes of it. So for as long as a phase learns, the table lies with the met
rows first, which the optimizer has, and the others are decayed beside them. All weights are to the last bit what they
would have been.

Whoever asks the model meanwhile finds it as ever: of a state_dict the table is whole and in its order, so are its
moments in the optimizer's, and without gradients every token has its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.device import Device

Rows = npt.NDArray[np.int64]

MOST = 0.75  # of a table; where more of it is met there is little to save


@contextmanager
def met_rows(model: nn.Module, met: Rows, device: Device) -> Iterator[MetRows | None]:
    """Within, `model` learns the rows of these tokens, ascending, as a table of their own, and asks for no others.

    None where it is as well left as it is: on a GPU, where most of the table is met, where others have it too.
    """
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    if device.name != "cpu" or len(met) > MOST * len(embedding.weight) or not _is_alone(model, embedding):
        yield None
        return
    rows = MetRows(embedding, met)
    try:
        yield rows
    finally:
        rows.put_back()


def _is_alone(model: nn.Module, embedding: nn.Embedding) -> bool:
    """Whether nothing but this plain table has its weights."""
    having = [module for module in model.modules() if any(p is embedding.weight for p in module._parameters.values())]
    return type(embedding) is nn.Embedding and embedding.max_norm is None and having == [embedding]


class MetRows:
    """An embedding whose weights are, until they are put back, those of the met rows."""

    def __init__(self, embedding: nn.Embedding, met: Rows) -> None:
        whole = embedding.weight
        others = np.setdiff1d(np.arange(len(whole)), met)
        self._tokens = torch.from_numpy(np.concatenate([met, others]))  # (V,): whose row each is
        self._places = torch.argsort(self._tokens)  # (V,): where each token's row lies
        self._embedding, self._whole, self._pad = embedding, whole, embedding.padding_idx
        self._table = whole.detach()[self._tokens]  # (V, H)
        self._met = nn.Parameter(self._table[: len(met)], whole.requires_grad)  # the same memory
        self._others = self._table[len(met) :]
        whole.data = self._table  # so that there is one, not two
        embedding.weight = self._met
        embedding.padding_idx = None if self._pad is None or self._pad not in met else int(self._places[self._pad])
        embedding.forward = self._embedded  # type: ignore[assignment,method-assign]
        self._hooks = ExitStack()
        saying = partial(self._say_whole)  # torch marks what it is given, which a method does not bear
        self._hooks.callback(embedding.register_state_dict_post_hook(saying).remove)  # type: ignore[no-untyped-call]
        self._hooks.callback(embedding.register_load_state_dict_pre_hook(self._hear_whole).remove)  # type: ignore[no-untyped-call]

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Decay the others with each of its steps; what it says of its state, and hears, is of the whole table."""
        self._hooks.callback(optimizer.register_step_post_hook(self._decay).remove)
        self._hooks.callback(optimizer.register_state_dict_post_hook(self._say_moments).remove)
        self._hooks.callback(optimizer.register_load_state_dict_pre_hook(self._hear_moments).remove)

    def put_back(self) -> None:
        """The embedding has its own weights again, with what was learnt."""
        self._hooks.close()
        del self._embedding.forward
        self._embedding.padding_idx = self._pad
        self._whole.data = self._table[self._places]
        self._embedding.weight = self._whole

    def _embedded(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, H). That a token is learnt from which is not met is an IndexError."""
        weight, one = (self._met if torch.is_grad_enabled() else self._table), self._embedding
        return F.embedding(self._places[tokens], weight, one.padding_idx, sparse=one.sparse)

    def _decay(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        group = next(group for group in optimizer.param_groups if any(p is self._met for p in group["params"]))
        self._others.mul_(1 - group["lr"] * group["weight_decay"])

    def _say_whole(self, _module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        state[f"{prefix}weight"] = self._table[self._places]

    def _hear_whole(self, _module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        whole = state[f"{prefix}weight"][self._tokens]
        state[f"{prefix}weight"] = whole[: len(self._met)]
        self._others.copy_(whole[len(self._met) :])

    def _say_moments(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        def whole(moments: Tensor) -> Tensor:
            return moments.new_zeros(self._table.shape).index_copy_(0, self._tokens[: len(moments)], moments)

        return self._with_moments(optimizer, state, whole)

    def _hear_moments(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return self._with_moments(optimizer, state, lambda moments: moments[self._tokens[: len(self._met)]])

    def _with_moments(self, optimizer: torch.optim.Optimizer, state: dict[str, Any], change: Any) -> dict[str, Any]:
        """The optimizer's state, with what it keeps row for row of the table changed."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        index = next(index for index, parameter in enumerate(parameters) if parameter is self._met)
        kept = state["state"].get(index)
        if kept is None:
            return state
        changed = {name: change(value) if value.ndim == 2 else value for name, value in kept.items()}
        return {**state, "state": {**state["state"], index: changed}}
