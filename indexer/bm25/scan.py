"""BM25 over one shard of postings: impacts from global statistics, and the exact scan for every query's best k.

The arithmetic is one float32 sum a passage, over the query's distinct terms from the rarest to the most frequent, each
impact rounded to float32 from float64. That order depends on the whole corpus only, so no cutting into shards, blocks
or threads, and no skipping of work, changes a bit of a score (law 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from indexer.bm25.postings import Postings

Variant = Literal["lucene", "okapi", "bm25plus"]
OKAPI_FLOOR = 0.25  # rank-bm25's epsilon: a negative idf becomes this times the mean idf of the vocabulary

BLOCK = 16_384  # passages a block: its float32 scores stay in the L2 cache
PANEL_ROWS = 8 * BLOCK  # passages laid out at a time
_PART = 1_024  # scores swept before what was found raises the bar for the next ones
_CHUNK = 64  # scores compared with the k-th best at a time
_DENSE_SHARE = 8  # a term in more than 1/8 of a shard is laid out as a row: adding that beats adding its postings
_DENSE_TERMS = 64  # at most so many rows, which bounds their memory to 32 MiB
_SKIPPED_SHARE = 0.5  # skipped terms may make at most this share of the k-th best score; more finds too many candidates
_WALK_SHARE = 16  # with fewer postings than 1/16 of a block, these are walked again instead of scanning the block
_ROUNDING = 1.2e-7  # relative error of one float32 operation


@dataclass(frozen=True)
class Statistics:
    """What a score needs to know of the whole corpus."""

    variant: Variant
    k1: float
    b: float
    rows: int
    mean_length: float
    mean_idf: float  # of the vocabulary, before the floor; used by okapi alone

    @property
    def boost(self) -> float:
        """What a term's count is multiplied by: Lucene leaves the k1 + 1 out, which changes no order."""
        return 1.0 if self.variant == "lucene" else self.k1 + 1

    def idf(self, frequencies: np.ndarray) -> np.ndarray:
        """Inverse document frequencies as the variant defines them, (n,) float64."""
        idf = raw_idf(self.variant, self.rows, frequencies)
        return np.where(idf < 0, OKAPI_FLOOR * self.mean_idf, idf) if self.variant == "okapi" else idf


def raw_idf(variant: Variant, rows: int, frequencies: np.ndarray) -> np.ndarray:
    """The logarithm alone: of odds for okapi, else of something that is always above one."""
    if variant == "bm25plus":
        return np.asarray(np.log((rows + 1) / frequencies))
    odds = (rows - frequencies + 0.5) / (frequencies + 0.5)
    return np.log(odds) if variant == "okapi" else np.log1p(odds)


class Queries(NamedTuple):
    """Queries as bags of terms: query q has terms[starts[q]:starts[q + 1]], ascending, weights as often."""

    starts: np.ndarray  # (n + 1,) int64
    terms: np.ndarray  # (m,) int32, numbers in which a smaller one is a rarer term
    weights: np.ndarray  # (m,) float32


class Panel(NamedTuple):
    """Rows of a shard laid out for the terms of the queries at hand; u terms, n blocks."""

    first_row: int
    rows: int
    cuts: np.ndarray  # (u, n + 1) int64: term t's postings of block i are cuts[t, i]:cuts[t, i + 1]
    slots: np.ndarray  # (p,) uint16, the passage counted from its block
    impacts: np.ndarray  # (p,) float32
    dense_of: np.ndarray  # (u,) int32, the term's row in `dense`, -1 without one
    dense: np.ndarray  # (d, n * BLOCK) float32
    highest: np.ndarray  # (u,) float32, the term's greatest impact here


class Best(NamedTuple):
    """The best hits so far of every query, a heap each with the worst at its root."""

    scores: np.ndarray  # (n, k) float32
    rows: np.ndarray  # (n, k) int64
    sizes: np.ndarray  # (n,) int64
    lifts: np.ndarray  # (n,) float32, added to all hits of a query once they are ranked


def no_hits(queries: int, k: int) -> Best:
    """The heaps before the first shard."""
    scores, rows = np.zeros((queries, k), np.float32), np.zeros((queries, k), np.int64)
    return Best(scores, rows, np.zeros(queries, np.int64), np.zeros(queries, np.float32))


