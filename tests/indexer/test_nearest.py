"""The nearest passages: exactly the best of the visited lists, whatever the codes, the batch, k and the threads."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.draft import Plan, drafting
from indexer.vectors import codes as codes_module
from indexer.vectors import nearest as nearest_module
from indexer.vectors.codes import QueryCodes, codes_of, errors_of, levels, products, step_for
from indexer.vectors.lists import Lists, Visits, lists_for, write_lists
from indexer.vectors.nearest import nearest
from indexer.vectors.stored import Vectors, floats


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def clustered(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, dim)) * 2
    return unit(centres[draw.integers(0, 20, n)] + draw.normal(size=(n, dim)))


def shards_of(vectors: np.ndarray, rows: int) -> Vectors:
    return Vectors([vectors[start : start + rows].astype(np.float16) for start in range(0, len(vectors), rows)])


def lists_of(vectors: np.ndarray, sizes: list[int], step: float | None = None) -> Lists:
    """Lists of any rows, made without clustering: what visits them is the test's affair."""
    halves = vectors.astype(np.float16).astype(np.float32)
    rows = np.random.default_rng(0).permutation(len(vectors)).astype(np.int32)
    cuts = np.unique(np.clip(np.cumsum([0, *sizes, len(vectors)]), 0, len(vectors)))
    step = step or step_for(halves)
    codes = codes_of(halves[rows], step)
    errors, norms = errors_of(halves[rows], codes, step)
    bounds = [(errors[a:b].max(), norms[a:b].max()) for a, b in pairwise(cuts)]
    return Lists(codes, rows, cuts, np.array(bounds, np.float32), np.zeros((0, vectors.shape[1]), np.int8), step, 1.0)


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None):
    """Every score in float64, the k best of the allowed rows, ties by row; -1 where there are no more."""
    true = (queries.astype(np.float64) @ vectors.astype(np.float16).astype(np.float64).T).astype(np.float32)
    if allowed is not None:
        true = np.where(allowed, true, -np.inf)
    rows = np.argsort(-true, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(true, rows, axis=1)
    return scores, np.where(scores > -np.inf, rows, -1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 150),
    kinds=st.integers(1, 150),
    shard=st.integers(1, 50),
    k=st.integers(1, 130),
    sizes=st.lists(st.integers(0, 60), max_size=5),
    coarse=st.sampled_from([None, 0.5, 0.001]),
    threads=st.sampled_from([1, 3]),
    seed=st.integers(0, 5),
)
def test_what_is_found_equals_brute_force_over_the_visited_lists(n, kinds, shard, k, sizes, coarse, threads, seed):
    """Also with few kinds of vectors, where rows decide, and with codes so coarse or clipped that they say little."""
    draw = np.random.default_rng(seed)
    vectors = clustered(kinds, 8, seed)[draw.integers(0, kinds, n)]
    queries = np.concatenate([clustered(10, 8, seed + 1), vectors[:2], np.zeros((1, 8), np.float32), 30 * vectors[:1]])
    lists = lists_of(vectors, sizes, coarse)
    visited = draw.random((len(queries), len(lists))) < 0.7
    visits = Visits(np.concatenate([[0], np.cumsum(visited.sum(axis=1))]), np.nonzero(visited)[1].astype(np.int32))
    allowed = visited[:, lists.list_of]
    scores, rows = nearest(lists, shards_of(vectors, shard), queries, visits, min(k, n), threads=threads)
    expected_scores, expected_rows = brute_force(vectors, queries, min(k, n), allowed)
    assert rows.tolist() == expected_rows.tolist()
    assert scores.tobytes() == np.ascontiguousarray(expected_scores).tobytes()


def test_more_equal_vectors_than_a_pool_holds_still_tie_by_row():
    vectors = np.repeat(clustered(2), 3000, axis=0)[np.random.default_rng(0).permutation(6000)]
    lists = lists_of(vectors, [2500])
    queries = vectors[:20]
    _, rows = nearest(lists, shards_of(vectors, 1000), queries, lists.everywhere(20), 10)
    assert rows.tolist() == brute_force(vectors, queries, 10)[1].tolist()


