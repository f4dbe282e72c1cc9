"""Slots: tags are mended without moving a span, errors are counted as one would by hand, stored logits come back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, softmax
from seqeval.metrics.sequence_labeling import get_entities

from distill.reading.slots import TOP, Slot, SlotCounts, TopLogits, decode, is_tag, repair, slots_of, tags_of

TAGS = ["O", "B-a", "I-a", "B-b", "I-b", "B-c-d", "I-c-d"]
taggings = st.lists(st.sampled_from(TAGS), max_size=10)
PAIRS = st.integers(1, 10).flatmap(lambda n: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n)] * 2))


@given(taggings)
@settings(deadline=None)
def test_mended_tags_are_bio_and_have_the_same_spans(tags: list[str]) -> None:
    mended = repair(tags)
    assert repair(mended) == mended
    assert slots_of(mended) == [tuple(entity) for entity in get_entities(tags)]
    for before, tag in zip(["O", *mended], mended, strict=False):
        assert not tag.startswith("I-") or before[2:] == tag[2:]


@given(taggings)
@settings(deadline=None)
def test_tags_that_are_bio_stay_as_they_are(tags: list[str]) -> None:
    whole = repair(tags)
    assert [mended for mended, tag in zip(repair(whole), whole, strict=True) if mended != tag] == []


def test_what_goes_on_nothing_begins() -> None:
    assert repair(["I-a", "I-a", "O", "I-b", "B-b", "I-a"]) == ["B-a", "I-a", "O", "B-b", "B-b", "B-a"]


@pytest.mark.parametrize(("tag", "known"), [("O", True), ("B-x", True), ("I-x", True), ("B-", False), ("S-x", False),
                                            ("Odate", False), ("", False), ("b-x", False)])  # fmt: skip
def test_a_tag_is_bio_or_it_is_none(tag: str, known: bool) -> None:
    assert is_tag(tag) == known


def test_every_kind_may_begin_and_go_on() -> None:
    assert tags_of([["O", "I-z"], ["B-a"]]) == ("O", "B-a", "I-a", "B-z", "I-z")


def by_hand(gold: Sequence[Slot], said: Sequence[Slot]) -> int:
    """Errors with as many substitutions as can be: the best pairing of missed with wrong slots, by brute force."""
    missed, wrong = [s for s in gold if s not in said], [s for s in said if s not in gold]
    overlap = np.array([[m[1] <= w[2] and w[1] <= m[2] for w in wrong] for m in missed], float).reshape(
        len(missed), len(wrong)
    )
    rows, columns = linear_sum_assignment(-overlap)
    return len(missed) + len(wrong) - int(overlap[rows, columns].sum())


@given(PAIRS)
@settings(max_examples=400, deadline=None)
def test_errors_are_the_fewest_substitutions_deletions_and_insertions(pair: tuple[list[str], list[str]]) -> None:
    gold, said = map(repair, pair)
    counts = SlotCounts.of(gold, said)
    assert counts.errors == by_hand(slots_of(gold), slots_of(said))
    assert (counts.reference, counts.said) == (len(slots_of(gold)), len(slots_of(said)))
    assert counts.right == len({*slots_of(gold)} & {*slots_of(said)})
    assert (counts.errors == 0) == (gold == said)
    assert SlotCounts.of(said, gold).errors == counts.errors


@pytest.mark.parametrize(
    ("gold", "said", "errors"),
    [
        ("O B-a I-a O", "O B-a I-a O", 0),
        ("O B-a I-a O", "O B-b I-b O", 1),  # another kind: one substitution
        ("O B-a I-a O", "O B-a O O", 1),  # too short: one substitution
        ("O B-a I-a O", "O O O O", 1),  # a deletion
        ("O O O O", "O B-a I-a O", 1),  # an insertion
        ("B-a O O O", "O O O B-a", 2),  # elsewhere: a deletion and an insertion
        ("B-a I-a I-a O", "B-a B-a I-a O", 2),  # cut in two: a substitution and an insertion
        ("B-a B-b O B-a", "B-a B-c O O", 2),  # one right, a substitution, a deletion
    ],
)
def test_errors_by_hand(gold: str, said: str, errors: int) -> None:
    assert SlotCounts.of(gold.split(), said.split()).errors == errors


def test_a_text_gets_the_likeliest_tags_mended_and_words_without_a_token_are_outside() -> None:
    tags, logits = TAGS[:5], np.full((5, 5), -9.0, np.float32)
    for word, tag in enumerate([2, 2, 0, 3]):
        logits[word, tag] = 9
    logits[4] = np.nan
    assert decode(logits, tags, np.array([2, 0, 3])) == [["B-a", "I-a"], [], ["O", "B-b", "O"]]
    assert decode(logits[:0], tags, np.array([0, 0])) == [[], []]


LOGITS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(0, 3, (7, 3 * TOP)))


@given(LOGITS)
@settings(max_examples=40, deadline=None)
def test_stored_logits_keep_the_top_and_what_the_rest_weighs(logits: np.ndarray) -> None:
    kept = TopLogits.of(logits.astype(np.float32)).rows(np.arange(7))
    wanted, found = softmax(logits, axis=1), softmax(kept, axis=1)
    order = np.argsort(-logits, axis=1)
    top = np.take_along_axis(found, order, axis=1)[:, :TOP]
    assert top == pytest.approx(np.take_along_axis(wanted, order, axis=1)[:, :TOP], abs=1e-2)
    assert found.sum(axis=1) - top.sum(axis=1) == pytest.approx(1 - np.sort(wanted, axis=1)[:, -TOP:].sum(1), abs=1e-2)
    best = np.take_along_axis(logits, kept.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    assert best == pytest.approx(logits.max(axis=1), abs=1e-2)  # half precision may tie the first two


def test_few_tags_are_stored_whole_and_a_word_without_a_token_stays_one() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (6, 5)).astype(np.float32)
    logits[2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = TopLogits.of(logits)
        many = TopLogits.of(np.repeat(logits, 8, axis=1))
    back = few.rows(np.array([5, 2, 0]))
    assert log_softmax(back[0]) == pytest.approx(log_softmax(logits[5]), abs=1e-2)
    assert np.isnan(back[1]).all()
    assert np.isnan(many.rows(np.array([2]))).all()
    assert not np.isnan(many.rows(np.array([1]))).any()
