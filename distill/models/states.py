"""States: what a model computes on its way to the logits, layer by layer: hidden states, queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

from torch import Tensor, nn

from contract.errors import BadInput
from distill.reading.tokens import Batch
from distill.settings.teacher import Pooling

# What the encoders whose attention we can read call the makers of queries, keys and values. Others turn or shift
# them before they meet (rotary, relative positions), so that their scores could not be made from these alone.
_BERT_LIKE = ("query", "key", "value")
_PROJECTIONS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "albert"), _BERT_LIKE),
    "distilbert": ("q_lin", "k_lin", "v_lin"),
}


@dataclass(frozen=True)
class Shape:
    """A model's size; layers are numbered from 1, and 0 is the output of the embeddings."""

    layers: int
    width: int
    heads: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape in a transformers config."""
        return cls(config.num_hidden_layers, config.hidden_size, config.num_attention_heads)


@dataclass(frozen=True)
class Sight:
    """What is to be seen of a model; what is not asked for is not kept."""

    hidden: bool = False
    attention: bool = False
    masked: bool = False  # what it would put in masked places

    def __bool__(self) -> bool:
        return self.inner or self.masked

    @property
    def inner(self) -> bool:
        """Whether states are asked for."""
        return self.hidden or self.attention

    def __or__(self, other: Sight) -> Sight:
        return Sight(self.hidden or other.hidden, self.attention or other.attention, self.masked or other.masked)


What = Literal["hidden", "queries", "keys", "values"]
QKV: tuple[What, ...] = ("queries", "keys", "values")
Part = tuple[What, int]  # of what a model computes: what, and of which layer


@dataclass(frozen=True)
class Attention:
    """One layer's queries, keys and values, (B, L, H) each with the heads side by side."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    heads: int

    def changed(self, change: Callable[[Tensor], Tensor]) -> Attention:
        """The change made to each of the three."""
        return Attention(change(self.queries), change(self.keys), change(self.values), self.heads)


@dataclass(frozen=True)
class States:
    """`hidden[n]` is the output of layer n, (B, L, H), `attention[n]` what layer n attends by: of the layers at hand.

    `mask` is (B, L), 1 where there is a token. `shares` (B, V, L) are those of the tokens in words, where the other
    model reads other tokens.
    """

    hidden: Mapping[int, Tensor]
    attention: Mapping[int, Attention]
    mask: Tensor
    shares: Tensor | None = None

    def part(self, part: Part) -> Tensor:
        """One of them, (B, L, H)."""
        what, layer = part
        states: Tensor = self.hidden[layer] if what == "hidden" else getattr(self.attention[layer], what)
        return states

    @cached_property
    def compared(self) -> States:
        """The states that stand side by side with the other model's: of tokens where both read the same, else of words.

        A word's state is the mean of its tokens'. Of queries and keys that is the mean of the attention scores over all
        pairs of the two words' tokens, which the softmax over words then makes a distribution again: how finely
        a tokenizer cuts a word gives it no more attention. Special tokens are no words.
        """
        if self.shares is None:
            return self
        of_words = partial(_pool, self.shares)
        return self.changed(of_words, self.shares.any(-1).long())

    def changed(self, change: Callable[[Tensor], Tensor], mask: Tensor) -> States:
        """The change made to all that was computed; what is compared is then what stands under `mask`."""
        hidden = {layer: change(states) for layer, states in self.hidden.items()}
        return States(hidden, {layer: each.changed(change) for layer, each in self.attention.items()}, mask)


@dataclass(frozen=True)
class Said:
    """What a model says of a batch: logits (B, C), and its states where they are needed.

    `slot_logits` has one row for each word of the batch that has a token, (W, T), in the order of `Batch.words`.
    `masked` has one for each masked place: a teacher's logits of all tokens, (M, V), a student's states, (M, H). Which
    tokens stood there, (M,), is `told`.
    """

    logits: Tensor | None
    states: States | None = None
    slot_logits: Tensor | None = None
    masked: Tensor | None = None
    told: Tensor | None = None


Speaker = Callable[[Batch], Said]


def watched(speak: Speaker, encoder: nn.Module, sight: Sight) -> Speaker:
    """The same, with the states of its transformers `encoder` that are in sight. Between batches nothing is left on it.

    BadInput when the encoder is of a kind whose attention cannot be read.
    """
    if not sight.inner:
        return speak
    config: Any = encoder.config
    projections = _projections(encoder, config.model_type) if sight.attention else []

    def watching(batch: Batch) -> Said:
        hidden: list[Tensor] = []
        heard: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        hooks = [module.register_forward_hook(partial(_hear, heard[which])) for which, module in projections]
        if sight.hidden:
            hooks.append(encoder.register_forward_pre_hook(_ask_for_hidden, with_kwargs=True))
            hooks.append(encoder.register_forward_hook(partial(_hear_hidden, hidden)))
        try:
            said = speak(batch)
        finally:
            for hook in hooks:
                hook.remove()
        attention = (Attention(*qkv, config.num_attention_heads) for qkv in zip(*heard, strict=True))
        states = States(dict(enumerate(hidden)), dict(enumerate(attention, 1)), batch.attention_mask, batch.compared)
        return replace(said, states=states)

    return watching


def _hear(heard: list[Tensor], _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    heard.append(output)


def _ask_for_hidden(_module: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return inputs, {**named, "output_hidden_states": True}


def _hear_hidden(heard: list[Tensor], _module: nn.Module, _inputs: Any, output: Any) -> None:
    heard.extend(output.hidden_states)


def _projections(model: nn.Module, kind: str) -> list[tuple[int, nn.Module]]:
    """(0, 1 or 2 for query, key or value; module). They speak in the order of the layers, shared ones once a layer."""
    if kind not in _PROJECTIONS:
        raise BadInput(
            f"The attention of a {kind} cannot be read; expected one of {', '.join(sorted(_PROJECTIONS))}: "
            "choose an objective of hidden states, or another model"
        )
    names = _PROJECTIONS[kind]
    last = ((name.rpartition(".")[2], module) for name, module in model.named_modules())
    return [(names.index(name), module) for name, module in last if name in names]


def _pool(shares: Tensor, states: Tensor) -> Tensor:
    """(B, V, L) and (B, L, H) -> (B, V, H)."""
    return shares @ states.float()


def pooled(states: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """(B, L, H) states -> (B, H): the first token's, or the mean over the tokens that are no padding."""
    if pooling == "first":
        return states[:, 0]
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * mask).sum(1) / mask.sum(1)
