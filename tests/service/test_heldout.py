"""Claims of decontamination: nothing held out leaks, short common utterances wipe nothing, and it is fast."""

from __future__ import annotations

import random
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.schemas import TASK
from service.heldout import (
    CLEAR,
    COSINE,
    EXACT,
    NGRAM,
    HeldoutSettings,
    equal_examples,
    folded,
    folded_words,
    hold_out,
    texts_of,
)
from tests.service.fake_index import WORDS, HashingEncoder, generic_texts

UTTERANCE = "what is the balance of my savings account"


def verdict(text: str, heldout: list[str], settings: HeldoutSettings | None = None) -> int:
    return int(hold_out(heldout, settings or HeldoutSettings()).judge([text])[0])


def rows(*texts: str | tuple[str, str]) -> pa.Table:
    pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
    records = [{"id": str(n), "text": a, "text_pair": b, "split": "test"} for n, (a, b) in enumerate(pairs)]
    return pa.Table.from_pylist(records, schema=TASK)


@pytest.mark.parametrize(
    "text",
    [
        UTTERANCE,
        UTTERANCE.upper(),
        "What is the  balance\tof my savings account?!",
        "what is the balance, of my savings account\u2026",
        "«what is the balance of my savings account»",
    ],
)
def test_case_punctuation_and_white_space_hide_no_equal_text(text: str) -> None:
    assert verdict(text, [UTTERANCE]) == EXACT


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9", "cafe\u0301"), ("Straße", "STRASSE"), ("what's up", "Whats up")]
)
def test_spellings_of_one_text_are_equal(one: str, other: str) -> None:
    assert verdict(one, [other]) == EXACT


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_texts_of_plain_letters_are_folded_as_all_others(text: str) -> None:
    """They take a short cut; a letter beyond ASCII in the same text sends it the long way round."""
    assert folded_words(f"{text} é") == [*folded_words(text), "é"]


def test_texts_without_words_are_equal_only_to_themselves() -> None:
    assert verdict("?!", ["..."]) == CLEAR
    assert verdict(" ?! ", ["?!"]) == EXACT
    assert verdict("", ["?!", ""]) == EXACT
    assert folded_words("") == []


def test_a_passage_that_contains_most_of_an_utterance_is_near() -> None:
    assert verdict(f"he asked: '{UTTERANCE}', and waited for an answer", [UTTERANCE]) == NGRAM
    assert verdict("what is the balance of my savings, she said", [UTTERANCE]) == NGRAM  # 5 of 6 trigrams
    assert verdict("the balance of the world is not a savings account", [UTTERANCE]) == CLEAR


def test_short_common_utterances_wipe_nothing_but_their_equals() -> None:
    heldout = ["yes", "thank you", "what is that", "how are you"]
    assert verdict("Yes, thank you, and how are you? What is that?", heldout) == CLEAR
    assert verdict("Thank you!", heldout) == EXACT


def test_held_out_text_is_found_among_many_utterances_that_share_its_words() -> None:
    heldout = [f"what is the balance of my {thing} account" for thing in ("savings", "current", "other", "joint")]
    assert verdict("tell me what is the balance of my joint account", heldout) == NGRAM
    assert verdict("what is the meaning of my life", heldout) == CLEAR


def test_nothing_held_out_lets_everything_through() -> None:
    assert hold_out([], HeldoutSettings(cosine=0.5)).judge(["a", "b"]).tolist() == [CLEAR, CLEAR]
    assert hold_out(["a"], HeldoutSettings()).judge([]).tolist() == []


@pytest.mark.parametrize("wrong", [{"ngram": 0}, {"containment": 0}, {"containment": 1.1}, {"cosine": 2}, {"n": 3}])
def test_a_setting_out_of_bounds_or_unknown_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        HeldoutSettings.model_validate(wrong)


texts = st.lists(st.sampled_from(WORDS[:6]), max_size=9).map(" ".join)


@given(
    st.lists(texts, min_size=1, max_size=8),
    st.lists(texts, max_size=8),
    st.integers(1, 4),
    st.sampled_from([0.3, 0.5, 0.75, 1.0]),
)
def test_the_inverted_index_finds_what_comparing_all_pairs_finds(
    heldout: list[str], passages: list[str], n: int, containment: float
) -> None:
    settings = HeldoutSettings(ngram=n, containment=containment, min_words=3)
    expected = [_by_all_pairs(passage, heldout, settings) for passage in passages]
    assert hold_out(heldout, settings).judge(passages).tolist() == expected


def _by_all_pairs(passage: str, heldout: list[str], settings: HeldoutSettings) -> int:
    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + settings.ngram]) for i in range(len(words) - settings.ngram + 1)}

    if passage in heldout:
        return EXACT
    for utterance in heldout:
        own = grams(utterance)
        if len(utterance.split()) >= settings.min_words and own:
            share = len(own & grams(passage)) / len(own)
            if share >= settings.containment - 1e-9:
                return NGRAM
    return CLEAR


@given(st.text(max_size=30))
def test_folding_is_stable_and_a_text_is_always_equal_to_itself(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert verdict(text, [text]) == EXACT


def test_cosine_finds_what_words_in_another_order_hide() -> None:
    heldout, settings = hold_out([UTTERANCE], HeldoutSettings(cosine=0.99), HashingEncoder()), HeldoutSettings()
    shuffled = "account savings my of balance the is what"
    assert heldout.judge([shuffled, UTTERANCE, "rock music tonight"]).tolist() == [COSINE, EXACT, CLEAR]
    assert hold_out([UTTERANCE], settings).judge([shuffled]).tolist() == [CLEAR]


def test_cosine_judges_more_passages_than_one_batch_in_their_order() -> None:
    heldout = hold_out([UTTERANCE], HeldoutSettings(cosine=0.99), HashingEncoder())
    passages = generic_texts(2500)
    passages[1700] = "account savings my of balance the is what"
    assert np.flatnonzero(heldout.judge(passages)).tolist() == [1700]


def test_an_utterance_equal_to_a_held_out_one_is_found_and_a_pair_counts_as_a_pair() -> None:
    own = rows("Play jazz!", "stop", ("a man", "a cat"), ("a man", "a dog"))
    heldout = [rows("play jazz"), rows(("A man.", "a dog"), ("stop", "now"))]
    assert equal_examples(own, heldout).tolist() == [True, False, False, True]
    assert equal_examples(own, []).tolist() == [False] * 4


def test_both_texts_of_a_pair_are_held_out() -> None:
    assert sorted(texts_of(rows("one", ("two", "three")))) == ["one", "three", "two"]


def test_fifteen_thousand_utterances_hold_out_of_many_passages_in_seconds() -> None:
    words = [f"w{n}" for n in range(3000)]
    draw = random.Random(0)

    def make(least: int, most: int) -> str:
        # Zipf-like: common words and common beginnings, as in real utterances
        tail = [words[int(3000 * draw.random() ** 3)] for _ in range(draw.randint(least, most))]
        return " ".join([*draw.choice((["w0", "w1", "w2"], ["w3", "w1", "w4"], [])), *tail])

    utterances, passages = [make(3, 10) for _ in range(15_000)], [make(5, 40) for _ in range(20_000)]
    passages[7] = f"w5 {utterances[3]} w6"
    begun = time.process_time()
    heldout = hold_out(utterances, HeldoutSettings(min_words=4))
    verdicts = heldout.judge(passages)
    assert time.process_time() - begun < 8  # 20,000 passages; 300,000 take fifteen times the judging
    assert verdicts[7] == NGRAM
