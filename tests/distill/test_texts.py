"""The texts of a transfer set: each once, utterances before their neighbours, nothing held back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.removal import half_built
from contract.store import Store
from distill.reading.texts import open_transfer_set, read_texts, text_id
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


def test_a_neighbour_tells_its_rank_and_score_where_it_first_stands(store: Store) -> None:
    rows = [
        {"utterance_id": "u1", "text": "a", "neighbours": [neighbour("x", 4) | {"score": 0.5}, neighbour("b", 5)]},
        {"utterance_id": "u2", "text": "b", "neighbours": [neighbour("x", 0) | {"score": 0.9}]},
    ]
    table = read_texts(make_transfer_set(store, "t", rows)).table
    assert table["text"].to_pylist() == ["a", "x", "b"]
    assert table["rank"].to_pylist() == [None, 4, 5]
    assert table["score"].to_pylist() == [None, 0.5, None]
    assert table["retriever"].to_pylist() == [None, "lexical", "lexical"]


texts = st.text("ab ", max_size=2).map(lambda text: text or "c")
found = st.lists(st.tuples(texts, st.integers(0, 9)), max_size=4)


@given(st.lists(st.tuples(texts, st.none() | texts, st.booleans(), found), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_texts_are_those_that_one_finds_by_hand(
    rows: list[tuple[str, str | None, bool, list[tuple[str, int]]]],
) -> None:
    """A few rows at a time, a few texts to a block: in the same order, with the same counts."""
    expected: dict[tuple[str, str | None], tuple[Any, ...]] = {}
    utterances = neighbours = 0
    for number, (text, pair, included, beside) in enumerate(rows):
        if included:
            utterances += 1
            expected.setdefault((text, pair), (f"u{number}", None, ["w"]))
        for other, rank in beside:
            neighbours += 1
            expected.setdefault((other, None) if pair is None else (text, other), (None, rank, None))
    made = [
        {"utterance_id": f"u{number}", "text": text, "text_pair": pair, "tokens": ["w"], "include_utterance": included,
         "neighbours": [neighbour(other, rank) for other, rank in beside]}
        for number, (text, pair, included, beside) in enumerate(rows)
    ]  # fmt: skip
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("distill.reading.texts._ROWS", 2)
        patched.setattr("distill.reading.texts._BLOCK", 3)
        patched.setattr("distill.reading.texts.CHUNK", 2)
        transfer_set = make_transfer_set(Store(Path(folder)), "t", made)
        if not expected:
            with pytest.raises(BadInput, match="holds no text"):
                read_texts(transfer_set)
            return
        read = read_texts(transfer_set)
        chunks = [(start, row) for start, some in read.chunks() for row in some.to_pylist()]
        assert [(row["text"], row["text_pair"]) for _, row in chunks] == list(expected)
        assert [(row["utterance_id"], row["rank"], row["tokens"]) for _, row in chunks] == list(expected.values())
        assert [row["text_id"] for _, row in chunks] == [text_id(*known) for known in expected]
        assert [start for start, _ in chunks] == [2 * (row // 2) for row in range(len(chunks))]
        assert (read.utterances, read.neighbours) == (utterances, neighbours)
        assert {len(batch) for batch in read.table.to_batches()[:-1]} <= {3}


def test_texts_are_laid_down_once(store: Store) -> None:
    transfer_set = make_transfer_set(store, "t", [{"utterance_id": "u1", "text": "a"}])
    first = read_texts(transfer_set).table
    assert read_texts(transfer_set, progress=lambda *_: pytest.fail("they are there")).table.equals(first)
    (path,) = store.root.glob("transfer-sets/.reading/*/texts.arrow")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptArtifact, match="remove it and run the same command again"):
        read_texts(transfer_set)


def test_what_is_laid_down_is_no_transfer_set(store: Store) -> None:
    """The shelf stands in the folder of all transfer sets, and nobody takes it for one."""
    read_texts(make_transfer_set(store, "t", [{"utterance_id": "u1", "text": "a"}]))
    assert store.names("transfer-set") == ["t"]
    assert list(half_built(store)) == []


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
