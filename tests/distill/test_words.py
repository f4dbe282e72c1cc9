"""Words: every word is found in its text, and is said by the same characters whatever the tokenizer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.reading.tokens import tokenize
from distill.reading.words import NO_TOKEN, gather_words, locate_words, pair_words, split_words
from tests.distill.tokenizers_for_tests import SENTENCES, TOKENIZERS

WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
ODD = ["don't", "7:30", "...", "Zürich", "ﬁne", "e\u0301t\u00e9", "漢字", "🙂", "a\u200bb", "X" * 30, "\u0301"]
words = st.lists(st.sampled_from([*WORDS, *ODD]) | st.text("abzäß'.-", min_size=1, max_size=5), min_size=1, max_size=9)
blanks = st.sampled_from([" ", "  ", "\t", " \n "])


@given(words, blanks)
@settings(max_examples=100, deadline=None)
def test_words_are_found_where_they_were_put(said: list[str], blank: str) -> None:
    spans = locate_words(blank.join(said), said)
    assert spans is not None
    assert [blank.join(said)[start:end] for start, end in spans] == said


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_words_nobody_cut_are_all_that_is_not_blank_in_order(text: str) -> None:
    spans = split_words(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert all(start < end for start, end in spans)


def test_scripts_without_blanks_are_cut_by_the_character() -> None:
    assert [("東京まで2泊"[start:end]) for start, end in split_words("東京まで2泊")] == [
        "東",
        "京",
        "ま",
        "で",
        "2",
        "泊",
    ]


@pytest.mark.parametrize("text", ["สวัสดีครับ", "ສະບາຍດີ", "မင်္ဂလာပါ", "សួស្តី"])
def test_scripts_of_south_east_asia_are_cut_by_the_character_too(text: str) -> None:
    characters = [(place, place + 1) for place in range(len(text))]
    assert split_words(f"{text} ok") == [*characters, (len(text) + 1, len(text) + 3)]


@given(st.lists(words, min_size=2, max_size=2), blanks)
@settings(max_examples=40, deadline=None)
def test_the_words_of_a_pair_are_those_of_both_sentences_laid_end_to_end(pair: list[list[str]], blank: str) -> None:
    first, second = (blank.join(said) for said in pair)
    whole = f"{first}\0{second}"
    found = [whole[start:end] for start, end in pair_words(first, second)]
    assert found == [sentence[start:end] for sentence in (first, second) for start, end in split_words(sentence)]
    assert pair_words(first, None) == split_words(first)


def test_a_mark_at_the_end_of_a_word_may_be_a_word_of_the_task() -> None:
    assert locate_words("is it hot?", ["is", "it", "hot", "?"]) == [(0, 2), (3, 5), (6, 9), (9, 10)]
    assert locate_words("is it hot?", ["it", "is"]) is None
    assert locate_words("is it hot?", ["is", ""]) is None


@pytest.mark.parametrize("name", TOKENIZERS)
@given(st.lists(words, min_size=1, max_size=6), blanks, st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_a_word_is_said_first_by_the_first_token_that_shares_a_character_with_it(
    name: str, texts: list[list[str]], blank: str, longest: int
) -> None:
    """And to the last; the reference looks at one word and one token at a time."""
    tokenizer, written = TOKENIZERS[name](), [blank.join(said) for said in texts]
    spans = [locate_words(text, said) for text, said in zip(written, texts, strict=True)]
    assert all(spans)
    tokens = tokenize(tokenizer, written, [None] * len(texts), max_length=longest, words=gather_words(spans))  # type: ignore[arg-type]
    assert tokens.words is not None
    first, stop = [], []
    for text, of_text in zip(written, spans, strict=True):
        cut = tokenizer(text, truncation=True, max_length=longest, return_offsets_mapping=True)["offset_mapping"]
        for start, end in of_text or []:
            sharing = [place for place, (begun, ended) in enumerate(cut) if max(start, begun) < min(end, ended)]
            first.append(min(sharing, default=NO_TOKEN))
            stop.append(max(sharing, default=NO_TOKEN - 1) + 1)
    assert tokens.words.places.tolist() == first
    assert tokens.words.stops.tolist() == stop


@pytest.mark.parametrize("one", TOKENIZERS)
@pytest.mark.parametrize("other", TOKENIZERS)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), min_size=1, max_size=5))
@settings(max_examples=10, deadline=None)
def test_what_one_tokenizer_says_of_words_another_reads_back(one: str, other: str, texts: list[list[str]]) -> None:
    """Word numbers put on the tokens of one, carried by word to the tokens of the other, and back, are the same."""
    written = [" ".join(said) for said in texts]
    spans = gather_words(split_words(text) for text in written)
    there, here = (
        tokenize(TOKENIZERS[name](), written, [None] * len(texts), max_length=200, words=spans) for name in (one, other)
    )
    assert there.words is not None
    assert here.words is not None
    rows = np.arange(len(texts))
    of_words = np.arange(len(spans.bounds))
    for tokens in (there, here):
        assert tokens.words is not None
        numbers, _ = tokens.words.of(rows)
        batch = tokens.batch(rows)
        assert batch.words is not None
        on_tokens = np.full(batch.input_ids.numel(), -1)
        on_tokens[batch.words.numpy()] = of_words[numbers]
        of_words = np.full(len(spans.bounds), -1)
        of_words[numbers] = on_tokens[batch.words.numpy()]
    assert of_words.tolist() == list(range(len(spans.bounds)))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_words_of_a_batch_follow_its_rows_in_any_order(name: str) -> None:
    spans = gather_words(split_words(text) for text in SENTENCES)
    tokens = tokenize(TOKENIZERS[name](), SENTENCES, [None] * 4, max_length=64, words=spans)
    rows = np.array([2, 0, 3])
    batch = tokens.batch(rows)
    assert tokens.words is not None
    assert batch.words is not None
    numbers, texts = tokens.words.of(rows)
    where = [divmod(flat, batch.input_ids.shape[1]) for flat in batch.words.tolist()]
    assert [row for row, _ in where] == texts.tolist()
    assert [tokens.words.places[number] for number in numbers] == [place for _, place in where]
    assert numbers.tolist() == [
        *range(*spans.offsets[2:4]), *range(*spans.offsets[0:2]), *range(*spans.offsets[3:5])
    ]  # fmt: skip


def test_words_beyond_the_cut_have_no_token() -> None:
    text = " ".join(WORDS[:12])
    spans = gather_words([split_words(text), split_words("play jazz")])
    tokens = tokenize(TOKENIZERS["word pieces"](), [text, "play jazz"], [None] * 2, max_length=8, words=spans)
    assert tokens.words is not None
    assert tokens.words.places[0] == 1
    assert tokens.words.places[11] == NO_TOKEN
    assert (tokens.words.places[12:] != NO_TOKEN).all(), "a text that was cut takes nothing from the next"
    batch = tokens.batch(np.array([0, 1]))
    assert batch.words is not None
    assert len(batch.words) == int((tokens.words.places != NO_TOKEN).sum())


def test_more_texts_than_a_chunk_keep_their_words() -> None:
    from distill.reading.tokens import CHUNK

    texts = [SENTENCES[row % 4] for row in range(CHUNK + 3)]
    spans = gather_words(split_words(text) for text in texts)
    tokens = tokenize(TOKENIZERS["word pieces"](), texts, [None] * len(texts), max_length=64, words=spans)
    few = tokenize(
        TOKENIZERS["word pieces"](), texts[-3:], [None] * 3, max_length=64, words=spans.slice(CHUNK, CHUNK + 3)
    )
    assert tokens.words is not None
    assert few.words is not None
    assert tokens.words.places[spans.offsets[CHUNK] :].tolist() == few.words.places.tolist()


def test_no_words_and_no_texts_are_no_fault() -> None:
    tokens = tokenize(TOKENIZERS["letters"](), ["", "  "], [None] * 2, max_length=8, words=gather_words([[], []]))
    assert tokens.words is not None
    batch = tokens.batch(np.arange(2))
    assert batch.words is not None
    assert batch.words.tolist() == []


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), max_size=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_how_words_are_packed_does_not_matter(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    whole = gather_words(split_words(text) for text in texts)
    with monkeypatch.context() as patched:
        patched.setattr("distill.reading.words._PACK_WORDS", 3)
        packed = gather_words(split_words(text) for text in texts)
    assert np.array_equal(whole.bounds, packed.bounds)
    assert np.array_equal(whole.offsets, packed.offsets)
    assert whole.bounds.tolist() == [list(span) for text in texts for span in split_words(text)]
