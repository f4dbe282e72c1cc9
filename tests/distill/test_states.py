"""States: what is heard of a model is what it computes itself, and nothing of the listening stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from contract.errors import BadInput
from distill.models.pretrained import quiet
from distill.models.states import Said, Shape, Sight, Speaker, pooled, watched
from distill.objectives.attention import attention_scores
from distill.reading.tokens import Batch

SIZE = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
KINDS: dict[str, Any] = {
    "bert": BertConfig(vocab_size=40, **SIZE),
    "roberta": RobertaConfig(vocab_size=40, max_position_embeddings=40, **SIZE),
    "electra": ElectraConfig(vocab_size=40, embedding_size=8, **SIZE),
    "albert": AlbertConfig(vocab_size=40, embedding_size=8, **SIZE),  # one layer, walked through three times
    "distilbert": DistilBertConfig(vocab_size=40, dim=12, n_layers=3, n_heads=2, hidden_dim=16),
}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def model_of(config: Any) -> nn.Module:
    torch.manual_seed(0)
    with quiet():
        model: nn.Module = AutoModel.from_config(config, attn_implementation="eager").eval()
    return model


def some_batch() -> Batch:
    ids = torch.randint(5, 40, MASK.shape, generator=torch.Generator().manual_seed(1))
    return Batch(ids.masked_fill(MASK == 0, 1), MASK, None)


def speaker(model: nn.Module) -> Speaker:
    return lambda batch: Said(model(**batch.inputs).last_hidden_state)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_the_models_own(kind: str) -> None:
    model, batch = model_of(KINDS[kind]), some_batch()
    said = watched(speaker(model), model, Sight(hidden=True))(batch)
    own = model(**batch.inputs, output_hidden_states=True)
    assert said.states is not None
    assert len(said.states.hidden) == Shape.of(model.config).layers + 1 == 4
    assert said.states.attention == {}
    for heard, expected in zip(said.states.hidden.values(), own.hidden_states, strict=True):
        assert torch.equal(heard, expected)
    assert torch.equal(said.logits, own.last_hidden_state)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_queries_and_keys_make_the_models_own_attention(kind: str) -> None:
    model, batch = model_of(KINDS[kind]), some_batch()
    states = watched(speaker(model), model, Sight(attention=True))(batch).states
    own = model(**batch.inputs, output_attentions=True).attentions
    assert states is not None
    assert states.hidden == {}
    assert len(states.attention) == len(own) == 3
    for heard, expected in zip(states.attention.values(), own, strict=True):
        masked = attention_scores(heard).masked_fill(MASK[:, None, None, :] == 0, -1e9)
        assert torch.allclose(masked.softmax(-1), expected, atol=1e-6)
        assert heard.values.shape == (2, 5, 12)
    values = {tuple(attention.values.flatten().tolist()) for attention in states.attention.values()}
    assert len(values) == 3, "three layers"


def test_nothing_of_the_listening_stays() -> None:
    model, batch = model_of(KINDS["bert"]), some_batch()

    def fails(_: Batch) -> Said:
        raise BadInput("in the midst")

    with pytest.raises(BadInput):
        watched(fails, model, Sight(hidden=True, attention=True))(batch)
    watched(speaker(model), model, Sight(attention=True))(batch)
    hooks = [hook for m in model.modules() for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert not any("_hear" in repr(hook) or "_ask" in repr(hook) for hook in hooks)


def test_out_of_sight_nothing_is_listened_to() -> None:
    speak = speaker(model_of(KINDS["bert"]))
    assert watched(speak, nn.Identity(), Sight()) is speak
    assert Sight(hidden=True) | Sight(attention=True) == Sight(True, True)
    assert not Sight()


def test_gradients_go_through_what_was_heard() -> None:
    model = model_of(KINDS["bert"])
    states = watched(speaker(model), model, Sight(hidden=True, attention=True))(some_batch()).states
    assert states is not None
    (states.hidden[1].sum() + states.attention[1].values.sum()).backward()  # type: ignore[no-untyped-call]
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any("layer.0" in name for name in touched)
    assert not any("layer.2" in name for name in touched)


def test_attention_that_cannot_be_read_is_refused() -> None:
    """MPNet adds relative positions to its scores, so that queries and keys are not all of them."""
    model = model_of(MPNetConfig(vocab_size=40, max_position_embeddings=40, **SIZE))
    with pytest.raises(BadInput, match="attention of a mpnet cannot be read; expected one of albert, bert"):
        watched(speaker(model), model, Sight(attention=True))
    states = watched(speaker(model), model, Sight(hidden=True))(some_batch()).states
    assert states is not None
    assert len(states.hidden) == 4


def test_a_texts_state_is_its_first_token_or_the_mean_of_the_real_ones() -> None:
    states = torch.randn(2, 5, 3)
    assert torch.equal(pooled(states, MASK, "first"), states[:, 0])
    assert torch.allclose(pooled(states, MASK, "mean")[1], states[1, :3].mean(0))
