"""What is read off a transfer set a chunk at a time, and mapped, is what one reads of all texts at once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.store import Store
from distill.objectives.alignment import align, read_aligned
from distill.reading.texts import Texts, read_texts
from distill.reading.tokens import Tokens, Wanted, read_tokens, tokenize
from distill.reading.words import Words, WordSpans, gather_words, pair_words, split_words
from tests.distill.tiny import make_transfer_set, neighbour
from tests.distill.tokenizers_for_tests import SENTENCES, TOKENIZERS

LONGEST = 12
ODD = ["", "東京まで2泊", "play", "🙂 7:30", "X" * 40]


@pytest.fixture(params=[False, True], ids=["single", "pairs"])
def texts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    """Texts that are read three at a time."""
    monkeypatch.setattr("distill.reading.texts.CHUNK", 3)
    monkeypatch.setattr("distill.reading.texts._BLOCK", 5)
    pair = "and so on" if request.param else None
    rows = [
        {"utterance_id": f"u{number}", "text": text, "text_pair": pair, "neighbours": [neighbour(f"{text} {odd}")]}
        for number, (text, odd) in enumerate(zip([*SENTENCES, "rain"], ODD, strict=True))
    ]
    return read_texts(make_transfer_set(Store(tmp_path), "t", rows))


def whole(texts: Texts) -> tuple[list[str], list[str | None]]:
    return texts.table["text"].to_pylist(), texts.table["text_pair"].to_pylist()


def same(one: Any, other: Any) -> bool:
    """Whether all arrays of two of a kind are equal."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Tokens | Words):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return bool(one == other)


def spans_of(wanted: Wanted, sentences: Sequence[str], pairs: Sequence[str | None]) -> WordSpans | None:
    if wanted == "none":
        return None
    if wanted == "words":
        return gather_words(map(split_words, sentences))
    return gather_words(map(pair_words, sentences, pairs))


@pytest.mark.parametrize("wanted", ["none", "words", "all words"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_of_chunks_are_those_of_all_texts(texts: Texts, name: str, wanted: Wanted) -> None:
    tokenizer, (sentences, pairs) = TOKENIZERS[name](), whole(texts)
    expected = tokenize(tokenizer, sentences, pairs, max_length=LONGEST, words=spans_of(wanted, sentences, pairs))
    for _ in ("laid down", "read again"):
        read = read_tokens(texts, tokenizer, max_length=LONGEST, words=wanted)
        assert same(read, expected)
        rows = np.array([4, 0, len(read) - 1])
        assert read.batch(rows).input_ids.equal(expected.batch(rows).input_ids)


def test_other_settings_are_other_tokens(texts: Texts) -> None:
    one, other = (deepcopy(TOKENIZERS[name]()) for name in ("word pieces", "letters"))
    first = read_tokens(texts, one, max_length=LONGEST)
    assert not same(read_tokens(texts, one, max_length=LONGEST - 3), first)
    assert not same(read_tokens(texts, other, max_length=LONGEST), first)
    one.truncation_side = "left"
    read_tokens(texts, one, max_length=LONGEST)
    assert len([path for path in texts.shelf.folder.glob("tokens-*") if path.is_dir()]) == 4


@pytest.mark.parametrize(("one", "other"), [("word pieces", "letters"), ("unigrams", "byte pairs")])
def test_words_compared_in_chunks_are_those_of_all_texts(texts: Texts, one: str, other: str) -> None:
    sentences, pairs = whole(texts)
    words = spans_of("all words", sentences, pairs)
    cut = [
        tokenize(TOKENIZERS[name](), sentences, pairs, max_length=LONGEST, words=words).words for name in (one, other)
    ]
    assert cut[0] is not None
    assert cut[1] is not None
    expected = align(cut[0], cut[1])
    ours, theirs = read_aligned(texts, (TOKENIZERS[one](), LONGEST), (TOKENIZERS[other](), LONGEST))
    assert same(ours.compared, expected[0])
    assert same(theirs.compared, expected[1])


def test_what_is_mapped_takes_no_memory_until_it_is_looked_at(texts: Texts) -> None:
    read = read_tokens(texts, TOKENIZERS["letters"](), max_length=LONGEST)
    for array in (read.flat, read.offsets, read.seconds):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not array.flags.writeable
