"""Tokenizing: equal words become equal terms, wherever and in whatever company they stand."""

import numpy as np
import pyarrow as pa
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput
from indexer.tokens import MAX_TERM_CHARACTERS, Tokenizer

TEXTS = st.lists(st.text(st.sampled_from("aàbÀ ÄßZ'’3_.-\t\u00a0\u0301人ねก\U00020000"), max_size=30), max_size=12)


def terms(texts: list[str], tokenizer: Tokenizer | None = None, batch_rows: int = 3) -> list[list[str]]:
    """Every text's terms, read back from the numbers."""
    batches = [pa.array(texts[at : at + batch_rows], pa.string()) for at in range(0, len(texts), batch_rows)]
    tokens = (tokenizer or Tokenizer()).tokens(batches)
    words = tokens.vocabulary.to_pylist()
    return [[words[t] for t in tokens.terms[a:b]] for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]


@given(st.lists(st.lists(st.sampled_from(["Playing", "play", "SONGS", "the", "x1"]), max_size=6), max_size=12))
@settings(max_examples=50, deadline=None)
def test_plain_words_are_lowered_and_stemmed_in_order(texts):
    stem = Stemmer.Stemmer("english").stemWord
    assert terms([" ".join(words) for words in texts]) == [[stem(word.lower()) for word in words] for words in texts]


@given(TEXTS, st.integers(1, 5), st.sampled_from(["english", "german", "none"]))
@settings(max_examples=80, deadline=None)
def test_a_texts_terms_do_not_depend_on_its_company(texts, batch_rows, language):
    tokenizer = Tokenizer(language)
    together = terms(texts, tokenizer, batch_rows)
    assert together == [terms([text], tokenizer)[0] for text in texts]


@given(TEXTS)
@settings(max_examples=50, deadline=None)
def test_the_vocabulary_is_sorted_distinct_and_used(texts):
    tokens = Tokenizer().tokens([pa.array(texts, pa.string())])
    words = tokens.vocabulary.to_pylist()
    assert words == sorted(set(words))
    assert np.array_equal(np.unique(tokens.terms), np.arange(len(words)))
    assert all(words)


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_at_all_can_be_tokenized(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert all(term and " " not in term for term in terms([text])[0])


def test_punctuation_and_underscores_part_words():
    assert terms(["play_music, now! (3.5)"]) == [["play", "music", "now", "3", "5"]]


def test_english_contractions_are_one_word_with_or_without_the_apostrophe():
    assert terms(["don't", "don’t", "dont", "DON'T!"]) == [["dont"]] * 4
    assert terms(["Anna's 'quoted' dogs'"]) == [["anna", "quot", "dog"]]


def test_the_apostrophe_parts_words_in_other_languages():
    assert terms(["l'homme"], Tokenizer("french")) == [["l", "homm"]]


def test_full_width_and_ligature_letters_are_their_plain_ones():
    assert terms(["ＰＬＡＹ ﬁne e\u0301te\u0301"], Tokenizer("none")) == [["play", "fine", "été"]]


def test_scripts_without_spaces_give_characters_and_their_pairs():
    assert sorted(terms(["播放音乐"])[0]) == sorted(["播", "放", "音", "乐", "播放", "放音", "音乐"])
    assert terms(["猫"]) == [["猫"]]
    assert sorted(terms(["我的iPhone手机"], Tokenizer("none"))[0]) == sorted(
        ["iphone", "我", "的", "我的", "手", "机", "手机"]
    )


def test_a_language_has_its_own_stemmer_and_none_has_none():
    assert terms(["Häuser"], Tokenizer("german")) == [["haus"]]
    assert terms(["songs playing"], Tokenizer("none")) == [["songs", "playing"]]


def test_stop_words_make_no_terms_in_any_spelling_of_case():
    tokenizer = Tokenizer("english", ("The", "don't"))
    assert terms(["the THE theme don’t stop"], tokenizer) == [["theme", "stop"]]


def test_words_past_all_reading_keep_their_beginning():
    long = "ab" * 10_000
    assert terms([long + "x", long + "y"], Tokenizer("none")) == [[long[:MAX_TERM_CHARACTERS]]] * 2


def test_nothing_at_all_gives_nothing():
    tokens = Tokenizer().tokens([])
    assert tokens.starts.tolist() == [0]
    assert len(tokens.vocabulary) == 0
    assert terms(["", "  ", "...!", "'"]) == [[], [], [], []]


def test_an_unknown_language_is_named_with_those_there_are():
    with pytest.raises(BadInput, match=r"language is 'klingon'; expected one of arabic, .*english.*none"):
        Tokenizer("klingon")
