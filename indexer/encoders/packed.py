"""Packed texts: the forward pass of a BERT over the tokens of many texts in one matrix, without a token of padding.

What a token becomes depends on its own text alone: matrix products work row by row, attention text by text, and the
batch of which a text is part leaves no trace in its vector, as long as one thread computes each product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor, nn

BATCH_TOKENS = 2048  # of a matrix: its products stay in the processor's cache, and lose nothing to smaller ones
LEAST_TOKENS = 16  # with fewer rows a library may sum in another order
_BODIES = ("BertModel", "RobertaModel", "XLMRobertaModel")
_HEADS = ("Pooling", "Normalize")


def batches(lengths: np.ndarray, tokens: int = BATCH_TOKENS) -> Iterator[list[np.ndarray]]:
    """Which texts are computed together, the longest first: groups of one length (positions), about `tokens` in all.

    A group of fewer than LEAST_TOKENS repeats its texts.
    """
    order = np.argsort(-lengths, kind="stable")
    batch: list[np.ndarray] = []
    room = tokens
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        length = max(int(lengths[group[0]]), 1) if len(group) else 1
        while len(group):
            if batch and room < length:
                yield batch
                batch, room = [], tokens
            fits = group[: max(room // length, 1)]
            group = group[len(fits) :]
            room -= len(fits) * length
            batch.append(np.resize(fits, max(len(fits), -(-LEAST_TOKENS // length))))
    if batch:
        yield batch


@dataclass(frozen=True)
class _Layer:
    """One layer's parts; the three projections of its attention are one matrix."""

    queries_keys_values: tuple[Tensor, Tensor]
    attended: nn.Module
    attended_norm: nn.Module
    inner: nn.Module
    activation: Any
    outer: nn.Module
    outer_norm: nn.Module


class PackedBert:
    """The transformer of a sentence-transformers model, and what makes one vector of a text's tokens."""

    def __init__(self, model: SentenceTransformer) -> None:
        body = model[0].auto_model
        self._embeddings = body.embeddings
        self._first_position = self._embeddings.padding_idx + 1 if type(body).__name__ != "BertModel" else 0
        self._heads = body.config.num_attention_heads
        self._layers = [_layer(layer) for layer in body.encoder.layer]
        self._after = list(model)[1:]

    @staticmethod
    def can(model: SentenceTransformer) -> bool:
        """Whether this is such a model, on a CPU; with others the library's own way is gone."""
        body: Any = getattr(model[0], "auto_model", None)
        after = list(model)[1:]
        return (
            type(body).__name__ in _BODIES
            and not body.config.is_decoder
            and getattr(body.config, "position_embedding_type", "absolute") == "absolute"
            and model.device.type == "cpu"
            and "message" not in getattr(model[0], "modality_config", {})
            and all(type(module).__name__ in _HEADS for module in after)
            and all(getattr(module, "include_prompt", True) for module in after)
        )

    def vectors(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        """The vectors of texts given as token ids, (n, length) int64 each group, in that order: (n of all, dim)."""
        import torch

        with torch.inference_mode():
            states = self.states([torch.from_numpy(group) for group in groups])
            return np.concatenate([self._pooled(state.float()) for state in states])

    def states(self, groups: Sequence[Tensor]) -> list[Tensor]:
        """The last layer's states, (n, length, width) for every group (n, length) of token ids."""
        import torch
        from torch.nn import functional

        shapes = [tuple(group.shape) for group in groups]
        state = self._embedded(groups)
        for layer in self._layers:
            mixed = self._attention(functional.linear(state, *layer.queries_keys_values), shapes)
            state = layer.attended_norm(layer.attended(mixed).add_(state))
            state = layer.outer_norm(layer.outer(layer.activation(layer.inner(state))).add_(state))
        parts = torch.split(state, [n * length for n, length in shapes])
        return [part.view(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]

    def _embedded(self, groups: Sequence[Tensor]) -> Tensor:
        import torch

        embeddings = self._embeddings
        first = self._first_position
        places = [torch.arange(first, first + group.shape[1]).expand(group.shape).reshape(-1) for group in groups]
        words = embeddings.word_embeddings(torch.cat([group.reshape(-1) for group in groups]))
        kinds = embeddings.token_type_embeddings.weight[0]
        embedded: Tensor = embeddings.LayerNorm(words + kinds + embeddings.position_embeddings(torch.cat(places)))
        return embedded

    def _attention(self, joined: Tensor, shapes: Sequence[tuple[int, ...]]) -> Tensor:
        """Each text attends to itself: (tokens, 3 x width) -> (tokens, width)."""
        import torch
        from torch.nn import functional

        mixed = joined.new_empty(joined.shape[0], joined.shape[1] // 3)
        parts = torch.split(joined, [n * length for n, length in shapes])
        places = torch.split(mixed, [n * length for n, length in shapes])
        for part, place, (n, length) in zip(parts, places, shapes, strict=True):
            queries, keys, values = part.view(n, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(queries, keys, values)
            place.view(n, length, self._heads, -1).copy_(attended.transpose(1, 2))
        return mixed

    def _pooled(self, states: Tensor) -> np.ndarray:
        import torch

        features = {"token_embeddings": states, "attention_mask": torch.ones(states.shape[:2], dtype=torch.int64)}
        for module in self._after:
            features = module(features)
        pooled: np.ndarray = features["sentence_embedding"].numpy()
        return pooled


def _layer(layer: Any) -> _Layer:
    import torch

    own, joined = layer.attention.self, ("query", "key", "value")
    weight = torch.cat([getattr(own, name).weight.detach() for name in joined])
    bias = torch.cat([getattr(own, name).bias.detach() for name in joined])
    return _Layer(
        (weight, bias),
        layer.attention.output.dense,
        layer.attention.output.LayerNorm,
        layer.intermediate.dense,
        layer.intermediate.intermediate_act_fn,
        layer.output.dense,
        layer.output.LayerNorm,
    )
