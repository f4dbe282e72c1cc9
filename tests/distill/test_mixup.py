"""Claims of mixup: two texts are one by their shares, what is taught of them too, and the teacher sees the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from distill.models.states import Said, Sight, watched
from distill.objectives.objective import soft_target_loss
from distill.reading.examples import Examples
from distill.reading.gold import NO_LABEL
from distill.reading.tokens import Batch, Tokens
from distill.training.mixup import MixedExamples, MixedTokens, Mixup, mixing

LENGTHS = [5, 3, 4, 2, 5, 3]
ROWS = np.array([4, 1, 0, 3])
APPEND, REPLACE = Mixup(0.4, True, 0), Mixup(0.4, False, 0)


def some_tokens(seed: int = 0) -> Tokens:
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, 30, sum(LENGTHS)).astype(np.int32)
    return Tokens(ids, np.cumsum([0, *LENGTHS]), np.array(LENGTHS, np.int32), 0, True)


def some_examples(**more: Any) -> Examples:
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(6, 3)).astype(np.float16)
    return Examples(some_tokens(), np.array([0, 1, 2, 0, 1, 2]), logits, **more)


def mixed(mixup: Mixup, plain: Examples | None = None, **more: Any) -> MixedExamples:
    settings = {"live": False, "probabilities": True, "temperature": 2.0, **more}
    plain = plain or some_examples()
    return MixedExamples(plain, mixup, plain.teacher, **settings)


def some_bert(seed: int = 0) -> BertModel:
    torch.manual_seed(seed)
    model = BertModel(
        BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                   max_position_embeddings=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        add_pooling_layer=False,
    )  # fmt: skip
    return model.eval()


def speaker(model: nn.Module) -> Any:
    def speak(batch: Batch) -> Said:
        return Said(model(**batch.inputs).last_hidden_state[:, 0])

    return speak


class Table(nn.Module):
    """Word embeddings alone, so that what comes out is what was mixed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(30, 4)

    def seen(self, batch: Batch) -> Tensor:
        out: list[Tensor] = []

        def speak(batch: Batch) -> Said:
            out.append(self.words(batch.input_ids))
            return Said(None)

        mixing(speak, self.words)(batch)
        return out[0]


def test_an_embedding_is_both_words_by_their_shares() -> None:
    partners, share = REPLACE.partners(ROWS)
    assert 0 < share < 1
    table, tokens = Table(), some_tokens()
    seen = table.seen(MixedTokens(tokens, REPLACE).batch(ROWS))
    plain = tokens.batch(ROWS)
    for text in range(len(ROWS)):
        for place in range(seen.shape[1]):
            expected = torch.zeros(4)
            for row, weight in ((text, share), (int(partners[text]), 1 - share)):
                if plain.attention_mask[row, place]:
                    expected = expected + weight * table.words(plain.input_ids[row, place])
            assert torch.allclose(seen[text, place], expected, atol=1e-6)


def test_a_mixed_text_is_as_long_as_the_longer_of_its_two() -> None:
    partners, _ = REPLACE.partners(ROWS)
    batch, plain = MixedTokens(some_tokens(), REPLACE).batch(ROWS), some_tokens().batch(ROWS)
    lengths = plain.attention_mask.sum(1)
    assert batch.attention_mask.sum(1).tolist() == torch.maximum(lengths, lengths[partners]).tolist()


def test_appended_texts_come_after_the_plain_ones_which_stay_as_they_are() -> None:
    model = some_bert()
    speak = mixing(speaker(model), model.get_input_embeddings())
    plain, both = some_tokens().batch(ROWS), MixedTokens(some_tokens(), APPEND).batch(ROWS)
    only = MixedTokens(some_tokens(), REPLACE).batch(ROWS)
    said = speak(both).logits
    assert said is not None
    assert torch.allclose(said[:4], speak(plain).logits, atol=1e-6)
    assert torch.allclose(said[4:], speak(only).logits, atol=1e-6)
    assert not torch.allclose(said[4:], said[:4], atol=1e-3)
    assert not model.get_input_embeddings()._forward_hooks, "nothing is left on the model"


def test_what_is_taught_is_mixed_by_the_same_share() -> None:
    """The softened classes at the objective's temperature are those of both."""
    partners, share = REPLACE.partners(ROWS)
    logits = torch.from_numpy(some_examples().teacher_logits[ROWS].astype(np.float32))  # type: ignore[index]
    soft = (logits / 2.0).softmax(-1)
    expected = share * soft + (1 - share) * soft[partners]
    found = mixed(REPLACE).stored(ROWS, "cpu").logits
    assert found is not None
    assert torch.allclose((found / 2.0).softmax(-1), expected, atol=1e-5)
    linear = mixed(REPLACE, probabilities=False).stored(ROWS, "cpu").logits
    assert torch.allclose(linear, share * logits + (1 - share) * logits[partners], atol=1e-6)
    student = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    whole = soft_target_loss(student, found, temperature=2.0)
    other = (
        -(expected * (student / 2.0).log_softmax(-1)).sum(-1).mean() * 4
        + (expected * expected.log()).sum(-1).mean() * 4
    )
    assert torch.allclose(whole, other, atol=1e-4), "the soft targets' loss is that of the mixed classes"


