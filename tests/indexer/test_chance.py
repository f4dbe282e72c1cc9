"""The random retriever: by seed and query alone, without replacement, and fair."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.chance import draw_rows

QUERIES = st.lists(st.text(max_size=10), min_size=1, max_size=4)


@given(QUERIES, st.integers(1, 40), st.integers(1, 30), st.integers(0, 5))
def test_drawn_rows_are_min_k_rows_and_all_different(queries, k, rows, seed):
    drawn = draw_rows(queries, k, rows, seed=seed)
    assert drawn.shape == (len(queries), min(k, rows))
    for query in drawn.tolist():
        assert len(set(query)) == len(query)
        assert all(0 <= row < rows for row in query)


@given(QUERIES, st.integers(1, 10), st.integers(10, 20))
def test_fewer_rows_are_the_first_of_more(queries, few, many):
    assert (draw_rows(queries, many, 1000, seed=1)[:, :few] == draw_rows(queries, few, 1000, seed=1)).all()


@settings(deadline=None)
@given(QUERIES)
def test_a_query_draws_the_same_alone_and_in_a_batch(queries):
    together = draw_rows(queries, 5, 500, seed=2)
    assert all(
        (draw_rows([query], 5, 500, seed=2)[0] == row).all() for query, row in zip(queries, together, strict=True)
    )


def test_seed_and_text_change_the_draw():
    drawn = {tuple(draw_rows([q], 5, 10**6, seed=s)[0]) for q in ("a", "b") for s in (0, 1)}
    assert len(drawn) == 4


def test_every_row_comes_as_often():
    drawn = draw_rows([f"query {n}" for n in range(4000)], 5, 10, seed=0)
    for place in range(5):
        assert np.abs(np.bincount(drawn[:, place], minlength=10) - 400).max() < 100  # five standard deviations


def test_the_draw_is_the_one_it_always_was():
    """A transfer set's id hangs on it: another numpy must not change it."""
    assert draw_rows(["play some jazz"], 5, 1_000_000, seed=7).tolist() == [[568164, 392736, 132176, 261154, 616935]]
