"""Passages: nothing lost, nothing too long, whatever the text; and in bounded time."""

import time
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.schemas import CORPUS
from indexer.reading.passages import (
    Bounds,
    _sentences,
    clean,
    count_words,
    split_document,
    split_documents,
)
from indexer.reading.sources import DOCUMENT

ANY_TEXT = st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=400)
PROSE = st.lists(
    st.sampled_from(["Word", "word", "Dr.", "end.", "End!", "(so)", "e.g.", "日本語。", "x" * 250, "\n\n", "\u200b"]),
    max_size=120,
).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(ANY_TEXT | PROSE)
def test_clean_text_is_nfc_single_spaced_and_stays_as_it_is(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert "  " not in cleaned
    assert cleaned == cleaned.strip()
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)


def test_clean_composes_and_takes_out_what_nobody_sees():
    assert clean("cafe\u0301\x00\ufeff  a\u00adb\t\u00a0c\u200bd\r\n") == "café ab cd"
    assert clean("می\u200cخواهم") == "می\u200cخواهم"  # spelled with a joiner


@settings(max_examples=40, deadline=None)
@given(ANY_TEXT | PROSE, st.integers(1, 12))
def test_no_piece_is_longer_than_the_bound_and_no_word_is_lost(text, max_words):
    pieces = split_document(text, Bounds(1, max_words))
    assert all(n_words == count_words(piece) <= max_words for piece, n_words in pieces)
    assert all(clean(piece) == piece for piece, _ in pieces)
    joined = "".join("".join(piece for piece, _ in pieces).split())
    assert joined == "".join(clean(text).split())


@settings(max_examples=40, deadline=None)
@given(PROSE)
def test_a_document_within_the_bound_stays_whole(text):
    n_words = count_words(clean(text))
    assert split_document(text, Bounds(1, max(n_words, 1))) == [(clean(text), n_words)]


def test_documents_are_split_between_sentences():
    text = "Dr. Smith left at once. He took No. 5, e.g. the bus! Did it rain? No.\n\nA title\n\nThe end (really.) Yes."
    pieces = [piece for piece, _ in split_document(text, Bounds(1, 9))]
    assert pieces == [
        "Dr. Smith left at once.",
        "He took No. 5, e.g. the bus!",
        "Did it rain? No. A title The end (really.)",
        "Yes.",
    ]


def test_a_sentence_that_never_fits_is_cut():
    pieces = split_document("a b c d e f g. Then.", Bounds(1, 3))
    assert pieces == [("a b c", 3), ("d e f", 3), ("g. Then.", 2)]


def test_text_without_spaces_is_counted_by_characters():
    assert count_words("東京は晴れです") == 4
    assert count_words("x" * 250) == 3
    assert len(split_document("日本語の文章です。" * 50, Bounds(1, 20))) > 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ภาษาไทยเขียนติดกันไม่มีช่องว่าง", 7),
        ("ປະເທດລາວເປັນປະເທດທີ່ສວຍງາມ", 6),
        ("ភាសាខ្មែរជាភាសាផ្លូវការ", 5),
        ("我们明天去北京看朋友", 6),
        ("བོད་ཀྱི་སྐད་ཡིག", 4),
    ],
    ids=["thai", "lao", "khmer", "chinese", "tibetan"],
)
def test_words_of_scripts_without_spaces_are_about_as_many_as_a_reader_counts(text, words):
    assert abs(count_words(text) - words) <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["ที่", "น้ำ", "ค่ำ", "ก", "ກໍ່", "မြို့", "ខ្មែ", "日", "བྱེ"]), max_size=60), st.integers(1, 6))
def test_no_mark_is_cut_off_its_letter(letters, max_words):
    """Vowels and tones of Thai, Lao, Burmese and Khmer stand above and below the letters before them."""
    for piece, _ in split_document("".join(letters), Bounds(1, max_words)):
        assert not piece or unicodedata.category(piece[0])[0] != "M"


@pytest.mark.parametrize(
    "sentences",
    [
        ["Am 3. Oktober kam Dr. Meier, d. h. spät.", "Er blieb z. B. bis 5. Mai.", "Dann ging er."],
        ["Il vit M. Dupont et Mme. Durand.", "Puis il partit."],
        ["А. С. Пушкин родился в г. Москве.", "Он писал стихи и т. д. весьма рано.", "Вот."],
        [
            "He was born in the U.S. in 1990.",
            "She came at 5 p.m. on Monday.",
            "It cost No. 5 to win.",
            "Is it?",
            "Yes!",
        ],
        ["यह पहला वाक्य है।", "यह दूसरा वाक्य है।"],
        ["هذا سؤال؟", "وهذا جواب طويل.", "انتهى الكلام هنا."],
        ["یہ پہلا جملہ ہے۔", "یہ دوسرا جملہ ہے۔"],
        ["これは最初の文です。", "これは次の文です！", "「本当ですか？」", "と聞いた。"],
        ["ይህ የመጀመሪያው ዓረፍተ ነገር ነው።", "ይህ ሁለተኛው ነው።"],
    ],
    ids=["german", "french", "russian", "english", "hindi", "arabic", "urdu", "japanese", "amharic"],
)
def test_sentences_of_many_languages_are_told_apart(sentences):
    between = "" if sentences[0][-1] == "。" else " "
    assert list(_sentences(between.join(sentences))) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "word " * 200_000,
        "x" * 1_000_000,
        "." * 200_000,
        "Yes. " * 60_000,
        "\n" * 200_000,
        "\n " * 200_000 + "a",
        "日本" * 60_000,
        "a" + "\u0301\u0323" * 60_000,
        "((((( " * 50_000,
        '."' * 60_000,
    ],
    ids=["words", "word", "stops", "sentences", "lines", "spaced lines", "kanji", "marks", "brackets", "quotes"],
)
def test_monstrous_documents_are_split_in_bounded_time(text):
    started = time.process_time()
    assert all(n_words <= 64 for _, n_words in split_document(text, Bounds()))
    assert time.process_time() - started < 5


def batch_of(*texts: str, ids: list[str] | None = None) -> pa.RecordBatch:
    ids = ids or [f"d{number}" for number in range(len(texts))]
    columns = [pa.array(ids), pa.array(texts, pa.string()), pa.array(["s"] * len(ids)), pa.array(["en"] * len(ids))]
    return pa.RecordBatch.from_arrays(columns, names=DOCUMENT.names)


def test_pieces_of_a_split_document_are_numbered_and_keep_its_source():
    split = split_documents(batch_of("a b c d e f", "too", "x y z"), Bounds(3, 3))
    assert split.passages.column("passage_id").to_pylist() == ["d0#1", "d0#2", "d2"]
    assert split.passages.column("source").to_pylist() == ["s"] * 3
    assert split.passages.schema == CORPUS
    assert split.too_short == ["d1"]


@settings(max_examples=40, deadline=None)
@given(st.lists(PROSE, max_size=8), st.integers(1, 4), st.integers(4, 9))
def test_every_piece_is_a_passage_or_too_short(texts, min_words, max_words):
    split = split_documents(batch_of(*texts), Bounds(min_words, max_words))
    pieces = sum(len(split_document(text, Bounds(min_words, max_words))) for text in texts)
    assert pieces == split.passages.num_rows + len(split.too_short)
    words = split.passages.column("n_words").to_pylist()
    assert all(min_words <= n_words <= max_words for n_words in words)