def panels(shard: Postings, positions: np.ndarray, idf: np.ndarray, statistics: Statistics) -> Iterator[Panel]:
    """A shard laid out for the terms at `positions` in it (-1: not there), with their global `idf`.

    So many rows at a time that memory follows neither the shard nor the corpus.
    """
    here = positions >= 0
    begin = np.where(here, shard.starts[positions], 0)
    stop = np.where(here, shard.starts[positions + 1], 0)
    for first in range(0, shard.rows, PANEL_ROWS):
        rows = min(PANEL_ROWS, shard.rows - first)
        end = _cut(begin, stop, shard.passages, first + rows)
        yield _panel(shard, first, rows, begin, end - begin, idf, statistics)
        begin = end


def _panel(
    shard: Postings,
    first: int,
    rows: int,
    begin: np.ndarray,
    frequencies: np.ndarray,
    idf: np.ndarray,
    statistics: Statistics,
) -> Panel:
    blocks = -(-rows // BLOCK)
    dense_of = _choose_dense(frequencies, rows)
    dense = np.zeros((int(dense_of.max(initial=-1)) + 1, blocks * BLOCK), np.float32)
    cuts, slots, impacts, highest = _lay_out(
        begin, frequencies, shard.passages, shard.counts, _norms(shard.lengths[first : first + rows], statistics), idf,
        statistics.boost, first, blocks, dense_of, dense,
    )  # fmt: skip
    return Panel(shard.first_row + first, rows, cuts, slots, impacts, dense_of, dense, highest)


def _norms(lengths: np.ndarray, statistics: Statistics) -> np.ndarray:
    """What a term's count is weighed against in each passage, (rows,) float64."""
    relative = lengths / statistics.mean_length if statistics.mean_length else np.zeros(len(lengths))
    return np.asarray(statistics.k1 * (1 - statistics.b + statistics.b * relative))


def _choose_dense(frequencies: np.ndarray, rows: int) -> np.ndarray:
    """The row of impacts each term gets, -1 for one that is too rare, (u,) int32."""
    dense_of = np.full(len(frequencies), -1, np.int32)
    chosen = np.argsort(-frequencies, kind="stable")[:_DENSE_TERMS]
    chosen = chosen[frequencies[chosen] * _DENSE_SHARE > rows]
    dense_of[chosen] = np.arange(len(chosen), dtype=np.int32)
    return dense_of


@njit(nogil=True, cache=True)
def _cut(begin, stop, passages, row):  # type: ignore[no-untyped-def]
    """Where each term's postings reach `row`, by halving."""
    end = np.empty_like(begin)
    for term in range(len(begin)):
        low, high = begin[term], stop[term]
        while low < high:
            middle = (low + high) // 2
            if passages[middle] < row:
                low = middle + 1
            else:
                high = middle
        end[term] = low
    return end


@njit(nogil=True, cache=True)
def _lay_out(begin, frequencies, passages, counts, norms, idf, boost, first, blocks, dense_of, dense):  # type: ignore[no-untyped-def]
    """Impacts of the wanted terms' postings from row `first` on, in the terms' order, cut at the blocks' bounds."""
    terms, total = len(begin), frequencies.sum()
    cuts = np.zeros((terms, blocks + 1), np.int64)
    slots = np.empty(total, np.uint16)
    impacts = np.empty(total, np.float32)
    highest = np.zeros(terms, np.float32)
    position = 0
    for term in range(terms):
        cuts[term, 0] = position
        block, row, top = 0, dense_of[term], np.float32(-np.inf)
        for posting in range(begin[term], begin[term] + frequencies[term]):
            passage, count = np.int64(passages[posting]) - first, np.float64(counts[posting])
            while passage >= (block + 1) * BLOCK:
                block += 1
                cuts[term, block] = position
            impact = np.float32(idf[term] * (count * boost / (count + norms[passage])))
            slots[position] = passage - block * BLOCK
            impacts[position] = impact
            if row >= 0:
                dense[row, passage] = impact
            top = max(top, impact)
            position += 1
        cuts[term, block + 1 :] = position
        if frequencies[term]:
            highest[term] = top
    return cuts, slots, impacts, highest


@njit(nogil=True, cache=True)
def scan(first, last, queries, floors, panel, best):  # type: ignore[no-untyped-def]
    """Bring the best hits of queries [first, last) up to date with a shard.

    `floors` says for each query what score a hit must reach at least: more than 0, or minus infinity where an idf is
    negative. A query's most frequent terms are skipped while all of them together cannot lift a passage that has none
    of the others to the k-th best score; what the others find is completed by looking the skipped ones up.

    Here and below arrays are taken out of their tuples once, and indexed by unsigned integers without slicing:
    counting references and wrapping negative indices around would take several times as long as the work itself.
    """
    q_starts, q_terms, q_weights = queries
    h_scores, h_rows, sizes, _ = best
    dense_of, dense, highest = panel.dense_of, panel.dense, panel.highest
    cuts, slots, impacts = panel.cuts, panel.slots, panel.impacts
    scores = np.zeros(BLOCK, np.float32)
    found_slots, found_scores = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.float32)
    k = h_scores.shape[1]
    for block in range(cuts.shape[1] - 1):
        base = block * BLOCK
        for query in range(first, last):
            start, end, floor = q_starts[query], q_starts[query + 1], floors[query]
            error = (end - start + 4) * _ROUNDING
            bar = np.float64(h_scores[query, 0]) if sizes[query] == k and floor > 0 else 0.0
            needed, slack = end, 0.0
            while needed > start and dense_of[q_terms[needed - 1]] >= 0:
                more = slack + np.float64(q_weights[needed - 1]) * highest[q_terms[needed - 1]]
                if more >= bar * _SKIPPED_SHARE:
                    break
                slack, needed = more, needed - 1
            entry = _entry(bar, slack, error, floor)
            touched = _add(scores, start, needed, q_terms, q_weights, block, cuts, slots, impacts, dense_of, dense)
            walking = touched < BLOCK // _WALK_SHARE and floor > 0
            for part in range(0, 1 if walking else BLOCK, _PART):
                if walking:
                    found = _walk(scores, entry, start, needed, q_terms, block, cuts, slots, found_slots, found_scores)
                else:
                    found = _sweep(scores, entry, part, panel.rows - base, found_slots, found_scores)
                for at in range(found):
                    score = found_scores[at]
                    if score >= entry:
                        for i in range(needed, end):
                            score += q_weights[i] * dense[dense_of[q_terms[i]], base + found_slots[at]]
                        row = panel.first_row + base + found_slots[at]
                        sizes[query] = _offer(h_scores, h_rows, query, sizes[query], score, row)
                        if sizes[query] == k:
                            entry = _entry(np.float64(h_scores[query, 0]), slack, error, floor)


