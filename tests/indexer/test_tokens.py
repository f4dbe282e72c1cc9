"""Tokenizing: equal words become equal terms, wherever and in whatever company they stand."""

import numpy as np
import pyarrow as pa
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput
from indexer.bm25.postings import invert
from indexer.bm25.tokens import MAX_TERM_CHARACTERS, Tokenizer
from indexer.lexical import LexicalIndex, LexicalSettings

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


# Small real-looking corpora, and for each query the passage that must come first.
SCRIPTS = {
    "chinese": (
        ["我想在巴黎订一家便宜的酒店", "明天北京的天气怎么样", "请播放周杰伦的音乐", "帮我设一个七点的闹钟"],
        {"播放音乐": 2, "北京天气": 1, "巴黎酒店": 0, "七点闹钟": 3},
    ),
    "japanese": (
        [
            "東京の明日の天気を教えて",
            "ジャズの音楽をかけてください",
            "七時に目覚ましをセットして",
            "近くのレストランを予約したい",
        ],
        {"天気 東京": 0, "音楽をかけて": 1, "ﾚｽﾄﾗﾝの予約": 3, "目覚まし": 2},
    ),
    "korean": (
        ["서울에서 가까운 식당을 예약해 줘", "내일 부산의 날씨가 어때", "재즈 음악을 틀어줘", "일곱 시에 알람을 맞춰"],
        {"서울 식당 예약": 0, "부산 날씨": 1, "음악": 2, "알람": 3},
    ),
    "thai": (
        ["จองโรงแรมราคาถูกในกรุงเทพ", "พรุ่งนี้อากาศเป็นอย่างไร", "เปิดเพลงแจ๊สให้หน่อย", "ตั้งนาฬิกาปลุกเจ็ดโมง"],
        {"โรงแรม กรุงเทพ": 0, "อากาศพรุ่งนี้": 1, "เพลงแจ๊ส": 2, "นาฬิกาปลุก": 3},
    ),
    "mixed": (
        ["我的iPhone手机没电了", "iPhone battery replacement", "用Spotify播放jazz音乐🎵", "手机壳"],
        {"iPhone没电": 0, "battery": 1, "jazz🎵音乐": 2, "壳": 3},
    ),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("language", ["none", "english"])
def test_a_query_finds_its_passage_in_every_script(script, language):
    texts, expected = SCRIPTS[script]
    chosen = LexicalSettings(language=language)
    shard = invert(chosen.tokenizer.tokens([pa.array(texts)]))
    index = LexicalIndex([shard], shard.terms, np.diff(shard.starts), chosen)
    scores, rows = index.search([*expected], 1)
    assert rows[:, 0].tolist() == [*expected.values()]
    assert (scores > 0).all()


def test_hangul_is_found_whatever_hangs_on_a_word():
    assert {"서", "울", "서울"} <= {*terms(["서울에서"])[0]}
    assert terms(["서울"]) == terms(["\u1109\u1165\u110b\u116e\u11af"])  # in letters, as some systems write file names


def test_marks_stay_on_the_letter_they_stand_on():
    assert terms(["ที่"], Tokenizer("none")) == [["ที่"]]
    assert terms(["ที่นี่"], Tokenizer("none")) == [["ที่", "นี่", "ที่นี่"]]
    assert terms(["कि"], Tokenizer("none")) == [["कि"]]


def test_emoji_part_words_and_are_none():
    assert terms(["play🎵jazz ❤️love 👨‍👩‍👧 1️⃣ 🏳️‍🌈"]) == [["play", "jazz", "love", "1"]]


def test_what_cannot_be_seen_parts_no_word():
    assert terms(["inter\u00adesting \ufeffhello he\u2060llo"], Tokenizer("none")) == [
        ["interesting", "hello", "hello"]
    ]


def test_stop_words_hold_for_scripts_without_spaces_too():
    assert terms(["我的手"], Tokenizer("none", ("的",))) == [["我", "手", "我的", "的手"]]
    assert terms(["的"], Tokenizer("none", ("的",))) == [[]]


@pytest.mark.parametrize("letter", ["a", "é", "音", "👍", "\u0301", "-"])
def test_a_word_of_a_million_characters_is_survived(letter):
    (found,) = terms(["x " + letter * 1_000_000 + " y"], Tokenizer("none"))
    assert (found[0], found[-1]) == ("x", "y")
    assert max(map(len, found)) <= MAX_TERM_CHARACTERS


def test_a_passage_of_a_million_words_keeps_them_all():
    tokens = Tokenizer().tokens([pa.array(["jazz music " * 500_000, "jazz"])])
    assert tokens.starts.tolist() == [0, 1_000_000, 1_000_001]
    assert np.bincount(tokens.terms).tolist() == [500_001, 500_000]


def test_a_slice_of_a_larger_array_gives_its_own_texts():
    texts = pa.array(["one two", "three", "four five", "six"])
    tokens = Tokenizer("none").tokens([texts.slice(1, 2), texts.slice(4)])
    assert tokens.vocabulary.take(pa.array(tokens.terms)).to_pylist() == ["three", "four", "five"]
