"""Masked tokens: which are hidden, what a masked language model says there, and learning to say the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from contract.errors import BadInput
from distill.models.device import Device
from distill.models.masked import Masking, guessing, load_masked_lm
from distill.models.states import Said
from distill.objectives.masked import MaskedHead, masked_token_loss
from distill.reading.tokens import Batch
from tests.distill.masked_lms import WORDS, make_masked_lm, make_tokenizer
from tests.distill.tiny import make_encoder

CPU = Device("cpu", "float32")
CLS, SEP, PAD, MASK, FIRST = 2, 3, 0, 4, 5
MASKING = Masking.of(make_tokenizer())


def batch_of(texts: list[list[int]], length: int | None = None) -> Batch:
    """Texts of tokens between special ones, padded."""
    whole = [[CLS, *text, SEP] for text in texts]
    length = length or max(map(len, whole))
    ids = torch.tensor([text + [PAD] * (length - len(text)) for text in whole])
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in whole])
    return Batch(ids, mask, torch.zeros_like(ids))


def many(texts: int = 400, words: int = 20, seed: int = 0) -> Batch:
    draw = np.random.default_rng(seed)
    return batch_of(draw.integers(FIRST, len(WORDS), (texts, words)).tolist())


TEXTS = st.lists(st.lists(st.integers(FIRST, len(WORDS) - 1), max_size=12), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.integers(0, 2**62))
def test_of_each_text_15_percent_are_to_be_told_at_least_one_and_no_special_token(
    texts: list[list[int]], seed: int
) -> None:
    batch = batch_of(texts)
    masked = MASKING.hide(batch, seed)
    length = batch.input_ids.shape[1]
    told = np.bincount(masked.places.numpy() // length, minlength=len(texts)).tolist()
    assert told == [0 if not text else max(1, int(0.15 * len(text) + 0.5)) for text in texts]
    assert masked.tokens.tolist() == batch.input_ids.flatten()[masked.places].tolist()
    assert not {CLS, SEP, PAD} & {*masked.tokens.tolist()}
    kept = torch.ones(batch.input_ids.numel(), dtype=torch.bool)
    kept[masked.places] = False
    assert masked.batch.input_ids.flatten()[kept].equal(batch.input_ids.flatten()[kept])


def test_eight_in_ten_are_hidden_one_is_another_and_one_stays() -> None:
    masked = MASKING.hide(many(4000), 7)
    shown = masked.batch.input_ids.flatten()[masked.places]
    hidden, same = (shown == MASK).float().mean().item(), (shown == masked.tokens).float().mean().item()
    assert hidden == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / (len(WORDS) - FIRST), abs=0.02)
    other = shown[(shown != MASK) & (shown != masked.tokens)]
    assert other.unique().tolist() == list(range(FIRST, len(WORDS))), "any ordinary token, and no special one"


def test_every_place_and_every_token_is_told_about_as_often() -> None:
    batch = many(4000)
    places = MASKING.hide(batch, 3).places % batch.input_ids.shape[1]
    assert np.bincount(places)[1:21].std() < 0.1 * np.bincount(places)[1:21].mean()


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(0, 2**62), st.data())
def test_a_text_is_masked_alike_in_whatever_batch_it_stands(
    texts: list[list[int]], seed: int, data: st.DataObject
) -> None:
    """Batches, their padding, accumulation and other processes do not change what is learnt of a text."""
    row = data.draw(st.integers(0, len(texts) - 1))
    alone = MASKING.hide(batch_of([texts[row]], length=17), seed).batch.input_ids[0]
    together = MASKING.hide(batch_of(texts), seed).batch.input_ids[row]
    length = len(texts[row]) + 2
    assert alone[:length].equal(together[:length])


def test_another_update_masks_otherwise() -> None:
    one, same, other = (MASKING.hide(many(), seed).batch.input_ids for seed in (1, 1, 2))
    assert one.equal(same)
    assert (one != other).float().mean() > 0.15


def test_equal_tokens_at_other_places_are_drawn_apart() -> None:
    """No pattern runs through a text of one word again and again."""
    batch = batch_of([[FIRST] * 40, [FIRST] * 40 + [FIRST + 1]])
    places = MASKING.hide(batch, 0).places
    first, second = (set((places[places // 43 == row] % 43).tolist()) for row in (0, 1))
    assert len(first) == len(second) == 6
    assert first != second


def test_a_tokenizer_without_a_mask_token_gets_a_sentence() -> None:
    with pytest.raises(BadInput, match=r"no mask token.*teacher\.adapt"):
        Masking.of(SimpleNamespace(mask_token_id=None))


# The model


def test_the_head_says_of_a_place_what_it_says_of_the_whole_text(tmp_path: Path) -> None:
    """Only the places that are asked for are computed; the logits are those of transformers' own model."""
    loaded = load_masked_lm(make_masked_lm(tmp_path), CPU)
    assert loaded is not None
    model, found = loaded
    assert found
    model.eval()
    masked = MASKING.hide(many(5), 0)
    with torch.no_grad():
        whole = model.transformer(**masked.batch.inputs).logits.flatten(0, 1)[masked.places]
        assert torch.allclose(model(masked), whole, atol=1e-6)
        again = model.transformer(**masked.batch.inputs).logits
    assert again.shape == (5, 22, len(WORDS)), "nothing is left hanging on the encoder"