@njit(nogil=True, cache=True)
def _add(scores, start, needed, q_terms, q_weights, block, cuts, slots, impacts, dense_of, dense):  # type: ignore[no-untyped-def]
    """Add the impacts of a query's needed terms to the scores of a block; returns how many scores that touched."""
    touched = 0
    for i in range(start, needed):
        term, weight = q_terms[i], q_weights[i]
        if dense_of[term] >= 0:
            row, base = np.uintp(dense_of[term]), block * BLOCK
            for slot in range(BLOCK):
                scores[np.uintp(slot)] += weight * dense[row, np.uintp(base + slot)]
            touched += BLOCK
        else:
            low, high = cuts[term, block], cuts[term, block + 1]
            for posting in range(low, high):
                scores[np.uintp(slots[np.uintp(posting)])] += weight * impacts[np.uintp(posting)]
            touched += high - low
    return touched


@njit(nogil=True, cache=True)
def _walk(scores, entry, start, needed, q_terms, block, cuts, slots, found_slots, found_scores):  # type: ignore[no-untyped-def]
    """Find the scores of at least `entry` (above 0) along the needed terms' postings, and set all back to 0."""
    found = 0
    for i in range(start, needed):
        for posting in range(cuts[q_terms[i], block], cuts[q_terms[i], block + 1]):
            slot = np.uintp(slots[np.uintp(posting)])
            if scores[slot] >= entry:
                found_slots[found], found_scores[found] = slot, scores[slot]
                found += 1
            scores[slot] = 0
    return found


