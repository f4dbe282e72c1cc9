"""Alignment: two models that cut texts differently are compared on the same characters, and on nothing else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.objectives.alignment import align, read_alike
from distill.reading.tokens import Tokens, tokenize
from distill.reading.words import NO_TOKEN, Span, gather_words, pair_shift, pair_words, split_words
from tests.distill.piece_encoders import CUTS, make_tokenizer
from tests.distill.tokenizers_for_tests import SENTENCES, TOKENIZERS

ODD = ["don't", "7:30", "...", "Zürich", "ﬁne", "e\u0301t\u00e9", "東京まで2泊", "สวัสดี", "🙂🙂", "a\u200bb", "X" * 30]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
sentences = st.lists(st.sampled_from([*WORDS, *ODD]), max_size=9).map(" ".join)
lengths = st.integers(8, 30)
PAIRS = [("word pieces", "unigrams"), ("byte pairs", "letters"), ("letters", "word pieces"), ("unigrams", "byte pairs")]


def both(
    one: str, other: str, texts: list[str], seconds: list[str | None], longest: tuple[int, int] = (99, 99)
) -> tuple[Tokens, Tokens]:
    words = gather_words(pair_words(text, pair) for text, pair in zip(texts, seconds, strict=True))
    cut = [
        tokenize(TOKENIZERS[name](), texts, seconds, max_length=most, words=words)
        for name, most in zip((one, other), longest, strict=True)
    ]
    return aligned(cut[0], cut[1])


def aligned(one: Tokens, other: Tokens) -> tuple[Tokens, Tokens]:
    assert one.words is not None
    assert other.words is not None
    ours, theirs = align(one.words, other.words)
    return replace(one, compared=ours), replace(other, compared=theirs)


def characters_of(name: str, text: str, pair: str | None, longest: int) -> list[Span]:
    """Where each token stands, the second sentence after the first; special tokens nowhere."""
    given_texts = ([text],) if pair is None else ([text], [pair])
    encoded = TOKENIZERS[name]()(*given_texts, truncation=True, max_length=longest, return_offsets_mapping=True)
    shifts = [{0: 0, 1: pair_shift(text)}.get(which) for which in encoded.sequence_ids(0)]
    return [
        (0, 0) if shift is None else (start + shift, end + shift)
        for (start, end), shift in zip(encoded["offset_mapping"][0], shifts, strict=True)
    ]


def sharing(tokens: list[Span], word: Span) -> list[int]:
    return [place for place, (start, end) in enumerate(tokens) if max(start, word[0]) < min(end, word[1])]


def compared_by_hand(one: list[Span], other: list[Span], words: list[Span]) -> list[tuple[list[int], list[int]]]:
    """Word by word: the tokens of both; a word that shares a token with the word before is one with it."""
    found: list[tuple[list[int], list[int]]] = []
    for word in words:
        ours, theirs = sharing(one, word), sharing(other, word)
        if not (ours and theirs):
            continue
        if found and ({*found[-1][0]} & {*ours} or {*found[-1][1]} & {*theirs}):
            ours, theirs = sorted({*found[-1][0], *ours}), sorted({*found[-1][1], *theirs})
            found.pop()
        found.append((ours, theirs))
    return found


def shared_tokens(shares: torch.Tensor) -> list[list[int]]:
    """The tokens of each word of a text, (V, L)."""
    return [torch.nonzero(word).ravel().tolist() for word in shares if word.any()]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5), st.booleans(), lengths, lengths)
@settings(max_examples=60, deadline=None)
def test_words_are_said_by_the_tokens_that_share_a_character_with_them(
    one: str, other: str, pairs: list[tuple[str, str]], paired: bool, longest: int, longest_other: int
) -> None:
    """Cut at different lengths, of one sentence or two; the reference takes one word and one token at a time."""
    texts, seconds = [text for text, _ in pairs], [pair if paired else None for _, pair in pairs]
    ours, theirs = both(one, other, texts, seconds, (longest, longest_other))
    rows = np.arange(len(texts))[::-1].copy()
    batches = [tokens.batch(rows).compared for tokens in (ours, theirs)]
    for at, row in enumerate(rows):
        spans = [
            characters_of(name, texts[row], seconds[row], most)
            for name, most in ((one, longest), (other, longest_other))
        ]
        expected = compared_by_hand(spans[0], spans[1], pair_words(texts[row], seconds[row]))
        for side, shares in enumerate(batches):
            assert shares is not None
            assert shared_tokens(shares[at]) == [words[side] for words in expected]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_shares_of_a_word_are_equal_and_sum_to_one(one: str, other: str) -> None:
    for tokens in both(one, other, SENTENCES, [None] * 4):
        shares = tokens.batch(np.array([2, 0])).compared
        assert shares is not None
        assert shares.dtype == torch.float32
        totals = shares.sum(-1)
        assert torch.all(torch.isclose(totals, torch.ones_like(totals)) | (totals == 0))
        assert all(len({share for share in word.tolist() if share}) <= 1 for word in shares.flatten(0, 1))
        assert int((totals > 0).sum()) == sum(len(SENTENCES[row].split()) for row in (2, 0))


def test_both_sides_have_the_same_words_in_the_same_places() -> None:
    ours, theirs = both("word pieces", "letters", SENTENCES, [None] * 4, (9, 60))
    batches = [tokens.batch(np.array([3, 1, 0])).compared for tokens in (ours, theirs)]
    assert batches[0] is not None
    assert batches[1] is not None
    assert batches[0].shape[:2] == batches[1].shape[:2]
    assert torch.equal(batches[0].any(-1), batches[1].any(-1))


def test_a_tokenizer_beside_itself_compares_words_and_not_special_tokens() -> None:
    ours, theirs = both("byte pairs", "byte pairs", SENTENCES, [None] * 4)
    batch, other = ours.batch(np.arange(4)), theirs.batch(np.arange(4))
    assert batch.compared is not None
    assert other.compared is not None
    assert torch.equal(batch.compared, other.compared)
    assert not batch.compared[:, :, 0].any(), "[CLS] is no word"


def test_what_only_one_has_read_is_compared_with_nothing() -> None:
    text = "play some jazz by miles davis, please"
    ours, theirs = both("letters", "word pieces", [text, "play"], [None, None], (13, 99))
    assert ours.compared is not None
    assert theirs.compared is not None
    for tokens in (ours, theirs):
        assert tokens.compared is not None
        assert tokens.compared.offsets.tolist() == [0, 3, 4], "play some j(azz), and the other text's own"
        assert (tokens.compared.places != NO_TOKEN).all()


def test_characters_of_scripts_without_blanks_are_compared_as_far_as_both_part_them() -> None:
    """One tokenizer knows single characters, the other a piece of two: those two are one word."""
    wide, narrow = (
        make_tokenizer("unigrams", 40, words) for words in (["東京", "東京", "まで"] * 9, list("東京まで2泊"))
    )
    text = "東京まで2泊"
    words = gather_words([split_words(text)])
    cut = [tokenize(tokenizer, [text], [None], max_length=30, words=words) for tokenizer in (wide, narrow)]
    pieces = [len(tokens.flat) for tokens in cut]
    assert pieces[0] < pieces[1], "they cut it differently"
    ours, theirs = aligned(cut[0], cut[1])
    shares = [tokens.batch(np.zeros(1, np.int64)).compared for tokens in (ours, theirs)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0].shape[1] == shares[1].shape[1] < len(text)
    assert (shares[1] > 0).sum(-1).max() >= 2, "a word of two characters"
    for of_side in shares:
        assert (of_side > 0).sum(1).max() == 1, "no token says two words"


@pytest.mark.parametrize("texts", [[""], ["", ""], ["play", ""], ["\u200b"]])
def test_texts_of_nothing_are_no_fault(texts: list[str]) -> None:
    ours, _ = both("word pieces", "letters", texts, [None] * len(texts))
    shares = ours.batch(np.arange(len(texts))).compared
    assert shares is not None
    assert shares.shape[0] == len(texts)
    assert not shares[-1].any() or texts[-1]


def test_words_follow_one_another_in_every_text() -> None:
    for tokens in both("unigrams", "word pieces", SENTENCES, SENTENCES[::-1]):  # type: ignore[arg-type]
        assert tokens.compared is not None
        offsets = tokens.compared.offsets
        for start, stop in pairwise(offsets.tolist()):
            places, stops = tokens.compared.places[start:stop], tokens.compared.stops[start:stop]
            assert np.all(places[1:] >= stops[:-1])


# Whether there is anything to align


@cache
def trained(cut: Any, size: int = 90) -> Any:
    return make_tokenizer(cut, size)  # training one again makes another: ties fall as they like


def tokenizer_of(cut: Any, size: int = 90) -> Any:
    return deepcopy(trained(cut, size))


@pytest.mark.parametrize("cut", CUTS)
def test_tokenizers_read_alike_when_they_make_the_same_tokens(cut: Any) -> None:
    one, other = tokenizer_of(cut), tokenizer_of(cut)
    other("a text that is cut", truncation=True, max_length=8, padding="max_length")  # which it remembers
    other.model_max_length = 7
    assert read_alike(one, other)
    assert not read_alike(one, tokenizer_of(cut, size=70))
    assert not read_alike(one, tokenizer_of(CUTS[CUTS.index(cut) - 1]))


def test_the_same_pieces_cut_by_another_rule_are_not_read_alike() -> None:
    one, other = tokenizer_of("word pieces"), tokenizer_of("word pieces")
    other.backend_tokenizer.normalizer = None
    assert one.get_vocab() == other.get_vocab()
    assert not read_alike(one, other)


def test_models_that_are_told_other_things_do_not_read_alike() -> None:
    one, other = tokenizer_of("word pieces"), tokenizer_of("word pieces")
    other.model_input_names = ["input_ids", "attention_mask"]
    assert not read_alike(one, other)