def test_a_head_that_is_not_there_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    plain = make_masked_lm(tmp_path / "plain", with_head=False)
    assert load_masked_lm(plain, CPU) is None
    assert load_masked_lm(make_encoder(tmp_path / "encoder"), CPU) is None
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made = load_masked_lm(plain, CPU, make=True)
        assert made is not None
        model, found = made
        assert not found
        output = model.transformer.get_output_embeddings()
        assert output.weight is model.transformer.get_input_embeddings().weight, "tokens are told by their embeddings"
        heads.append(model.transformer.cls.predictions.transform.dense.weight)
    assert heads[0].equal(heads[1])
    assert not heads[0].equal(heads[2])


def test_teacher_and_student_see_the_same_hidden_tokens() -> None:
    """Both draw from the seed of the update, each for itself."""
    seen: list[torch.Tensor] = []

    def guess(masked: object) -> torch.Tensor:
        seen.append(masked.batch.input_ids)  # type: ignore[attr-defined]
        return torch.zeros(())

    speak = guessing(lambda _: Said(None), guess, MASKING)
    torch.manual_seed(5)
    speak(many())
    torch.rand(3)  # dropout in between
    speak(many())
    torch.manual_seed(6)
    speak(many())
    assert seen[0].equal(seen[1])
    assert not seen[0].equal(seen[2])


# The objective


def logits(seed: int, rows: int = 6, tokens: int = 11) -> torch.Tensor:
    return torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_the_kl_from_the_teacher_times_the_square_of_the_temperature() -> None:
    student, teacher = logits(1), logits(2)
    shares, ours = ((each.double() / 3).softmax(-1) for each in (teacher, student))
    expected = 9 * (shares * (shares.log() - ours.log())).sum(-1).mean()
    found = masked_token_loss(student, teacher, temperature=3)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert masked_token_loss(teacher, teacher, temperature=3).item() == pytest.approx(0, abs=1e-6)
    assert found.item() != pytest.approx(masked_token_loss(teacher, student, temperature=3).item(), rel=1e-3)
    assert found.item() != pytest.approx(masked_token_loss(student.flip(0), teacher, temperature=3).item(), rel=1e-3)


def test_no_masked_place_teaches_nothing() -> None:
    student = logits(1, rows=0).requires_grad_()
    loss = masked_token_loss(student, logits(2, rows=0), temperature=2)
    loss.backward()
    assert loss.item() == 0


def test_rows_that_fill_up_a_table_are_not_compared() -> None:
    student, teacher = logits(1), logits(2)
    wide = torch.cat([teacher, torch.full((6, 5), 9.0)], dim=1)
    assert masked_token_loss(student, wide, temperature=2).equal(masked_token_loss(student, teacher, temperature=2))


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = logits(2).requires_grad_()
    masked_token_loss(logits(1).requires_grad_(), teacher, temperature=2).backward()
    assert teacher.grad is None


def test_the_students_head_tells_tokens_by_its_embeddings_and_does_not_keep_them() -> None:
    embeddings = nn.Embedding(11, 8)
    head = MaskedHead(8, embeddings)
    assert {name for name, _ in head.named_parameters()} == {
        "dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias",
    }  # fmt: skip
    head(torch.randn(3, 8)).sum().backward()
    assert embeddings.weight.grad is not None
    with torch.no_grad():
        before = head(torch.ones(1, 8))
        embeddings.weight[4, 0] += 1
        assert (head(torch.ones(1, 8)) != before).flatten().tolist() == [number == 4 for number in range(11)]
