"""The sift: of what is scored by codes, the passages that may be among a query's k nearest, in a pool of bounded size.

A code score says of the true score that it lies between two bounds. A passage stays in the pool while its upper bound
reaches the k-th best of the lower bounds: what falls out is surely not among the k nearest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

_TOGETHER = 64  # scores held against their limits at once
_NEVER = np.int32(2**30)  # a limit no score reaches


class Pools(NamedTuple):
    """For each of n queries, what it has found so far."""

    lows: np.ndarray  # (n, k) float32: a heap, the least first, of the k greatest lower bounds
    bars: np.ndarray  # (n,) float32, the least of each heap, side by side as every score is held against one
    rows: np.ndarray  # (n, room) int32
    highs: np.ndarray  # (n, room) float32, the upper bound of each
    sizes: np.ndarray  # (n,) int64, room + 1 where the room was not enough

    @staticmethod
    def empty(n: int, k: int, room: int) -> Pools:
        return Pools(
            np.full((n, k), -np.inf, np.float32),
            np.full(n, -np.inf, np.float32),
            np.empty((n, room), np.int32),
            np.empty((n, room), np.float32),
            np.zeros(n, np.int64),
        )


@njit(nogil=True, cache=True)
def sift(scores, queries, rows, units, errors, pools):  # type: ignore[no-untyped-def]
    """Take in scores (w * m,) int32, those of passage rows[0] for all `queries` (m,) first, then of rows[1] …

    `units` (n,) is what a score of 1 stands for and `errors` (m,) by how much it may be wrong.
    """
    count = len(queries)
    limits = np.full(count + _TOGETHER, _NEVER, np.int32)
    for i in range(count):
        query = np.uintp(queries[np.uintp(i)])
        limits[np.uintp(i)] = _limit(pools.bars[query], errors[np.uintp(i)], units[query])
    for first in range(0, count, _TOGETHER):
        stop = min(first + _TOGETHER, count)
        for j in range(len(rows)):
            place, bar = np.uintp(j * count + first), np.uintp(first)  # unsigned, lest numba asks if they are negative
            reaches = j * count + first + _TOGETHER > len(scores)  # there it must not look: that is beyond the scores
            if not reaches:
                for i in range(_TOGETHER):
                    reaches |= scores[place + np.uintp(i)] >= limits[bar + np.uintp(i)]
            if reaches:
                for i in range(stop - first):
                    score = scores[place + np.uintp(i)]
                    if score >= limits[first + i]:
                        query, error = queries[first + i], errors[first + i]
                        _put(pools, query, rows[j], score * units[query], error)
                        limits[first + i] = _limit(pools.bars[query], error, units[query])


@njit(nogil=True, cache=True)
def sift_lists(query, lists, code, starts, codes, rows, units, errors, pools):  # type: ignore[no-untyped-def]
    """Score and take in one query against whole lists: for those that too few ask for a product of matrices.

    `code` (dim,) float32 is the query's; `errors` has one for each of `lists`.
    """
    unit = units[query]
    for i in range(len(lists)):
        error = errors[i]
        limit = _limit(pools.bars[query], error, unit)
        for place in range(starts[lists[i]], starts[lists[i] + 1]):
            score = np.int32(_product(code, codes[place]))
            if score >= limit:
                _put(pools, query, rows[place], score * unit, error)
                limit = _limit(pools.bars[query], error, unit)


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _product(code, other):  # type: ignore[no-untyped-def]
    """Exact in float32 in any order, as all sums of codes are."""
    total = np.float32(0)
    for j in range(len(code)):
        total += code[j] * np.float32(other[j])
    return total


@njit(nogil=True, cache=True)
def _limit(bar, error, unit):  # type: ignore[no-untyped-def]
    """The least score whose upper bound reaches `bar`; errs downwards, by more than float32 may round."""
    least = (bar - error) / unit - np.float32(4)
    return np.int32(max(least, np.float32(-(2.0**30))))


@njit(nogil=True, cache=True)
def _put(pools, query, row, score, error):  # type: ignore[no-untyped-def]
    if score - error > pools.bars[query]:
        _replace_least(pools.lows[query], np.float32(score - error))
        pools.bars[query] = pools.lows[query, 0]
    room = pools.rows.shape[1]
    if pools.sizes[query] == room:
        _drop(pools, query)
    size = pools.sizes[query]
    if size >= room:
        pools.sizes[query] = room + 1
        return
    pools.rows[query, size] = row
    pools.highs[query, size] = np.float32(score + error) + np.float32(1e-6)
    pools.sizes[query] = size + 1


@njit(nogil=True, cache=True)
def _replace_least(heap, low):  # type: ignore[no-untyped-def]
    place, size = 0, len(heap)
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= low:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = low


@njit(nogil=True, cache=True)
def _drop(pools, query):  # type: ignore[no-untyped-def]
    """Let go of what is surely not among the nearest."""
    bar, kept = pools.bars[query], 0
    for place in range(pools.sizes[query]):
        if pools.highs[query, place] >= bar:
            pools.rows[query, kept] = pools.rows[query, place]
            pools.highs[query, kept] = pools.highs[query, place]
            kept += 1
    pools.sizes[query] = kept


def left_in(pools: Pools) -> tuple[np.ndarray, np.ndarray]:
    """What is left: the rows of query q are rows[starts[q]:starts[q + 1]]; none where the room was not enough."""
    _drop_all(pools)
    starts = np.concatenate([[0], np.cumsum(pools.sizes)])
    rows = np.empty(starts[-1], np.int64)
    _gather(pools, starts, rows)
    return starts, rows


@njit(nogil=True, cache=True)
def _drop_all(pools):  # type: ignore[no-untyped-def]
    for query in range(len(pools.sizes)):
        if pools.sizes[query] > pools.rows.shape[1]:
            pools.sizes[query] = 0
        _drop(pools, query)


@njit(nogil=True, cache=True)
def _gather(pools, starts, rows):  # type: ignore[no-untyped-def]
    for query in range(len(pools.sizes)):
        rows[starts[query] : starts[query + 1]] = pools.rows[query, : pools.sizes[query]]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def dot(order, owners, queries, passages, scores):  # type: ignore[no-untyped-def]
    """scores[order[i]] of its query and passages[i]: sums in float64, rounded to float32.

    The same for a query alone and in any batch.
    """
    for i in range(len(order)):
        query, passage = queries[owners[order[i]]], passages[i]
        total = 0.0
        for j in range(len(query)):
            total += np.float64(query[j]) * np.float64(passage[j])
        scores[order[i]] = np.float32(total)


@njit(nogil=True, cache=True)
def best_of(starts, rows, scores, best_scores, best_rows):  # type: ignore[no-untyped-def]
    """The k best of each query's pairs, best first, ties by row."""
    k = best_rows.shape[1]
    for query in range(len(starts) - 1):
        begin, end = starts[query], starts[query + 1]
        by_row = np.argsort(rows[begin:end])
        by_score = np.argsort(-scores[begin:end][by_row], kind="mergesort")
        for place in range(min(k, end - begin)):
            pair = begin + by_row[by_score[place]]
            best_scores[query, place] = scores[pair]
            best_rows[query, place] = rows[pair]
