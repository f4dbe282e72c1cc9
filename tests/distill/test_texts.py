"""The texts of a transfer set: each once, utterances before their neighbours, nothing held back."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import BadInput, NotFound
from contract.store import Store
from distill.texts import open_transfer_set, read_texts, text_id
from tests.distill.tiny import make_transfer_set, neighbour


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_texts_come_once_in_the_order_they_first_stand(store: Store) -> None:
    rows = [
        {"utterance_id": "u1", "text": "a", "neighbours": [neighbour("x"), neighbour("b")]},
        {"utterance_id": "u2", "text": "b", "neighbours": [neighbour("x"), neighbour("y")]},
    ]
    texts = read_texts(make_transfer_set(store, "t", rows))
    assert texts.table["text"].to_pylist() == ["a", "x", "b", "y"]
    assert texts.table["utterance_id"].to_pylist() == ["u1", None, None, None]
    assert (texts.utterances, texts.neighbours, texts.duplicates, texts.generic_share) == (2, 4, 2, 0.75)


def test_an_utterance_that_is_not_included_is_no_text(store: Store) -> None:
    rows = [{"utterance_id": "u1", "text": "a", "include_utterance": False, "neighbours": [neighbour("x")]}]
    texts = read_texts(make_transfer_set(store, "t", rows))
    assert texts.table["text"].to_pylist() == ["x"]
    assert (texts.utterances, texts.generic_share) == (0, 1.0)


def test_a_neighbour_of_a_pair_is_read_beside_its_first_sentence(store: Store) -> None:
    rows = [{"utterance_id": "u1", "text": "a", "text_pair": "b", "neighbours": [neighbour("x")]}]
    table = read_texts(make_transfer_set(store, "t", rows)).table
    assert list(zip(table["text"].to_pylist(), table["text_pair"].to_pylist(), strict=True)) == [("a", "b"), ("a", "x")]


def test_a_text_is_known_by_all_of_it() -> None:
    assert len({text_id("a", None), text_id("a", ""), text_id("a", "b"), text_id("ab", None), text_id("b", "a")}) == 5
    assert text_id("a", None) == text_id("a", None)


def test_a_transfer_set_without_a_text_gets_a_sentence(store: Store) -> None:
    rows = [{"utterance_id": "u1", "text": "a", "include_utterance": False}]
    with pytest.raises(BadInput, match="holds no text to distil on"):
        read_texts(make_transfer_set(store, "t", rows))


def test_a_transfer_set_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    make_transfer_set(store, "near", [{"utterance_id": "u1", "text": "a"}])
    with pytest.raises(NotFound, match="there are: near"):
        open_transfer_set(store, "far")
    with pytest.raises(BadInput, match="cannot name a transfer-set"):
        open_transfer_set(store, "../../etc")
