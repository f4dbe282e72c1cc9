"""Claims of wordings and of the edits on them: text is kept to the character, and a probability is one."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.augmentation.edits import OfEach, Synonyms, delete, swap
from distill.augmentation.operations import Operation, in_order
from distill.augmentation.synonyms import synonyms_in
from distill.augmentation.wording import NO_ORIGIN, another_text, core_of, read_wording

texts = st.text(st.sampled_from("ab 界ก,.\t’é"), max_size=30)
LONG = " ".join(f"w{number}" for number in range(4000))
TABLE = synonyms_in({"Film": ["movie", "FILM", " "], "see": ["watch"]})


def draws(number: int = 1, seed: int = 0) -> list[random.Random]:
    return [random.Random(seed + index) for index in range(number)]


def once(operation: Operation, text: str, seed: int = 0, tokens: Sequence[str] | None = None) -> str:
    return operation([read_wording(text, tokens)], draws(seed=seed))[0].text


@given(texts)
def test_a_wording_is_its_text_to_the_character(text: str) -> None:
    wording = read_wording(text)
    assert wording.text == text
    assert wording.origins == tuple(range(len(wording.words)))


def test_a_wording_has_the_tasks_words_where_they_stand_in_it() -> None:
    assert read_wording("don't go, now", ["do", "n't", "go", "now"]).words == ("do", "n't", "go", "now")
    assert read_wording("don't go", ["do", "not", "go"]).words == ("don't", "go"), "which do not stand there"


@given(texts, st.integers(0, 9))
def test_swapped_words_are_the_words_they_were(text: str, seed: int) -> None:
    [swapped] = OfEach(swap, 0.5)([read_wording(text)], draws(seed=seed))
    plain = read_wording(text)
    assert sorted(swapped.words) == sorted(plain.words)
    assert swapped.words == tuple(plain.words[origin] for origin in swapped.origins)
    assert (swapped.gaps, swapped.tail) == (plain.gaps, plain.tail)


@given(texts, st.integers(0, 9))
def test_deleting_leaves_words_in_their_order_and_at_least_one(text: str, seed: int) -> None:
    [left] = OfEach(delete, 0.9)([read_wording(text)], draws(seed=seed))
    plain = read_wording(text)
    assert bool(left.words) == bool(plain.words)
    assert list(left.origins) == sorted(left.origins)
    assert left.words == tuple(plain.words[origin] for origin in left.origins)


def test_deleting_takes_what_stands_before_a_word_and_no_more() -> None:
    wording = read_wording("  one two,  three!")
    assert wording.without([1]).text == "  one  three!"
    assert wording.without([0]).text == "  two,  three!"
    assert wording.without([2]).text == "  one two,"


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_a_probability_is_that_of_each_word(probability: float) -> None:
    plain, everywhere = read_wording(LONG), {f"w{number}": ["other"] for number in range(4000)}
    [left] = OfEach(delete, probability)([plain], draws())
    [replaced] = Synonyms(synonyms_in(everywhere), probability)([plain], draws())
    [swapped] = OfEach(swap, probability)([plain], draws())
    assert abs(1 - len(left.words) / 4000 - probability) < 0.03
    assert abs(replaced.words.count("other") / 4000 - probability) < 0.03
    moved = sum(word != f"w{place}" for place, word in enumerate(swapped.words)) / 4000
    assert probability < moved < 2 * probability + 0.03, "each swap moves two words"


def test_operations_are_done_in_their_order() -> None:
    """Of a text whose every word is deleted but one nothing is left to swap; swapped first, another one is left."""
    deleting, renaming = OfEach(delete, 0.5), Synonyms(synonyms_in({"see": ["see the"]}), 1.0)

    def done(*operations: Operation) -> list[str]:
        return [wording.text for wording in in_order(operations, [read_wording("see film see")] * 20, draws(20))]

    assert done(deleting, renaming) != done(renaming, deleting)
    first_renamed = Synonyms(synonyms_in({"see": ["view"]}), 1.0)
    then_renamed = Synonyms(synonyms_in({"view": ["watch"]}), 1.0)
    assert done(first_renamed, then_renamed)[0] == "watch film watch"
    assert done(then_renamed, first_renamed)[0] == "view film view"


def test_synonyms_keep_marks_and_capitals_and_no_word_is_its_own() -> None:
    renamed = Synonyms(TABLE, 1.0)
    assert once(renamed, 'See "the film"!') == 'Watch "the movie"!'
    assert once(renamed, "FILM") == "Movie"
    assert once(renamed, "?! ...") == "?! ..."


def test_a_texts_copy_hangs_on_no_other_text() -> None:
    operation = OfEach(swap, 0.5)
    alone = operation([read_wording(LONG)], draws(seed=3))
    among = operation([read_wording("a b"), read_wording(LONG)], [random.Random(9), random.Random(3)])
    assert among[1] == alone[0]


@pytest.mark.parametrize("text", ["", " ", "one", "?"])
def test_short_texts_are_no_trouble(text: str) -> None:
    for operation in (OfEach(swap, 1.0), OfEach(delete, 1.0), Synonyms(TABLE, 1.0)):
        assert once(operation, text) == text


def test_a_text_written_anew_has_no_word_of_the_first() -> None:
    fresh = another_text("quite new")
    assert fresh.text == "quite new"
    assert not fresh.keeps_words
    assert set(fresh.origins) == {NO_ORIGIN}


def test_the_marks_around_a_word_are_told_from_it() -> None:
    assert core_of("(don't!)") == ("(", "don't", "!)")
    assert core_of("...") == ("...", "", "")