@pytest.mark.parametrize("few", [0, 1000], ids=["by products of matrices", "query by query"])
def test_both_ways_to_score_a_list_find_the_same(few, monkeypatch):
    monkeypatch.setattr(nearest_module, "_FEW", few)
    vectors, queries = clustered(900), clustered(30, seed=4)
    lists = lists_of(vectors, [300, 7, 100])
    _, rows = nearest(lists, shards_of(vectors, 400), queries, lists.everywhere(30), 20)
    assert rows.tolist() == brute_force(vectors, queries, 20)[1].tolist()


def test_a_query_finds_the_same_alone_in_a_batch_and_for_any_k():
    vectors, queries = clustered(3000, 48), clustered(300, 48, seed=1)
    lists, shards = lists_of(vectors, [1000]), shards_of(clustered(3000, 48), 700)
    scores, rows = nearest(lists, shards, queries, lists.everywhere(300), 100)
    for query in (0, 1, 299):
        alone_scores, alone_rows = nearest(lists, shards, queries[query : query + 1], lists.everywhere(1), 10)
        assert (alone_rows[0] == rows[query, :10]).all()
        assert alone_scores.tobytes() == np.ascontiguousarray(scores[query, :10]).tobytes()


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 40), n=st.integers(1, 40), dim=st.sampled_from([1, 8, 384, 1024, 4096]), seed=st.integers(0, 9))
def test_products_of_codes_are_exact_by_either_way(m, n, dim, seed):
    draw, most = np.random.default_rng(seed), levels(dim)
    first, second = (draw.integers(-most, most + 1, (rows, dim)).astype(np.int8) for rows in (m, n))
    expected = (first.astype(np.int64) @ second.astype(np.int64).T).tolist()
    assert products(first, second).tolist() == expected
    found = np.empty((m, n), np.int32)
    codes_module._by_floats(first, second, found)
    assert found.tolist() == expected
    assert products(first, second, np.empty(5000, np.int32)).tolist() == expected


def saturating(first, second, found):
    """As int8 products are where a processor adds pairs of them in 16 bits: pytorch's issue 136746."""
    pairs = first.astype(np.int64)[:, None, :] * second.astype(np.int64)[None]
    pairs = pairs.reshape(len(first), len(second), -1, 2).sum(axis=3)
    found[:] = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=2)


def untouched(first, second, found):
    """As they are of one dimension, and where a library refuses the shapes in silence: pytorch's issue 195066."""


@pytest.mark.parametrize("broken", [saturating, untouched])
def test_integer_products_are_not_used_where_the_machine_gets_them_wrong(broken, monkeypatch):
    codes_module._integers_do.cache_clear()
    monkeypatch.setattr(codes_module, "_by_integers", broken)
    draw = np.random.default_rng(0)
    first, second = (draw.integers(-127, 128, (5, 64)).astype(np.int8) for _ in range(2))
    assert products(first, second).tolist() == (first.astype(np.int64) @ second.astype(np.int64).T).tolist()
    codes_module._integers_do.cache_clear()


def test_the_greatest_sum_of_codes_is_below_what_float32_counts_exactly():
    assert levels(384) == 127
    assert all(dim * levels(dim) ** 2 <= 2**24 for dim in (1, 384, 1040, 1041, 4096, 2**24))


@settings(max_examples=30, deadline=None)
@given(dim=st.sampled_from([1, 7, 384]), seed=st.integers(0, 9), clip=st.sampled_from([1.0, 0.3]))
def test_the_error_of_a_score_by_codes_is_within_its_bound(dim, seed, clip):
    vectors, queries = clustered(50, dim, seed), clustered(20, dim, seed + 1) * np.float32(seed + 1)
    step = step_for(vectors * np.float32(clip))
    codes, coded = codes_of(vectors, step), QueryCodes.of(queries)
    errors, norms = errors_of(vectors, codes, step)
    by_codes = products(coded.codes, codes) * coded.steps[:, None].astype(np.float64) * step
    bound = coded.norms[:, None] * (errors + 1e-6) + coded.errors[:, None] * norms
    assert (np.abs(by_codes - queries.astype(np.float64) @ vectors.astype(np.float64).T) <= bound).all()


def test_widening_a_float16_is_numpys():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(1, -1)
    assert floats(finite).tobytes() == finite.astype(np.float32).tobytes()


