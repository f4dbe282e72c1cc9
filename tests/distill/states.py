"""Made-up states of two models, for tests of the losses that compare them."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.models.states import Attention, Shape, States

MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
SMALL, LARGE = Shape(2, 12, 2), Shape(4, 18, 3)  # other widths, other heads, heads of the same width


def some_attention(seed: int, shape: Shape, mask: Tensor = MASK, *, grad: bool = False) -> Attention:
    draw = torch.Generator().manual_seed(seed)
    queries, keys, values = torch.randn(3, *mask.shape, shape.width, generator=draw).unbind()
    if grad:
        queries, keys, values = (states.clone().requires_grad_() for states in (queries, keys, values))
    return Attention(queries, keys, values, shape.heads)


def some_states(seed: int, shape: Shape, mask: Tensor = MASK, *, grad: bool = False) -> States:
    """All layers of a model of that shape on a batch whose tokens are the mask's."""
    draw = torch.Generator().manual_seed(seed)
    hidden = [torch.randn(*mask.shape, shape.width, generator=draw) for _ in range(shape.layers + 1)]
    if grad:
        hidden = [states.requires_grad_() for states in hidden]
    attention = [some_attention(seed + layer, shape, mask, grad=grad) for layer in range(shape.layers)]
    return States(dict(enumerate(hidden)), dict(enumerate(attention, 1)), mask)


def leaves(states: States) -> list[Tensor]:
    """Every tensor in them."""
    return [*states.hidden.values(), *(t for a in states.attention.values() for t in (a.queries, a.keys, a.values))]


def rolled(attention: Attention) -> Attention:
    """The texts of the batch in another order."""
    return attention.changed(_next)


def with_other_padding(attention: Attention) -> Attention:
    """The same for every real token, and nonsense where there is none."""
    return attention.changed(disturbed)


def disturbed(states: Tensor) -> Tensor:
    return torch.where(MASK.unsqueeze(-1).bool(), states, 100 + states)


def rolled_states(states: States) -> States:
    """Texts in another order, their masks not."""
    return states.changed(_next, states.mask)


def disturbed_states(states: States) -> States:
    return states.changed(disturbed, states.mask)


def _next(states: Tensor) -> Tensor:
    return states.roll(1, 0)