def test_an_amount_is_mixed_as_it_is() -> None:
    partners, share = REPLACE.partners(ROWS)
    amounts = np.arange(6, dtype=np.float16)[:, None]
    plain = Examples(some_tokens(), None, amounts, np.arange(6, dtype=np.float32))
    found = mixed(REPLACE, plain).stored(ROWS, "cpu").logits
    expected = share * amounts[ROWS] + (1 - share) * amounts[ROWS][partners]
    assert np.allclose(found, expected, atol=1e-3)
    assert mixed(REPLACE, plain).targets(ROWS, "cpu").amounts.isnan().all()  # type: ignore[union-attr]


def test_mixed_texts_have_no_gold_and_plain_ones_keep_theirs() -> None:
    classes = mixed(APPEND).targets(ROWS, "cpu").classes
    assert classes is not None
    assert classes.tolist() == [1, 1, 0, 0, *[NO_LABEL] * 4]
    assert set(mixed(REPLACE).targets(ROWS, "cpu").classes.tolist()) == {NO_LABEL}  # type: ignore[union-attr]


def test_the_plain_texts_of_an_appended_batch_are_taught_what_is_stored() -> None:
    stored = mixed(APPEND).stored(ROWS, "cpu").logits
    plain = some_examples().stored(ROWS, "cpu").logits
    assert stored is not None
    assert plain is not None
    assert torch.equal(stored[:4], plain)
    assert len(stored) == 8


def test_draws_follow_the_seed_and_the_rows_and_differ_from_batch_to_batch() -> None:
    partners, share = APPEND.partners(ROWS)
    again, same = APPEND.partners(ROWS)
    assert np.array_equal(partners, again)
    assert share == same
    shares = {APPEND.partners(np.array([number, 1, 2]))[1] for number in range(20)}
    assert len(shares) == 20
    assert share != replace(APPEND, seed=1).partners(ROWS)[1]


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    """Beta(0.4, 0.4) has mean .5 and variance 1 / (4 * 1.8); Beta(8, 8) a seventeenth of a quarter."""
    for alpha in (0.4, 8.0):
        shares = np.array([Mixup(alpha, True, 0).partners(np.array([n, 1]))[1] for n in range(3000)])
        assert abs(shares.mean() - 0.5) < 0.03
        assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_the_teacher_sees_the_same_mixed_input() -> None:
    """With the student's weights it has the student's states, and live logits are those of the mixture."""
    model = some_bert()
    embeddings = model.get_input_embeddings()
    speak = mixing(watched(speaker(model), model, Sight(hidden=True)), embeddings)
    examples = mixed(APPEND, some_examples(teacher=torch.no_grad()(speak)), live=True)
    batch = examples.tokens.batch(ROWS)
    said, taught = speak(batch), examples.taught(ROWS, batch)
    assert said.states is not None
    assert taught.states is not None
    for ours, theirs in zip(said.states.hidden.values(), taught.states.hidden.values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(said.logits, taught.logits, atol=1e-6)
    stored = replace(examples, live=False).taught(ROWS, batch)
    assert torch.equal(stored.logits, examples.stored(ROWS, "cpu").logits)  # type: ignore[arg-type]


def test_a_teacher_with_tokens_of_its_own_mixes_the_same_texts() -> None:
    plain = some_examples(teacher_tokens=some_tokens(5))
    batch = mixed(APPEND, plain).teacher_tokens.batch(ROWS)  # type: ignore[union-attr]
    ours = mixed(APPEND, plain).tokens.batch(ROWS)
    assert batch.mixture is not None
    assert ours.mixture is not None
    assert torch.equal(batch.mixture.partners, ours.mixture.partners)
    assert torch.equal(batch.mixture.shares, ours.mixture.shares)


def test_gradients_reach_the_embeddings_of_both_words() -> None:
    table = Table()
    batch = MixedTokens(some_tokens(), REPLACE).batch(ROWS)
    table.seen(batch)[0].sum().backward()
    partners, _ = REPLACE.partners(ROWS)
    plain = some_tokens().batch(ROWS)
    touched = set(table.words.weight.grad.abs().sum(1).nonzero().flatten().tolist())  # type: ignore[union-attr]
    both = {*plain.input_ids[0].tolist(), *plain.input_ids[int(partners[0])].tolist()} - {0}
    assert touched - {0} == both


@pytest.mark.parametrize("mixup", [APPEND, REPLACE])
def test_one_text_alone_is_no_trouble(mixup: Mixup) -> None:
    batch = mixed(mixup).tokens.batch(np.array([3]))
    assert len(batch.input_ids) == 1 + mixup.append
    assert mixed(mixup).targets(np.array([3]), "cpu").classes is not None
