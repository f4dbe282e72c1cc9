"""Distinct words get one number each, whatever batches, hashes and lengths they come in."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.bm25 import words
from indexer.bm25.words import WordNumbers

TEXTS = st.lists(st.text(st.sampled_from("abcAZ19' .-\t\n\x00éß人"), max_size=24), max_size=10)


def expected(text: str, joining: str = "") -> list[str]:
    """The words of a text, a character at a time."""
    found = []
    for run in text.split(" ") if text.isascii() else _runs(text):
        for part in _runs(run):
            found += [part] if not part.isascii() else _pieces(part.lower(), joining)
    return found


def _runs(text: str) -> list[str]:
    return [run for run in "".join(" " if c in " \t\n\v\f\r" else c for c in text).split(" ") if run]


def _pieces(part: str, joining: str) -> list[str]:
    kept = "".join(c if c.isalnum() or c in joining else " " for c in part)
    return [piece for piece in kept.split(" ") if piece]


def numbered(batches: list[list[str]], joining: bytes = b"") -> list[list[str]]:
    numbers = WordNumbers(joining)
    for texts in batches:
        numbers.add(pa.array(texts, pa.string()))
    found = numbers.finish()
    distinct = found.distinct.to_pylist()
    assert len(set(distinct)) == len(distinct)
    assert np.array_equal(np.unique(found.numbers), np.arange(len(distinct)))
    return [[distinct[n] for n in found.numbers[a:b]] for a, b in zip(found.starts, found.starts[1:], strict=False)]


@given(st.lists(TEXTS, max_size=4), st.sampled_from(["", "'"]))
@settings(max_examples=150, deadline=None)
def test_words_are_pieces_of_ascii_and_whole_runs_of_other_letters(batches, joining):
    texts = [text for batch in batches for text in batch]
    assert numbered(batches, joining.encode()) == [expected(text, joining) for text in texts]


@given(st.lists(TEXTS, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_table_that_has_to_grow_gives_the_same_numbers(batches):
    with pytest.MonkeyPatch.context() as patch:
        whole = numbered(batches)
        patch.setattr(words, "_FIRST_WORDS", 1)
        patch.setattr(words, "_FIRST_LETTERS", 1)
        assert numbered(batches) == whole


def test_words_that_begin_alike_and_differ_late_are_two():
    long = "x" * 100
    assert numbered([[f"{long}1 {long}2 {long}1 abcdefg abcdefgh abcdefg\x00 {long}é {long}è"]]) == [
        [f"{long}1", f"{long}2", f"{long}1", "abcdefg", "abcdefgh", "abcdefg", f"{long}é", f"{long}è"]
    ]


@pytest.mark.parametrize("length", [5, 7, 8, 9, 16])
def test_ten_thousand_words_are_ten_thousand_numbers(length):
    every = [f"{n:0{length}d}" for n in range(10_000)]
    assert numbered([every, every[::-1]]) == [[word] for word in [*every, *every[::-1]]]


def test_words_with_one_hash_are_two_words():
    first, second = colliding()
    assert first != second
    assert numbered([[f"{first} {second} {first}"], [second]]) == [[first, second, first], [second]]


def colliding() -> tuple[str, str]:
    """Two words of sixteen letters whose second halves make up for the difference of their first."""
    draw = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
    heads = draw.choice(letters, (200_000, 8))
    mixed = (heads.copy().view("<u8")[:, 0] ^ words._SEED) * words._PRIME
    mixed ^= mixed >> np.uint64(32)
    tail = np.frombuffer(b"akbmcndo", np.uint8)
    for other in range(1, 200):
        tails = (mixed ^ mixed[other] ^ tail.view("<u8")[0]).view(np.uint8).reshape(-1, 8)
        fits = np.flatnonzero(np.isin(tails, letters).all(axis=1))
        for at in fits[fits != other]:
            return bytes([*heads[other], *tail]).decode(), bytes([*heads[at], *tails[at]]).decode()
    raise AssertionError("no collision found")
