"""Fusion: two rankings made one by reciprocal rank (Cormack 2009). Pure; it uses ranks, never scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RRF_CONSTANT = 60


@dataclass(frozen=True)
class Fused:
    """The fused ranking, (n, k) each, best first; the rank of each row in the first and the second, -1 if missing."""

    rows: np.ndarray  # int64
    scores: np.ndarray  # float32
    first_rank: np.ndarray  # int32
    second_rank: np.ndarray  # int32


def reciprocal_rank_fusion(first: np.ndarray, second: np.ndarray, k: int) -> Fused:
    """The k best rows by the sum of 1 / (60 + rank), ranks from 1, a missing row adding 0; ties by row.

    `first` (n, a) and `second` (n, b) hold rows, best first, -1 for no row. The result is as wide as k or as there are
    columns in both; -1 where a query has fewer rows.
    """
    n_first = first.shape[1]
    rows = np.hstack([first, second])
    ranks = np.hstack([np.broadcast_to(np.arange(side.shape[1]), side.shape) for side in (first, second)])
    of_second = np.broadcast_to(np.arange(rows.shape[1]) >= n_first, rows.shape)
    order = np.argsort(rows, axis=1, kind="stable")  # a row that both name stands side by side, the first's before
    rows, ranks, of_second = (np.take_along_axis(array, order, axis=1) for array in (rows, ranks, of_second))

    shares = np.where(rows >= 0, 1.0 / (RRF_CONSTANT + 1 + ranks), -np.inf)
    again = np.zeros(rows.shape, bool)
    again[:, 1:] = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] >= 0)
    named_again = np.zeros(rows.shape, bool)
    named_again[:, :-1] = again[:, 1:]
    scores = shares.copy()
    scores[:, :-1] += np.where(named_again[:, :-1], shares[:, 1:], 0.0)
    scores[again] = -np.inf
    first_rank = np.where(of_second, -1, ranks)
    second_rank = np.where(of_second, ranks, -1)
    second_rank[:, :-1] = np.where(named_again[:, :-1], ranks[:, 1:], second_rank[:, :-1])

    best = np.lexsort((rows, -scores), axis=1)[:, :k]
    scores, rows, first_rank, second_rank = (
        np.take_along_axis(array, best, axis=1) for array in (scores, rows, first_rank, second_rank)
    )
    is_row = np.isfinite(scores)
    return Fused(
        rows=np.where(is_row, rows, -1),
        scores=np.where(is_row, scores, np.nan).astype(np.float32),
        first_rank=np.where(is_row, first_rank, -1).astype(np.int32),
        second_rank=np.where(is_row, second_rank, -1).astype(np.int32),
    )


def filled(fused: Fused, others: np.ndarray) -> Fused:
    """The ranking with the rows of `others` (n, m), -1 for none, in the places that hold no row, in their order, at 0.

    They stand in neither ranking, so that their ranks stay -1.
    """
    empty = fused.rows < 0
    others = np.pad(others, ((0, 0), (0, 1)), constant_values=-1)  # for where there are not enough of them
    first = np.argsort(others < 0, axis=1, kind="stable")
    others = np.take_along_axis(others, first, axis=1)
    nth = np.minimum(np.cumsum(empty, axis=1) - 1, others.shape[1] - 1)
    rows = np.where(empty, np.take_along_axis(others, np.maximum(nth, 0), axis=1), fused.rows)
    return replace(fused, rows=rows, scores=np.where(empty & (rows >= 0), np.float32(0), fused.scores))
