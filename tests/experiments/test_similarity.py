"""Similarity: what is alike measures nearer, by every measure; the trigram model is one of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.similarity import MEASURES, Generic, TrigramModel, Vectors, nearest

GENERIC = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "rain falls on the log"]
TEXTS = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=6)


def bags(texts: Sequence[str]) -> Vectors:
    """An encoder: unit vectors of letters counted."""
    counted = np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)
    vectors: Vectors = counted / np.linalg.norm(counted, axis=1, keepdims=True)
    return vectors


@pytest.mark.parametrize("measure", MEASURES)
def test_text_of_the_same_kind_is_nearer_than_text_of_another(measure: str) -> None:
    generic = Generic(GENERIC, bags)
    like, unlike = generic.similarity(["the dog sat on the mat"]), generic.similarity(["quiz jury vex pique"])
    assert getattr(like, measure) > getattr(unlike, measure)


def test_a_text_that_stands_there_is_as_near_as_can_be() -> None:
    found = Generic(GENERIC, bags).similarity(GENERIC)
    assert found.nearest == pytest.approx(1)
    assert found.centre == pytest.approx(1)
    assert found.vocabulary == 1


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.sampled_from(["a", "b", "zz", "<s>"]), max_size=2).map(tuple))
def test_probabilities_of_known_words_and_an_unknown_one_add_up_to_one(
    texts: list[str], before: tuple[str, ...]
) -> None:
    model = TrigramModel(texts)
    known = {word for text in texts for word in text.split()} | {"</s>"}
    assert sum(model.probability(word, before) for word in [*known, "never seen"]) == pytest.approx(1)


def test_the_model_is_witten_and_bells() -> None:
    """After 'a': b twice, c once, so 3 seen of 2 kinds; the unigram has 3 a, 2 b, 1 c, 3 ends of 4 kinds."""
    model = TrigramModel(["a b", "a b", "a c"])
    unigram = (2 + 4 / 5) / (9 + 4)
    bigram = (2 + 2 * unigram) / (3 + 2)
    assert model.probability("b", ("a",)) == pytest.approx(bigram)
    assert model.probability("b", ("<s>", "a")) == pytest.approx((2 + 2 * bigram) / (3 + 2))


@settings(max_examples=20, deadline=None)
@given(TEXTS)
def test_a_model_says_its_own_text_in_fewer_bits_than_words_it_never_saw(texts: list[str]) -> None:
    model = TrigramModel(texts)
    assert 0 < model.bits_per_word(texts) < model.bits_per_word(["x y z x y z"])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_nearest_is_what_brute_force_finds(rows: int, others: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, other = (draw.normal(size=(n, 4)).astype(np.float32) for n in (rows, others))
    expected = np.mean([max(float(a @ b) for b in other) for a in one])
    assert nearest(one, other) == pytest.approx(expected, rel=1e-4, abs=1e-5)
