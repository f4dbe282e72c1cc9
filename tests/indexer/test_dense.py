"""Dense search: exact equals brute force, k is k, ties break by row, and IVF says how much it misses (laws 4 and 5)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.artifact import open_artifact
from contract.draft import Plan, drafting
from contract.errors import BadInput, CorruptArtifact
from indexer.dense import IVF, DenseIndex, DenseSettings, build_dense, lists_for
from tests.indexer.conftest import HashingEncoder, make_corpus, sentences


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, dim)) * 2
    return unit(centres[draw.integers(0, 20, n)] + draw.normal(size=(n, dim)))


def shards_of(vectors: np.ndarray, rows: int) -> list[np.ndarray]:
    return [vectors[start : start + rows].astype(np.float16) for start in range(0, len(vectors), rows)]


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score in float64, the k best, ties by row."""
    scores = (queries.astype(np.float64) @ vectors.astype(np.float16).astype(np.float64).T).astype(np.float32)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 120),
    kinds=st.integers(1, 120),
    shard=st.integers(1, 50),
    k=st.integers(1, 130),
    exact_rows=st.sampled_from([0, 1000]),
    seed=st.integers(0, 5),
)
def test_exact_search_equals_brute_force(n, kinds, shard, k, exact_rows, seed):
    """Also with few kinds of vectors: then nearly every score ties, and rows decide."""
    draw = np.random.default_rng(seed)
    vectors = clustered(kinds, 8, seed)[draw.integers(0, kinds, n)]
    queries = np.concatenate([clustered(3, 8, seed + 1), vectors[:2]])
    index = DenseIndex(shards_of(vectors, shard), None, DenseSettings(exact_rows=exact_rows))
    scores, rows = index.search(queries, k)
    expected_scores, expected_rows = brute_force(vectors, queries, k)
    assert rows.tolist() == expected_rows.tolist()
    assert scores.tobytes() == np.ascontiguousarray(expected_scores).tobytes()


def test_equal_vectors_beyond_any_candidate_list_still_tie_by_row():
    vectors = np.repeat(clustered(2), 500, axis=0)[np.random.default_rng(0).permutation(1000)]
    index = DenseIndex(shards_of(vectors, 300), None, DenseSettings())
    _, rows = index.search(vectors[:4], 10)
    assert rows.tolist() == brute_force(vectors, vectors[:4], 10)[1].tolist()


class UnkindIndex(DenseIndex):
    """Breaks ties of the fast scores the wrong way, as FAISS may: the greatest row first."""

    def _candidates(self, queries, k):
        fast = queries @ np.concatenate(self._vectors).astype(np.float32).T
        rows = (self.rows - 1 - np.argsort(-fast[:, ::-1], axis=1, kind="stable"))[:, :k]
        return np.take_along_axis(fast, rows, axis=1), rows


def test_ties_break_by_row_whichever_candidates_come_first():
    vectors = np.repeat(clustered(5), 80, axis=0)
    _, rows = UnkindIndex(shards_of(vectors, 100), None, DenseSettings()).search(vectors[::80], 10)
    assert rows.tolist() == brute_force(vectors, vectors[::80], 10)[1].tolist()


def test_a_query_finds_the_same_alone_in_a_batch_and_for_any_k():
    index = DenseIndex(shards_of(clustered(3000, 48), 700), None, DenseSettings())
    queries = clustered(300, 48, seed=1)
    scores, rows = index.search(queries, 100)
    for query in (0, 1, 299):
        alone_scores, alone_rows = index.search(queries[query : query + 1], 10)
        assert (alone_rows[0] == rows[query, :10]).all()
        assert alone_scores.tobytes() == np.ascontiguousarray(scores[query, :10]).tobytes()


def test_no_queries_give_no_hits():
    scores, rows = DenseIndex(shards_of(clustered(5), 5), None, DenseSettings()).search(
        np.zeros((0, 16), np.float32), 3
    )
    assert scores.shape == rows.shape == (0, 3)


def test_queries_of_another_width_are_refused():
    with pytest.raises(BadInput, match=r"\(n, 16\)"):
        DenseIndex(shards_of(clustered(5), 5), None, DenseSettings()).search(clustered(1, 8), 3)


SMALL = DenseSettings(shard_rows=64)
APPROXIMATE = DenseSettings(shard_rows=64, exact_rows=100, nprobe=2, depth=60)


def build(store, corpus, name, settings, encoder=None):
    """An artifact with nothing but the dense part."""
    directory = store.path("index", name)
    with drafting(directory, Plan("index", 1, {}, {"corpus": corpus.id})) as draft:
        facts = build_dense(corpus, draft, encoder or HashingEncoder(), settings)
        draft.finish(facts=facts)
    return open_artifact(directory, "index", version=1)