@njit(nogil=True, cache=True)
def _sweep(scores, entry, part, rows, found_slots, found_scores):  # type: ignore[no-untyped-def]
    """Find the scores of at least `entry` in the part that starts at `part`, below `rows`, and set all back to 0."""
    found = 0
    for chunk in range(part, part + _PART, _CHUNK):
        reached = np.int32(0)
        for slot in range(_CHUNK):
            reached |= np.int32(scores[np.uintp(chunk + slot)] >= entry)
        if reached:
            for slot in range(chunk, min(chunk + _CHUNK, rows)):
                if scores[slot] >= entry:
                    found_slots[found], found_scores[found] = slot, scores[slot]
                    found += 1
        for slot in range(_CHUNK):
            scores[np.uintp(chunk + slot)] = 0
    return found


@njit(nogil=True, cache=True)
def _entry(bar, slack, error, floor):  # type: ignore[no-untyped-def]
    """What the needed terms alone must score, lest the skipped ones cannot lift it to the bar; errs downwards."""
    return max(floor, np.float32(bar * (1 - error) - slack * (1 + error))) if floor > 0 else floor


@njit(nogil=True, cache=True)
def _offer(scores, rows, query, size, score, row):  # type: ignore[no-untyped-def]
    """Offer a hit to a query's heap, whose root is the worst (lowest score, then highest row); returns its size."""
    if size == scores.shape[1]:
        if _worse(scores[query, 0], rows[query, 0], score, row):
            _sink(scores, rows, query, size, score, row)
        return size
    at = size
    while at > 0:
        above = (at - 1) // 2
        if not _worse(score, row, scores[query, above], rows[query, above]):
            break
        scores[query, at], rows[query, at] = scores[query, above], rows[query, above]
        at = above
    scores[query, at], rows[query, at] = score, row
    return size + 1


@njit(nogil=True, cache=True)
def _sink(scores, rows, query, size, score, row):  # type: ignore[no-untyped-def]
    """Put a hit in the root's stead and let it sink to its place among the first `size`."""
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and _worse(
            scores[query, below + 1], rows[query, below + 1], scores[query, below], rows[query, below]
        ):
            below += 1
        if not _worse(scores[query, below], rows[query, below], score, row):
            break
        scores[query, at], rows[query, at] = scores[query, below], rows[query, below]
        at = below
    scores[query, at], rows[query, at] = score, row


@njit(nogil=True, cache=True)
def _worse(score, row, other_score, other_row):  # type: ignore[no-untyped-def]
    return score < other_score or (score == other_score and row > other_row)


@njit(nogil=True, cache=True)
def merge(best, more):  # type: ignore[no-untyped-def]
    """Offer every query's hits in `more`, of other passages, to its heap in `best`; neither need be full."""
    scores, rows, sizes, lifts = best
    more_scores, more_rows, more_sizes, more_lifts = more
    for query in range(len(sizes)):
        lifts[query] = more_lifts[query]
        for at in range(more_sizes[query]):
            sizes[query] = _offer(scores, rows, query, sizes[query], more_scores[query, at], more_rows[query, at])


@njit(nogil=True, cache=True)
def rank(best):  # type: ignore[no-untyped-def]
    """Sort every heap best first, in place, and fill it up with the lowest rows that it lacks, at score 0."""
    scores, rows, sizes, lifts = best
    for query in range(len(sizes)):
        size = sizes[query]
        taken = np.sort(rows[query, :size])
        for last in range(size - 1, 0, -1):
            score, row = scores[query, last], rows[query, last]
            scores[query, last], rows[query, last] = scores[query, 0], rows[query, 0]
            _sink(scores, rows, query, last, score, row)
        scores[query, :size] += lifts[query]
        row, seen = 0, 0
        for at in range(size, scores.shape[1]):
            while seen < size and taken[seen] == row:
                row, seen = row + 1, seen + 1
            scores[query, at], rows[query, at] = 0, row
            row += 1
