"""Fusion equals its definition, and is a function of ranks alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.fusion import filled, reciprocal_rank_fusion

RANKING = st.lists(st.integers(0, 12), unique=True, max_size=8)


def by_definition(first: list[int], second: list[int]) -> list[tuple[int, float]]:
    """papers.md: sum over rankings of 1 / (60 + rank), ranks from 1; a missing passage adds 0."""
    score = {
        row: sum(1 / (60 + ranking.index(row) + 1) for ranking in (first, second) if row in ranking)
        for row in {*first, *second}
    }
    return sorted(score.items(), key=lambda item: (-item[1], item[0]))


def padded(rankings: list[list[int]]) -> np.ndarray:
    width = max((len(ranking) for ranking in rankings), default=0)
    return np.array([ranking + [-1] * (width - len(ranking)) for ranking in rankings], np.int64).reshape(
        len(rankings), width
    )


@settings(deadline=None)
@given(st.lists(st.tuples(RANKING, RANKING), min_size=1, max_size=4), st.integers(1, 20))
def test_fusion_is_reciprocal_rank_fusion(rankings, k):
    first, second = [a for a, _ in rankings], [b for _, b in rankings]
    fused = reciprocal_rank_fusion(padded(first), padded(second), k)
    for query, (a, b) in enumerate(rankings):
        expected = by_definition(a, b)[:k]
        found = fused.rows[query][fused.rows[query] >= 0]
        assert found.tolist() == [row for row, _ in expected]
        np.testing.assert_allclose(fused.scores[query][: len(expected)], [score for _, score in expected], rtol=1e-6)
        for place, row in enumerate(found.tolist()):
            assert fused.first_rank[query, place] == (a.index(row) if row in a else -1)
            assert fused.second_rank[query, place] == (b.index(row) if row in b else -1)
        assert (fused.rows[query][len(expected) :] == -1).all()


@given(RANKING, RANKING)
def test_swapping_the_rankings_changes_no_row_and_no_score(a, b):
    there = reciprocal_rank_fusion(padded([a]), padded([b]), 20)
    back = reciprocal_rank_fusion(padded([b]), padded([a]), 20)
    assert (there.rows == back.rows).all()
    assert there.scores.tobytes() == back.scores.tobytes()
    assert (there.first_rank == back.second_rank).all()


def test_a_row_that_both_name_beats_the_first_of_one():
    fused = reciprocal_rank_fusion(np.array([[9, 5]]), np.array([[7, 5]]), 3)
    assert fused.rows.tolist() == [[5, 7, 9]]


@given(RANKING, RANKING)
def test_fewer_hits_are_the_first_of_more(a, b):
    ten, three = (reciprocal_rank_fusion(padded([a]), padded([b]), k) for k in (10, 3))
    assert (ten.rows[:, :3] == three.rows).all()


@given(RANKING, RANKING, st.lists(st.integers(20, 40), unique=True, max_size=8), st.integers(1, 12))
def test_places_without_a_row_are_filled_in_order_and_stand_in_no_ranking(a, b, others, k):
    fused = reciprocal_rank_fusion(padded([a]), padded([b]), k)
    full = filled(fused, np.array([[-1, *others]]))
    found = int((fused.rows[0] >= 0).sum())
    assert full.rows[0, :found].tolist() == fused.rows[0, :found].tolist()
    width = min(len(others), full.rows.shape[1] - found)
    assert full.rows[0, found : found + width].tolist() == others[:width]
    assert (full.rows[0, found + width :] == -1).all()
    assert (full.scores[0, found : found + width] == 0).all()
    assert np.isnan(full.scores[0, found + width :]).all()
    assert (full.first_rank[0, found:] == -1).all()
