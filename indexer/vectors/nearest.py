"""The nearest passages: many queries at once against the lists that each of them visits.

List by list, all queries that visit it are scored in one product of codes; what may be among the k nearest is scored
again by the stored vectors. So the result is exactly the best of the visited lists, for any batch, k and machine.
"""

from __future__ import annotations

import numpy as np

from indexer.encoders.threads import cores, shared_out
from indexer.vectors.codes import QueryCodes, products
from indexer.vectors.lists import Lists, Visits
from indexer.vectors.sift import Pools, best_of, left_in, sift, sift_lists
from indexer.vectors.stored import Vectors

QUERY_BLOCK = 8192  # queries in work at once, with the room for what they find bounded by POOL_BYTES
POOL_BYTES = 1 << 26
_LEAST = 32  # queries a thread: fewer share too few lists, and both threads together would take longer than one
_FEW = 8  # queries to a list for which a product of matrices does not pay
_TILE_ROWS, _TILE_SCORES = 1024, 1 << 18  # passages and scores of a product: they stay in the processor's cache
_SLACK = np.float32(1e-6)  # what the last float32 may take from a score


def nearest(
    lists: Lists, vectors: Vectors, queries: np.ndarray, visits: Visits, k: int, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best passages of the lists each query visits: scores float32 and rows int64, (n, k), ties by row.

    Where those hold fewer than k passages, minus infinity and -1 follow.
    """
    threads = threads or cores()
    scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    waiting, room = np.arange(len(queries)), 4 * k + 512
    while len(waiting):
        block = max(1, min(QUERY_BLOCK, POOL_BYTES // (8 * room)))
        share = max(-(-min(block, len(waiting)) // threads), min(block, _LEAST))
        portions = [waiting[first : first + share] for first in range(0, len(waiting), share)]

        def search(portion: np.ndarray, room: int = room) -> np.ndarray:
            found = _search(lists, vectors, queries[portion], visits.of(portion), k, room)
            is_whole = found[2]
            scores[portion[is_whole]], rows[portion[is_whole]] = found[0][is_whole], found[1][is_whole]
            left: np.ndarray = portion[~is_whole]
            return left

        again = shared_out(search, portions, threads)
        waiting, room = np.concatenate(again), min(4 * room, max(vectors.rows, k))
    return scores, rows


def _search(
    lists: Lists, vectors: Vectors, queries: np.ndarray, visits: Visits, k: int, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, rows, and whether the room was enough for the query: where it was not, the others mean nothing."""
    coded = QueryCodes.of(queries)
    pools = Pools.empty(len(queries), k, room)
    for part in visits.in_turn():
        _scan(lists, coded, part, pools)
    is_whole = pools.sizes <= room
    starts, pairs = left_in(pools)
    owners = np.repeat(np.arange(len(queries)), np.diff(starts))
    true = vectors.scores(queries, owners, pairs)
    scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    best_of(starts, pairs, true, scores, rows)
    return scores, rows, is_whole


def _scan(lists: Lists, coded: QueryCodes, visits: Visits, pools: Pools) -> None:
    """Every query against every list it visits, by codes, list by list."""
    units = coded.steps * np.float32(lists.step)
    starts, asking = visits.by_list(len(lists))
    room, gathered = np.empty(_TILE_SCORES + _TILE_ROWS * _FEW, np.int32), np.empty_like(coded.codes)
    is_asked_by_many = np.diff(starts) >= _FEW
    for number in np.flatnonzero(is_asked_by_many):
        first, end = lists.starts[number], lists.starts[number + 1]
        for place in range(first, end, _TILE_ROWS):
            rows = slice(place, min(place + _TILE_ROWS, end))
            width = max(_TILE_SCORES // (rows.stop - rows.start), _FEW)
            for queries in range(starts[number], starts[number + 1], width):
                some = asking[queries : min(queries + width, starts[number + 1])]
                own = np.take(coded.codes, some, axis=0, out=gathered[: len(some)], mode="clip")
                scores = products(lists.codes[rows], own, room)
                sift(
                    scores.reshape(-1),
                    some,
                    lists.rows[rows],
                    units,
                    _errors(coded, some, *lists.bounds[number]),
                    pools,
                )
    if not is_asked_by_many.all():
        _scan_few(lists, coded, visits, ~is_asked_by_many, units, pools)


def _scan_few(
    lists: Lists, coded: QueryCodes, visits: Visits, is_meant: np.ndarray, units: np.ndarray, pools: Pools
) -> None:
    """Every query against those of its lists that few others visit, query by query."""
    for query in range(len(visits)):
        own = visits.lists[visits.starts[query] : visits.starts[query + 1]]
        own = own[is_meant[own]]
        if len(own):
            errors = _errors(coded, np.array([query]), *lists.bounds[own].T)
            code = coded.codes[query].astype(np.float32)
            sift_lists(query, own, code, lists.starts, lists.codes, lists.rows, units, errors, pools)


def _errors(coded: QueryCodes, queries: np.ndarray, error: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """By how much a score by codes may be wrong: |q.v - q'.v'| <= |q| |v - v'| + |q - q'| |v'|."""
    wrong: np.ndarray = coded.norms[queries] * (error + _SLACK) + coded.errors[queries] * norm
    return wrong.astype(np.float32)
