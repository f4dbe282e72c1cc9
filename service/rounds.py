"""Rounds: the best neighbours of an utterance ask in their turn, and what they find comes after its own neighbours.

Only what may stand in the set asks: what is held out would lead to what the test is made of. What several of them find
comes first (reciprocal rank fusion). A neighbour of a later round has no score, as nothing compared it with the
utterance, and its rank goes on: of round r (the first is 0) it is from r times the depth of a search on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.draft import Draft
from contract.progress import Progress
from service.candidates import Retrieved, Work, step_table, unjudged
from service.neighbours import DISCOUNT, HITS, hit_table, numbers
from service.selection import REASONS, Candidates, SelectionPolicy, reasons_alone

UNIT = 10**12  # what rank 0 is worth, in whole numbers, whose sums follow no order


@dataclass(frozen=True)
class Asking:
    """The hits that ask, at most `most` of an utterance and ordered by it; what their utterances have found already."""

    hits: Candidates
    known: Candidates
    most: int

    def of(self, first: int, last: int) -> Asking:
        """The same for utterances [first, last) alone."""
        return Asking(_between(self.hits, first, last), _between(self.known, first, last), self.most)


def choose_asking(policy: SelectionPolicy, hits: Candidates, askers: int, *, nearest: int) -> Asking:
    """Of each utterance the `askers` best hits of rank `nearest` and farther that could stand in the set."""
    reasons = reasons_alone(policy, hits)
    may = np.flatnonzero((reasons == 0) & (hits.rank >= nearest))
    utterance = hits.utterance[may]  # ordered by utterance, then rank
    before = np.arange(len(may)) - np.searchsorted(utterance, utterance)
    # What only filled up a list, for no word in common with the utterance, may still be near to a neighbour.
    return Asking(hits.take(may[before < askers]), hits.take(reasons != REASONS.index("no_match")), askers)


def find_again(
    draft: Draft,
    retrieval: Retrieved,
    asking: Asking,
    utterances: int,
    rank: int,
    *,
    label: str,
    work: Work,
    progress: Progress,
) -> pa.Table:
    """What the hits that ask find and their utterances had not found, in the HITS schema, of `rank` and farther."""
    tables = [HITS.empty_table()]
    together = max(1, work.utterances // asking.most)  # so many that a step searches no more texts than one of before
    for first in range(0, utterances, together):
        last = min(first + together, utterances)
        make = partial(_found, retrieval, asking.of(first, last), rank)
        tables.append(step_table(draft, f"hits-{label}-{first}-{last}", make))
        progress("searching again", last, utterances)
    return pa.concat_tables(tables).combine_chunks()


def join(hits: pa.Table, more: pa.Table, candidates: Candidates, others: Candidates) -> tuple[pa.Table, Candidates]:
    """Hits of two rounds as one, ordered by utterance, then rank."""
    order = np.lexsort((np.append(candidates.rank, others.rank), np.append(candidates.utterance, others.utterance)))
    columns = {
        f.name: np.append(getattr(candidates, f.name), getattr(others, f.name))[order] for f in fields(Candidates)
    }
    return pa.concat_tables([hits, more]).take(pa.array(order)), replace(candidates, **columns)


def _found(retrieval: Retrieved, asking: Asking, rank: int) -> pa.Table:
    rows, asks = np.unique(asking.hits.row, return_inverse=True)
    if not len(rows):
        return hit_table(_columns(np.zeros((0, 3), np.int64)))
    answers = retrieval.search(retrieval.passages(rows)["text"].to_pylist())
    matched = ~unjudged(answers, retrieval.retriever).unmatched
    answer, found, at = (numbers(answers, name)[matched] for name in ("utterance", "row", "rank"))
    starts = np.searchsorted(answer, np.arange(len(rows) + 1))
    counts = np.diff(starts)[asks]
    places = np.repeat(starts[asks] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    utterance = np.repeat(asking.hits.utterance, counts).astype(np.int64)
    fused = _fuse(utterance, found[places], at[places])
    fused = fused[~_is_known(fused, asking.known)]
    place = np.arange(len(fused)) - np.searchsorted(fused[:, 0], fused[:, 0])
    kept = place < retrieval.k
    return hit_table(_columns(np.column_stack((fused[kept], rank + place[kept]))))


def _fuse(
    utterance: npt.NDArray[np.int64], row: npt.NDArray[np.int64], rank: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Pairs of an utterance and a row, each once, (n, 2): by utterance, best first; ties go by row."""
    pairs, which = np.unique(np.column_stack((utterance, row)), axis=0, return_inverse=True)
    worth = np.zeros(len(pairs), np.int64)
    np.add.at(worth, which.ravel(), UNIT * DISCOUNT // (DISCOUNT + rank.astype(np.int64)))
    ordered: npt.NDArray[np.int64] = pairs[np.lexsort((pairs[:, 1], -worth, pairs[:, 0]))]
    return ordered


def _is_known(pairs: npt.NDArray[np.int64], known: Candidates) -> npt.NDArray[np.bool_]:
    have = np.column_stack((known.utterance.astype(np.int64), known.row))
    both = np.unique(np.concatenate((have, pairs)), axis=0, return_inverse=True)[1].ravel()
    is_known: npt.NDArray[np.bool_] = np.isin(both[len(have) :], both[: len(have)])
    return is_known


def _columns(hits: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of HITS: utterance, row, rank (n, 3), and no score."""
    n = len(hits)
    ranks = dict.fromkeys(("lexical_rank", "dense_rank"), np.full(n, -1))
    scores = dict.fromkeys(("score", "lexical_score", "dense_score"), np.full(n, np.nan))
    return {"utterance": hits[:, 0], "row": hits[:, 1], "rank": hits[:, 2], **ranks, **scores}


def _between(hits: Candidates, first: int, last: int) -> Candidates:
    begin, end = np.searchsorted(hits.utterance, (first, last))
    return hits.take(np.arange(begin, end))
