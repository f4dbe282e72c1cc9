"""Claims of neighbours: one list of records an utterance, best first, in the contract's form."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput
from contract.schemas import NEIGHBOUR, TASK
from service.neighbours import (
    HITS,
    NEIGHBOURS,
    choose_retriever,
    find_neighbours,
    flatten,
    neighbour_lists,
    numbers,
    queries_of,
)
from tests.service.fake_index import FakeHits, FakeIndex, generic_texts

INDEX = FakeIndex(
    ["play rock music", "play some jazz music", "the weather is cold", "jazz tonight"], retrievers=("lexical", "dense")
)


def test_the_nearest_passage_comes_first_with_all_that_is_known_of_it() -> None:
    (found,) = find_neighbours(INDEX, ["play some jazz"], 2, "lexical").to_pylist()
    assert found == [
        {
            "passage_id": "p1",
            "text": "play some jazz music",
            "source": "source1",
            "lang": "en",
            "retriever": "lexical",
            "rank": 0,
            "score": 3.0,
            "lexical_rank": 0,
            "lexical_score": 3.0,
            "dense_rank": None,
            "dense_score": None,
        },
        {**found[1], "passage_id": "p0", "rank": 1, "score": 1.0},
    ]


def test_every_utterance_has_its_own_list_in_order() -> None:
    found = find_neighbours(INDEX, ["cold weather", "jazz tonight", "cold weather"], 1, "lexical")
    assert found.type == NEIGHBOURS
    assert [records[0]["passage_id"] for records in found.to_pylist()] == ["p2", "p3", "p2"]


@pytest.mark.parametrize("retriever", ["lexical", "dense", "random"])
def test_k_is_k_and_the_first_of_many_are_the_few(retriever: str) -> None:
    index = FakeIndex(generic_texts(30), retrievers=("lexical", "dense"))
    few = find_neighbours(index, ["play jazz", "cold"], 5, retriever, seed=3).to_pylist()
    many = find_neighbours(index, ["play jazz", "cold"], 20, retriever, seed=3).to_pylist()
    assert [records[:5] for records in many] == few
    assert [len(records) for records in find_neighbours(index, ["cold"], 1000, retriever).to_pylist()] == [30]


def test_random_neighbours_follow_the_seed() -> None:
    index = FakeIndex(generic_texts(200))
    one, again, other = (find_neighbours(index, ["play"], 9, "random", seed=s).to_pylist() for s in (1, 1, 2))
    assert one == again != other


def test_nothing_asked_is_nothing_found() -> None:
    found = find_neighbours(INDEX, [], 5)
    assert found.type == NEIGHBOURS
    assert found.to_pylist() == []


@pytest.mark.parametrize("k", [-1, 0, 1001])
def test_a_k_out_of_bounds_is_refused_with_its_bounds(k: int) -> None:
    with pytest.raises(BadInput, match=f"1 to 1000, found {k}"):
        find_neighbours(INDEX, ["play"], k)


@pytest.mark.parametrize(
    ("able", "chosen"),
    [
        (("lexical", "dense", "hybrid", "random"), "hybrid"),
        (("dense",), "dense"),
        (("lexical", "random"), "lexical"),
        (("random",), "random"),
    ],
)
def test_without_a_wish_the_best_an_index_can_do_is_chosen(able: tuple[str, ...], chosen: str) -> None:
    assert choose_retriever(FakeIndex(["a"], retrievers=able), None) == chosen


def test_a_retriever_the_index_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(BadInput, match="Index fake has no dense retriever; it has lexical, random"):
        find_neighbours(FakeIndex(["a"]), ["play"], 1, "dense")


def test_a_pair_asks_with_both_its_texts() -> None:
    records = [
        {"id": "a", "text": "one", "text_pair": "two", "split": "train"},
        {"id": "b", "text": "three", "split": "train"},
    ]
    assert queries_of(pa.Table.from_pylist(records, schema=TASK)) == ["one two", "three"]


@given(st.lists(st.lists(st.integers(-1, 3), min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 9))
def test_flat_hits_and_lists_hold_the_same_hits(rows: list[list[int]], first: int) -> None:
    hits = FakeHits(np.array(rows, np.int64), np.array(rows, np.float32))
    flat = flatten(hits, first)
    assert flat.schema == HITS
    lists = neighbour_lists(flat, INDEX.passages(numbers(flat, "row")), "lexical", len(rows), first)
    found = [[record["passage_id"] for record in records] for records in lists.to_pylist()]
    assert found == [[f"p{row}" for row in per_utterance if row >= 0] for per_utterance in rows]
    assert lists.type.value_type == NEIGHBOUR
    lists.validate(full=True)


def test_ranks_of_one_side_of_a_hybrid_are_null_where_the_hit_is_missing_there() -> None:
    hits = FakeHits(
        rows=np.array([[2, 0]]),
        scores=np.array([[0.03, 0.01]], np.float32),
        lexical_rank=np.array([[-1, 4]], np.int32),
        lexical_score=np.array([[np.nan, 2.5]], np.float32),
        dense_rank=np.array([[0, -1]], np.int32),
        dense_score=np.array([[0.9, np.nan]], np.float32),
    )
    flat = flatten(hits)
    (found,) = neighbour_lists(flat, INDEX.passages(numbers(flat, "row")), "hybrid", 1).to_pylist()
    assert [record["lexical_rank"] for record in found] == [None, 4]
    assert [record["lexical_score"] for record in found] == [None, 2.5]
    assert [record["dense_rank"] for record in found] == [0, None]
    assert found[1]["dense_score"] is None
