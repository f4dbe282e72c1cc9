"""A BERT's layers as a student learns them faster: the same numbers up to rounding, where nobody sees the states.

The last layer is made for the first token alone, which is all that a classifier of sentences reads of it: a quarter of
the work of a student of four layers, half of one of two. One query needs no keys and values: it is turned by the keys'
weights and asked of the states themselves, and what is heard of these is turned by the values'. In the other layers
queries, keys and values are one product, not three.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

from distill.models.states import Said, Speaker
from distill.reading.tokens import Batch

LANES = 16  # torch's softmax of rows shorter than a processor's vector is ten times slower than of padded ones
_PLAIN = ("eager", "sdpa")  # the attentions whose masks we read


def hurried(speak: Speaker, model: nn.Module) -> Speaker:
    """The same for a model whose states nobody sees; as it is where the model is of another kind.

    Between batches nothing is left on the model.
    """
    bert: Any = getattr(model, "bert", None)
    if type(model) is not BertForSequenceClassification or bert.config._attn_implementation not in _PLAIN:
        return speak
    *layers, last = bert.encoder.layer

    def hurrying(batch: Batch) -> Said:
        for layer in layers:
            layer.forward = partial(_of_all, layer)
        last.forward = partial(_of_first, last)
        try:
            return speak(batch)
        finally:
            for layer in (*layers, last):
                del layer.forward

    return hurrying


def _of_all(layer: Any, hidden: Tensor, mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """What `BertLayer.forward` says, (B, L, H) -> (B, L, H)."""
    own = layer.attention.self
    linear = (own.query, own.key, own.value)
    weight, bias = torch.cat([each.weight for each in linear]), torch.cat([each.bias for each in linear])
    said = F.linear(hidden, weight, bias).chunk(3, dim=-1)
    by_head = (*hidden.shape[:2], own.num_attention_heads, -1)
    query, *heard = (part.view(by_head).transpose(1, 2) for part in said)
    if own.config._attn_implementation == "eager" and hidden.shape[1] < LANES:
        heard, mask = _filled(heard, mask)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(own.config._attn_implementation, eager_attention_forward)
    found, _ = attend(own, query, *heard, mask, dropout=own.dropout.p if own.training else 0.0, scaling=own.scaling)
    return _fed(layer, found.reshape(hidden.shape), hidden)


def _of_first(layer: Any, hidden: Tensor, mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """What it says of the first token, (B, L, H) -> (B, 1, H)."""
    own, first, states = layer.attention.self, hidden[:, :1], _once(hidden)
    by_head = (own.num_attention_heads, -1)
    query = own.query(first[:, 0]).unflatten(-1, by_head).transpose(0, 1)  # (A, B, d)
    asked = torch.matmul(query, own.key.weight.unflatten(0, by_head)).transpose(0, 1)  # (B, A, H)
    besides = torch.matmul(query, own.key.bias.view(*by_head, 1)).transpose(0, 1)  # (B, A, 1): the same for all tokens
    scores = (torch.matmul(asked, states.transpose(1, 2)) + besides) * own.scaling
    shares = F.dropout(_masked(scores, mask).softmax(-1), own.dropout.p, own.training)  # (B, A, L)
    heard = torch.matmul(shares, states).transpose(0, 1)  # (A, B, H)
    found = torch.matmul(heard, own.value.weight.unflatten(0, by_head).transpose(1, 2)).transpose(0, 1)
    found = found + shares.sum(-1, keepdim=True) * own.value.bias.view(by_head)
    return _fed(layer, found.flatten(1).unsqueeze(1), first)


def _filled(heard: list[Tensor], mask: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Keys and values (B, A, L, d) with nothing after them up to LANES, and a mask that lets nobody hear it."""
    length = heard[0].shape[2]
    more = LANES - length
    mask = heard[0].new_zeros(1, 1, 1, length) if mask is None else mask
    return [F.pad(each, (0, 0, 0, more)) for each in heard], F.pad(mask, (0, more), value=-torch.inf)


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores of the first token, (B, A, L), under a mask of all, (B, 1, L, L)."""
    if mask is None:
        return scores
    of_first = mask[:, :, 0]
    return scores.masked_fill(~of_first, -torch.inf) if of_first.dtype is torch.bool else scores + of_first


def _once(states: Tensor) -> Tensor:
    """In the format of matrix products, so that it is not brought into it for each of them."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def _fed(layer: Any, found: Tensor, states: Tensor) -> Tensor:
    """What follows attention in a layer."""
    attended: Tensor = layer.attention.output(found, states)
    said: Tensor = layer.feed_forward_chunk(attended)
    return said
