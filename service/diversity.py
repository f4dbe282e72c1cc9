"""Diversity: of an utterance's neighbours those that are near to it and unlike one another, picked one after another.

Maximal marginal relevance (Carbonell and Goldstein 1998). How near a neighbour is its rank says, by the discount that
fuses rankings, as scores of different retrievers have no common measure. How alike two are their words say, by Jaccard,
whatever the index: whole numbers, which no machine rounds its own way, of texts that any index can give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.draft import Draft
from contract.progress import Progress
from service.candidates import Retrieval, Work, step_table
from service.examples import shard_bounds
from service.heldout import folded_words
from service.neighbours import DISCOUNT, numbers
from service.selection import CROWDED, Candidates, SelectionPolicy, reasons_before_diversity

PLACES = pa.schema([("place", pa.int32())])


@dataclass(frozen=True)
class WordSets:
    """The words of some texts: text i has `words[starts[i]:starts[i + 1]]`, each once."""

    words: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @staticmethod
    def of(texts: Sequence[str]) -> WordSets:
        numbered: dict[str, int] = {}
        own = [[numbered.setdefault(word, len(numbered)) for word in {*folded_words(text)}] for text in texts]
        sizes = np.fromiter(map(len, own), np.int64, len(own))
        words = np.fromiter(chain.from_iterable(own), np.int64, int(sizes.sum()))
        return WordSets(words, np.concatenate(([0], np.cumsum(sizes))))


def spread_hits(
    draft: Draft,
    retrieval: Retrieval,
    hits: Candidates,
    policy: SelectionPolicy,
    *,
    keep: int,
    label: str,
    work: Work,
    progress: Progress,
) -> None:
    """Give the hits that nothing else drops their places, at most `keep` an utterance, in steps of some utterances."""
    left = np.flatnonzero(reasons_before_diversity(policy, hits) == 0)
    per_utterance = np.bincount(hits.utterance[left])
    for first, last in shard_bounds(per_utterance, work.passages) if len(left) else ():
        begin, end = np.searchsorted(hits.utterance[left], (first, last))
        chosen = left[begin:end]
        make = partial(_spread, retrieval, hits.take(chosen), policy, keep)
        hits.place[chosen] = numbers(step_table(draft, f"places-{label}-{first}-{last}", make), "place")
        progress("spreading", last, len(per_utterance))


def _spread(retrieval: Retrieval, hits: Candidates, policy: SelectionPolicy, keep: int) -> pa.Table:
    assert policy.diversity is not None
    rows, passage = np.unique(hits.row, return_inverse=True)
    words = WordSets.of(retrieval.passages(rows)["text"].to_pylist())
    return pa.table([places(hits, passage, words, policy.diversity, keep)], schema=PLACES)


def places(
    hits: Candidates, passage: npt.NDArray[np.int64], words: WordSets, diversity: float, keep: int
) -> npt.NDArray[np.int32]:
    """The order in which each utterance picks its hits, from 0; CROWDED beyond `keep`. `passage` numbers their texts.

    Each pick is the hit of the most (1 - diversity) * nearness - diversity * likeness to the most alike of those
    picked before; of equal ones the nearest. The hits are ordered by utterance, then rank.
    """
    if not len(hits):
        return np.zeros(0, np.int32)
    _, utterance, counts = np.unique(hits.utterance, return_inverse=True, return_counts=True)
    column = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
    grid = np.full((len(counts), int(counts.max())), -1)  # the hits of each utterance, a row of the grid
    grid[utterance, column] = np.arange(len(hits))
    common = _Common.of(utterance, passage, words)
    likeness = np.zeros(len(hits))
    worth = (1 - diversity) * DISCOUNT / (DISCOUNT + hits.rank.astype(np.float64))
    worth = np.append(worth, -np.inf)  # what stands in the grid's empty places
    place = np.full(len(hits), CROWDED, np.int32)
    for pick in range(min(keep, grid.shape[1])):
        value = worth - np.append(diversity * likeness, 0)
        best = grid[np.arange(len(grid)), np.argmax(value[grid], axis=1)]
        best = best[np.isfinite(value[best])]
        place[best] = pick
        worth[best] = -np.inf
        likeness = np.maximum(likeness, common.jaccard(best))
    return place


@dataclass(frozen=True)
class _Common:
    """The words of hits as entries of a dictionary of their utterance's own: only hits of one utterance share any."""

    entries: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    utterance: npt.NDArray[np.int64]
    dictionary: int

    @staticmethod
    def of(utterance: npt.NDArray[np.int64], passage: npt.NDArray[np.int64], words: WordSets) -> _Common:
        sizes = np.diff(words.starts)[passage]
        starts = np.concatenate(([0], np.cumsum(sizes)))
        entries = words.words[np.repeat(words.starts[passage] - starts[:-1], sizes) + np.arange(starts[-1])]
        own = np.repeat(utterance, sizes) * (int(words.words.max(initial=0)) + 1) + entries
        known, entries = np.unique(own, return_inverse=True)
        return _Common(entries, starts, utterance, len(known))

    def jaccard(self, picked: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """How alike every hit is to the picked one of its utterance, of which there is one at most."""
        sizes = np.diff(self.starts)
        seen = np.zeros(self.dictionary, bool)
        of_picked = np.zeros(int(self.utterance.max()) + 1, np.int64)
        of_picked[self.utterance[picked]] = sizes[picked]
        is_picked = np.zeros(len(sizes), bool)
        is_picked[picked] = True
        seen[self.entries[np.repeat(is_picked, sizes)]] = True
        shared = np.concatenate(([0], np.cumsum(seen[self.entries])))
        both = shared[self.starts[1:]] - shared[self.starts[:-1]]
        either = sizes + of_picked[self.utterance] - both
        return np.where(either > 0, both / np.maximum(either, 1), 0.0)
