"""Claims about bulk retrieval: an index searched in parts by an engine's workers answers as one search does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.store import Store
from indexer.build import build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.engine import LocalEngine, Result
from indexer.engines.bulk import BulkIndex, open_bulk_index, portions
from indexer.index import Hits, IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.conftest import make_corpus, sentences

PART_BYTES = 100_000  # a tenth of the lexical part: it is cut into many
ROWS = 9_000  # more than two of the flat structure's lists
ODD = ["", "unseen zebra", "7", " ".join(sentences(300, seed=3)), "jazz jazz jazz jazz", "a"]
QUERIES = [*sentences(40, seed=1), *ODD]


class Many(LocalEngine):
    """An engine of threads that counts what it is asked for, and wants many parts."""

    def __init__(self) -> None:
        super().__init__(5, processes=False)
        self.calls = 0
        self.reached: list[Path] = []

    def reach(self, folder: Path) -> None:
        self.reached.append(folder)

    def map(self, work: Callable[[int], Result], numbers: Sequence[int], *, bytes_each: int = 0) -> Iterator[Result]:
        self.calls += len(numbers)
        return super().map(work, numbers, bytes_each=bytes_each)


@pytest.fixture(autouse=True)
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.engines.bulk.PART_BYTES", PART_BYTES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Store:
    """Three indexes of one corpus: flat, ivf, and of words by the other formula."""
    folder = tmp_path_factory.mktemp("bulk")
    store = Store(folder / "artifacts")
    make_corpus(store, folder / "sources", sentences(ROWS), shard_passages=4000)
    encoder = EncoderSettings(f"static:{tiny_model}", dims=16)
    lexical = LexicalSettings(shard_rows=700)
    for structure in ("flat", "ivf"):
        dense = DenseSettings(encoder=encoder, structure=structure)
        build_index(store, structure, "c", IndexSettings(lexical=lexical, dense=dense, fusion_depth=100))
    okapi = LexicalSettings(variant="okapi", k1=1.5, shard_rows=700)
    build_index(store, "okapi", "c", IndexSettings(retrievers=("lexical",), lexical=okapi))
    return store


def equal(found: Hits, expected: Hits) -> bool:
    names = ("rows", "scores", "lexical_rank", "lexical_score", "dense_rank", "dense_score")
    pairs = [(getattr(found, name), getattr(expected, name)) for name in names]
    return all(
        mine is theirs
        or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"))
        for mine, theirs in pairs
    )


@pytest.mark.parametrize("k", [1, 32, 100])
@pytest.mark.parametrize(
    ("name", "retriever"),
    [
        ("flat", "lexical"),
        ("flat", "dense"),
        ("flat", "hybrid"),
        ("flat", "random"),
        ("ivf", "dense"),
        ("ivf", "hybrid"),
    ],
)
def test_in_parts_is_as_in_one(whole: Store, name: str, retriever: str, k: int) -> None:
    engine = Many()
    bulk = open_bulk_index(whole, name, engine)
    assert equal(bulk.search(QUERIES, k, retriever), open_index(whole, name).search(QUERIES, k, retriever))  # type: ignore[arg-type]
    assert engine.reached == [whole.root], "every machine was asked whether it sees the folder"
    assert engine.calls >= (0 if retriever == "random" else 2)


def test_an_index_is_cut_by_what_a_worker_holds(whole: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(engine: LocalEngine) -> int:
        return BulkIndex(whole, open_index(whole, "flat"), engine)._parts_for("lexical-")

    assert parts(LocalEngine(2)) > 3
    monkeypatch.setattr("indexer.engines.bulk.PART_BYTES", 2 << 30)
    assert parts(LocalEngine(2)) == 1, "a small one is not: the queries are dealt out"
    assert parts(LocalEngine(2, memory_budget=200_000)) > 1


@pytest.mark.parametrize(("name", "retriever"), [("flat", "lexical"), ("okapi", "lexical"), ("flat", "dense")])
def test_k_beyond_a_part_and_beyond_all_rows(whole: Store, name: str, retriever: str) -> None:
    """A part of 900 rows has fewer hits than k, and okapi's floor gives terms in most passages a score of their own."""
    for k in (1500, ROWS + 5):
        found = open_bulk_index(whole, name, Many()).search(QUERIES[-12:], k, retriever)  # type: ignore[arg-type]
        assert found.rows.shape[1] == min(k, ROWS)
        assert equal(found, open_index(whole, name).search(QUERIES[-12:], k, retriever))  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    queries=st.lists(st.text("jazz wether paris seven 0123456789 ", max_size=40), min_size=1, max_size=6),
    k=st.integers(1, 60),
    workers=st.integers(1, 40),
)
def test_any_queries_in_any_number_of_parts(whole: Store, queries: list[str], k: int, workers: int) -> None:
    engine = LocalEngine(workers, processes=False)
    for name in ("flat", "okapi"):
        bulk = BulkIndex(whole, open_index(whole, name), engine)
        assert equal(bulk.search(queries, k, "lexical"), open_index(whole, name).search(queries, k, "lexical"))


def test_many_queries_are_answered_block_by_block(whole: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many hits at a time, so many queries embedded at a time: neither is seen in what comes out."""
    monkeypatch.setattr("indexer.engines.bulk.HITS_AT_ONCE", 70)
    monkeypatch.setattr("indexer.engines.bulk.QUERIES_AT_ONCE", 8)
    engine = Many()
    for retriever in ("lexical", "dense", "hybrid"):
        found = BulkIndex(whole, open_index(whole, "flat"), engine).search(QUERIES, 10, retriever)  # type: ignore[arg-type]
        assert equal(found, open_index(whole, "flat").search(QUERIES, 10, retriever))  # type: ignore[arg-type]
    assert engine.calls > 100


def test_processes_find_what_threads_find(whole: Store) -> None:
    bulk = open_bulk_index(whole, "flat", LocalEngine(2, processes=True))
    assert equal(bulk.search(QUERIES, 20, "lexical"), open_index(whole, "flat").search(QUERIES, 20, "lexical"))


@given(n=st.integers(0, 100), parts=st.integers(1, 30))
def test_portions_are_all_of_it_and_even(n: int, parts: int) -> None:
    found = portions(range(5, n + 5), parts)
    assert [number for portion in found for number in portion] == list(range(5, n + 5))
    assert len(found) <= parts
    assert not found or max(map(len, found)) - min(map(len, found)) <= 1
