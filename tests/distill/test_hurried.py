"""A hurried BERT says and learns what the plain one does, in every setting that it may be asked in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from distill.models.device import Device
from distill.models.hurried import hurried
from distill.models.states import Said, Speaker
from distill.reading.tokens import Batch

Attention = Literal["eager", "sdpa"]


def make(layers: int = 3, attention: Attention = "sdpa", dropout: float = 0.0) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=24,
            num_hidden_layers=layers,
            num_attention_heads=3,
            intermediate_size=48,
            max_position_embeddings=16,
            num_labels=5,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attn_implementation=attention,
        )
    )


def batch_of(lengths: list[int]) -> Batch:
    draw = np.random.default_rng(0)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = torch.from_numpy(np.where(mask, draw.integers(1, 50, mask.shape), 0))
    return Batch(ids, torch.from_numpy(mask.astype(np.int64)), torch.zeros_like(ids))


def speaker(model: torch.nn.Module) -> Speaker:
    return lambda batch: Said(model(**batch.inputs).logits)


def said_and_learnt(model: BertForSequenceClassification, speak: Speaker, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    logits = speak(batch).logits
    assert logits is not None
    model.zero_grad()
    logits.square().sum().backward()
    return logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("lengths", [[7, 3, 1, 5], [6, 6, 6], [1], [16, 2], [15, 15]])
def test_logits_and_gradients_are_the_plain_ones(attention: Attention, layers: int, lengths: list[int]) -> None:
    model, batch = make(layers, attention), batch_of(lengths)
    plain, gradients = said_and_learnt(model, speaker(model), batch)
    fast, others = said_and_learnt(model, hurried(speaker(model), model), batch)
    assert torch.allclose(plain, fast, atol=1e-6)
    assert len(gradients) == len(others)
    for one, other in zip(gradients, others, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_in_bfloat16_it_is_as_near_to_float32_as_the_plain_one() -> None:
    model, batch = make(attention="eager"), batch_of([7, 3, 1, 5])
    exact = speaker(model)(batch).logits
    assert exact is not None
    with Device("cpu", "bfloat16").matmuls():
        plain, fast = (speak(batch).logits for speak in (speaker(model), hurried(speaker(model), model)))
    assert plain is not None
    assert fast is not None
    assert (fast - exact).abs().max() < 3 * (plain - exact).abs().max() + 1e-3


def test_nothing_is_left_on_the_model_even_when_it_fails() -> None:
    model, batch = make(), batch_of([3, 2])
    speak = hurried(speaker(model), model)
    speak(batch)

    def failing(batch: Batch) -> Said:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        hurried(failing, model)(batch)
    assert all("forward" not in vars(layer) for layer in model.bert.encoder.layer)
    assert model(**batch.inputs, output_hidden_states=True).hidden_states[-1].shape[1] == 3


def test_dropout_is_drawn_while_it_trains_alone() -> None:
    model, batch = make(dropout=0.5), batch_of([5, 4])
    speak = hurried(speaker(model), model)

    def logits() -> Tensor:
        said = speak(batch).logits
        assert said is not None
        return said

    model.train()
    assert not torch.equal(logits(), logits())
    model.eval()
    assert torch.equal(logits(), logits())


def test_a_model_of_another_kind_is_as_it_was() -> None:
    of_words = BertForTokenClassification(make().config)
    speak = speaker(of_words)
    assert hurried(speak, of_words) is speak
