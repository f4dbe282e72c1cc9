"""Claims of the augmented retriever: variants are seeded, distinct, and the first ten of a hundred are the ten."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.schemas import CORPUS
from service.augmented import Augmented, variants, vocabulary_of
from service.heldout import folded
from service.neighbours import HITS, numbers
from tests.service.fake_index import WORDS

TEXTS = ["play some jazz music tonight", "stop", "book a table for two", "play some jazz music tonight"]
VOCABULARY = vocabulary_of(TEXTS)


def augmented(stride: int, *, seed: int = 0) -> Augmented:
    ids = [f"u{n}" for n in range(len(TEXTS))]
    return Augmented(ids, TEXTS, ["en", None, "en", "en"], VOCABULARY, edited=0.3, seed=seed, stride=stride)


def first(n: int, text: str, *, seed: int = 0, utterance_id: str = "u") -> list[str]:
    return list(islice(variants(utterance_id, text, VOCABULARY, edited=0.3, seed=seed), n))


utterances = st.lists(st.sampled_from(WORDS), min_size=1, max_size=10).map(" ".join)


@given(utterances, st.integers(0, 5))
def test_variants_are_unlike_their_utterance_and_each_other(text: str, seed: int) -> None:
    made = first(12, text, seed=seed)
    folds = [folded(variant) for variant in made]
    assert folded(text) not in folds
    assert len(set(folds)) == len(folds)
    assert all(variant.strip() for variant in made)


@given(utterances, st.integers(0, 5))
def test_the_first_variants_of_many_are_the_few(text: str, seed: int) -> None:
    assert first(20, text, seed=seed)[:5] == first(5, text, seed=seed)


def test_variants_follow_the_seed_and_the_utterance() -> None:
    text = TEXTS[0]
    assert first(5, text) == first(5, text)
    assert first(5, text) != first(5, text, seed=1)
    assert first(5, text) != first(5, text, utterance_id="v")


def test_variants_use_only_the_words_of_the_utterance_and_of_the_vocabulary() -> None:
    allowed = {*["a", "quite", "new", "utterance"], *VOCABULARY}
    assert {word for variant in first(50, "a quite new utterance") for word in variant.split()} <= allowed


def test_variants_edit_little() -> None:
    words = set(TEXTS[0].split())
    kept = [len(words & set(variant.split())) for variant in first(20, TEXTS[0])]
    assert min(kept) >= 2
    assert max(kept) >= 4


def test_a_text_with_few_variants_ends_instead_of_repeating_itself() -> None:
    assert list(islice(variants("u", "stop", ["stop", "go"], edited=0.3, seed=0), 9)) == ["go"]
    assert list(islice(variants("u", "stop", ["stop"], edited=0.3, seed=0), 9)) == []


def test_hits_have_the_one_form_and_lead_to_the_variants() -> None:
    source = augmented(6)
    hits = source.hits(0, 4)
    passages = source.passages(numbers(hits, "row"))
    assert hits.schema == HITS
    assert passages.schema == CORPUS
    assert numbers(hits, "rank")[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert passages["text"].to_pylist()[:6] == first(6, TEXTS[0], utterance_id="u0")
    assert passages["passage_id"].to_pylist()[:2] == ["u0~0", "u0~1"]
    assert set(passages["source"].to_pylist()) == {"augmented"}
    assert passages["lang"].to_pylist()[0] == "en"
    assert np.isnan(numbers(hits, "score")).all()


def test_hits_do_not_depend_on_how_the_utterances_are_cut() -> None:
    source = augmented(5)
    whole = source.hits(0, 4)
    parts = [source.hits(n, n + 1).to_pylist() for n in range(4)]
    assert str([row for part in parts for row in part]) == str(whole.to_pylist())
    assert len(source.hits(2, 2)) == 0


def test_passages_come_in_the_order_asked_for() -> None:
    source = augmented(5)
    rows = np.array([11, 3, 11, 0])
    expected = [source.passages(np.array([row]))["text"][0].as_py() for row in rows]
    assert source.passages(rows)["text"].to_pylist() == expected
