"""Made-up states of two models, for tests of the losses that compare them."""

from __future__ import annotations

from dataclasses import replace

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
    return States(tuple(hidden), tuple(attention), mask)


def leaves(states: States) -> list[Tensor]:
    """Every tensor in them."""
    return [*states.hidden, *(t for a in states.attention for t in (a.queries, a.keys, a.values))]


def rolled(attention: Attention) -> Attention:
    """The texts of the batch in another order."""
    queries, keys, values = (t.roll(1, 0) for t in (attention.queries, attention.keys, attention.values))
    return replace(attention, queries=queries, keys=keys, values=values)


def with_other_padding(attention: Attention) -> Attention:
    """The same for every real token, and nonsense where there is none."""
    hidden = (disturbed(t) for t in (attention.queries, attention.keys, attention.values))
    return replace(attention, **dict(zip(("queries", "keys", "values"), hidden, strict=True)))


def disturbed(states: Tensor) -> Tensor:
    return torch.where(MASK.unsqueeze(-1).bool(), states, 100 + states)


def rolled_states(states: States) -> States:
    """Texts in another order, their masks not."""
    hidden = tuple(t.roll(1, 0) for t in states.hidden)
    return replace(states, hidden=hidden, attention=tuple(map(rolled, states.attention)))


def disturbed_states(states: States) -> States:
    hidden = tuple(map(disturbed, states.hidden))
    return replace(states, hidden=hidden, attention=tuple(map(with_other_padding, states.attention)))