@pytest.fixture
def corpus(store, tmp_path):
    return make_corpus(store, tmp_path, sentences(300))


def test_the_structure_follows_the_rows_and_says_why(store, corpus):
    flat = build(store, corpus, "flat", SMALL).manifest.facts
    ivf = build(store, corpus, "ivf", APPROXIMATE).manifest.facts
    assert (flat["structure"], ivf["structure"]) == ("flat", "ivf-sq8")
    assert "300 rows are at most" in flat["why"]
    assert "300 rows are more than" in ivf["why"]


def test_vectors_are_the_encoders_in_the_corpus_order(store, corpus):
    index = DenseIndex.open(build(store, corpus, "flat", SMALL), SMALL)
    texts = [text for batch in corpus.batches(columns=["text"]) for text in batch.column("text").to_pylist()]
    expected = HashingEncoder().encode(texts, kind="passage").astype(np.float16)
    assert (index.vectors(np.arange(300)) == expected).all()
    _, rows = index.search(expected.astype(np.float32), 1)
    assert rows[:, 0].tolist() == list(range(300))


def test_an_approximate_index_tells_its_true_recall(store, corpus):
    """Law 4: measured again from outside, on the passages it was measured on, it is what the facts say."""
    artifact = build(store, corpus, "ivf", APPROXIMATE)
    facts, index = artifact.manifest.facts, DenseIndex.open(artifact, APPROXIMATE)
    vectors = index.vectors(np.arange(300)).astype(np.float32)
    rows = np.sort(np.random.default_rng(APPROXIMATE.seed + 1).choice(300, facts["recall_queries"], replace=False))
    k = facts["recall_k"] + 1
    _, exact = brute_force(vectors, vectors[rows], k)
    _, found = index.search(vectors[rows], k)
    recall = np.mean([len({*f} & {*e} - {r}) / len({*e} - {r}) for f, e, r in zip(found, exact, rows, strict=True)])
    assert facts["recall"] == pytest.approx(recall, abs=1e-4)
    assert 0.5 < facts["recall"] < 1


def test_an_approximate_index_gives_min_k_rows_hits_all_different(store, corpus):
    index = DenseIndex.open(build(store, corpus, "ivf", APPROXIMATE), APPROXIMATE)
    queries = clustered(20, seed=3)
    for k in (1, 10, 60, 61, 299, 300, 1000):
        scores, rows = index.search(queries, k)
        assert rows.shape == scores.shape == (20, min(k, 300))
        assert all(len(set(query)) == min(k, 300) for query in rows.tolist())
        assert rows.min() >= 0
        assert (np.diff(scores, axis=1) <= 0).all()


def test_fewer_hits_of_an_approximate_index_are_the_first_of_more_within_its_depth(store, corpus):
    index = DenseIndex.open(build(store, corpus, "ivf", APPROXIMATE), APPROXIMATE)
    queries = clustered(20, seed=3)
    scores, rows = index.search(queries, 60)
    for k in (1, 10, 32):
        fewer_scores, fewer_rows = index.search(queries, k)
        assert (fewer_rows == rows[:, :k]).all()
        assert (fewer_scores == scores[:, :k]).all()
    assert (index.search(queries[5:6], 10)[1] == rows[5:6, :10]).all()


def test_an_approximate_index_is_nearly_exact_when_it_visits_every_list(store, corpus):
    everywhere = DenseSettings(shard_rows=64, exact_rows=100, nprobe=1000)
    facts = build(store, corpus, "ivf", everywhere).manifest.facts
    assert facts["recall"] > 0.95  # what is left is the rounding to 8 bits


@pytest.mark.parametrize("settings", [SMALL, APPROXIMATE], ids=["flat", "ivf"])
def test_a_build_stopped_anywhere_goes_on_to_the_same_id(store, corpus, settings):
    whole = build(store, corpus, "whole", settings)
    for _ in range(20):
        try:
            stopped = build(store, corpus, "stopped", settings, HashingEncoder(fail_after=2))
            break
        except InterruptedError:
            assert "stopped" not in store.names("index")
    assert stopped.id == whole.id


def test_a_changed_file_is_refused_before_faiss_reads_it(store, corpus):
    artifact = build(store, corpus, "ivf", APPROXIMATE)
    path = artifact.directory / IVF
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    again = open_artifact(artifact.directory, "index", version=1)
    with pytest.raises(CorruptArtifact, match=IVF):
        DenseIndex.open(again, APPROXIMATE)


def test_lists_grow_with_the_root_of_the_rows():
    assert [lists_for(rows) for rows in (1, 100, 200_000, 1_000_000)] == [4, 32, 1024, 4096]