def grouped(vectors: np.ndarray, folder, clustered: bool = True, seed: int = 0) -> Lists:
    with drafting(folder, Plan("index", 1, {}, {})) as draft:
        write_lists(shards_of(vectors, 500), draft, clustered=clustered, seed=seed, progress=lambda *_: None)
        return Lists.of_draft(draft)


@pytest.fixture
def ivf(tmp_path):
    return grouped(clustered(2000), tmp_path / "ivf")


def test_every_passage_is_in_one_list(ivf):
    assert sorted(ivf.rows.tolist()) == list(range(2000))
    assert ivf.sizes.sum() == 2000
    assert lists_for(2000) * 0.9 < len(ivf) < lists_for(2000) * 1.1


def test_a_passage_is_in_the_list_nearest_to_it(ivf):
    vectors = clustered(2000).astype(np.float16).astype(np.float32)
    near = products(codes_of(vectors, ivf.step), ivf.centroids)
    assert (near.argmax(axis=1) == ivf.list_of).all()


@pytest.mark.parametrize("margin", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("depth", [1, 300, 1999, 2000])
def test_a_query_visits_the_lists_within_the_margin_and_more_until_they_hold_enough(ivf, margin, depth):
    queries = clustered(40, seed=2)
    near, _, units = ivf.nearness(queries)
    cosines = near * units[:, None]
    visits = ivf.visits(queries, margin, depth)
    for query in range(40):
        own = visits.lists[visits.starts[query] : visits.starts[query + 1]]
        nearest_first = np.sort(cosines[query])[::-1]
        within = cosines[query] >= nearest_first[9] - margin
        order = np.argsort(-near[query], kind="stable")
        needed = order[: 1 + int((ivf.sizes[order].cumsum() < depth).sum())]
        reaching = cosines[query] >= cosines[query, needed[-1]]
        assert set(own.tolist()) == set(np.flatnonzero(within | (reaching if depth > 1 else within)).tolist())
        assert set(own[:10].tolist()) == set(np.flatnonzero(cosines[query] >= nearest_first[9])[:10].tolist())


def test_nearness_is_about_the_cosine(ivf):
    queries = clustered(40, seed=2)
    near, _, units = ivf.nearness(queries)
    cosines = queries @ unit(ivf.centroids.astype(np.float32)).T
    np.testing.assert_allclose(near * units[:, None], cosines, atol=0.02)


def test_visits_depend_on_the_query_alone(ivf):
    queries = clustered(40, seed=2)
    together = ivf.visits(queries, 0.1, 100)
    for query in range(40):
        alone = ivf.visits(queries[query : query + 1], 0.1, 100)
        assert sorted(alone.lists) == sorted(together.of(np.array([query])).lists)


def test_visits_turned_round_are_the_same_visits(ivf):
    visits = ivf.visits(clustered(40, seed=2), 0.1, 100)
    pairs = {(q, int(n)) for q in range(40) for n in visits.lists[visits.starts[q] : visits.starts[q + 1]]}
    starts, queries = visits.by_list(len(ivf))
    assert pairs == {(int(q), n) for n in range(len(ivf)) for q in queries[starts[n] : starts[n + 1]]}
    few, others = visits.in_turn()
    assert len(few.lists) + len(others.lists) == len(visits.lists)


@pytest.mark.parametrize(("rows", "is_clustered"), [(0, False), (1, False), (1, True), (3, True)])
def test_hardly_any_passages_are_grouped_too(tmp_path, rows, is_clustered):
    lists = grouped(clustered(3)[:rows], tmp_path / "few", is_clustered)
    assert sorted(lists.rows.tolist()) == list(range(rows))


def test_the_same_vectors_and_seed_give_the_same_files(tmp_path, ivf):
    again = grouped(clustered(2000), tmp_path / "again")
    other = grouped(clustered(2000), tmp_path / "other", seed=1)
    assert (tmp_path / "ivf/lists-codes.npy").read_bytes() == (tmp_path / "again/lists-codes.npy").read_bytes()
    assert again.starts.tolist() == ivf.starts.tolist()
    assert other.starts.tolist() != ivf.starts.tolist()


def test_lists_grow_with_the_root_of_the_rows():
    assert [lists_for(rows) for rows in (1, 100, 200_000, 1_000_000)] == [8, 64, 2048, 8192]
