"""Tokens: the flat array holds what the tokenizer says, and batches are what it would have padded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.models.pretrained import load_tokenizer
from distill.reading.tokens import CHUNK, tokenize
from tests.distill.tiny import FILLER, TOPICS

WORDS = " ".join([FILLER, *TOPICS.values(), "unknown"]).split()
sentences = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=9), st.booleans(), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_what_the_tokenizer_pads(
    encoder: Path, pairs: list[tuple[str, str]], paired: bool, longest: int
) -> None:
    tokenizer = load_tokenizer(encoder)
    texts, seconds = [text for text, _ in pairs], [second if paired else None for _, second in pairs]
    tokens = tokenize(tokenizer, texts, seconds, max_length=longest)
    given_texts = (texts, seconds) if paired else (texts,)
    expected = tokenizer(*given_texts, truncation=True, max_length=longest, padding=True, return_tensors="np")
    batch = tokens.batch(np.arange(len(texts)))
    assert np.array_equal(batch.input_ids.numpy(), expected["input_ids"])
    assert np.array_equal(batch.attention_mask.numpy(), expected["attention_mask"])
    assert tokens.lengths.tolist() == expected["attention_mask"].sum(1).tolist()
    assert batch.token_type_ids is not None
    for row, (_, second) in enumerate(pairs):
        if second or not paired:  # of an empty second sentence only a separator is left, which may be either's
            assert np.array_equal(batch.token_type_ids[row].numpy(), expected["token_type_ids"][row])


def test_rows_may_be_asked_for_in_any_order(encoder: Path) -> None:
    tokens = tokenize(load_tokenizer(encoder), ["play song", "rain", "lamp lamp lamp"], [None] * 3, max_length=16)
    batch, turned = tokens.batch(np.array([2, 0])), tokens.batch(np.array([0, 2]))
    assert np.array_equal(batch.input_ids.numpy(), turned.input_ids.numpy()[::-1])
    assert tokens.batch(np.array([1])).input_ids.shape == (1, 3)


def test_more_texts_than_a_chunk_come_back_in_order(encoder: Path) -> None:
    texts = [WORDS[index % len(WORDS)] for index in range(CHUNK + 7)]
    tokens = tokenize(load_tokenizer(encoder), texts, [None] * len(texts), max_length=16)
    assert len(tokens) == CHUNK + 7
    last = tokens.batch(np.array([CHUNK + 6])).input_ids
    assert last.equal(
        tokenize(load_tokenizer(encoder), texts[-1:], [None], max_length=16).batch(np.zeros(1, int)).input_ids
    )


def test_a_model_without_sentence_types_is_not_told_them(encoder: Path) -> None:
    tokenizer = load_tokenizer(encoder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    batch = tokenize(tokenizer, ["rain"], ["sun"], max_length=16).batch(np.zeros(1, np.int64))
    assert sorted(batch.inputs) == ["attention_mask", "input_ids"]


@pytest.mark.parametrize("paired", [False, True])
def test_no_text_is_longer_than_asked(encoder: Path, paired: bool) -> None:
    long = " ".join(WORDS * 30)
    tokens = tokenize(load_tokenizer(encoder), [long], [long if paired else None], max_length=16)
    assert tokens.lengths.tolist() == [16]
