"""Candidates: the hits of all utterances, found and judged in steps, so that a kill loses one step's work.

Between steps they lie in the draft's scratch: hits by utterances, then what the policy must know of each hit's text, by
passages, so that a passage many utterances found is read and judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contract.artifact import write_parquet
from contract.draft import Draft
from contract.manifest import move_into_place
from contract.progress import Progress
from service.heldout import Folded, Heldout, folded_words
from service.neighbours import HITS, SearchIndex, Searching, flatten, numbers
from service.selection import Candidates, SelectionPolicy, outside_bands

JUDGED = pa.schema([("n_words", pa.int32()), ("heldout", pa.int8()), ("near", pa.bool_())])


@dataclass(frozen=True)
class Work:
    """How much one step does: utterances a search, passages a judgement. Changes no result."""

    utterances: int = 1024
    passages: int = 16_384


class Retrieval(Protocol):
    """A retriever with its utterances: hits of a range of them, and the passages the hits name."""

    def hits(self, first: int, last: int) -> pa.Table: ...
    def passages(self, rows: npt.NDArray[np.int64]) -> pa.Table: ...


@dataclass(frozen=True)
class Retrieved:
    """The retrieval of an index."""

    index: SearchIndex
    queries: Sequence[str]
    k: int
    retriever: Searching
    seed: int

    def hits(self, first: int, last: int) -> pa.Table:
        return self.search(self.queries[first:last], first)

    def search(self, texts: Sequence[str], first: int = 0) -> pa.Table:
        """The hits of any texts, numbered from `first`."""
        return flatten(self.index.search(texts, self.k, self.retriever, seed=self.seed), first)

    def passages(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        return self.index.passages(rows)


@dataclass(frozen=True)
class Judgement:
    """What a hit's text is judged by: held-out text, the utterances' own texts, the policy's bands."""

    policy: SelectionPolicy
    heldout: Heldout
    texts: Sequence[tuple[str, ...]]  # of every utterance, both of a pair
    near: float | None  # Jaccard; None drops equal texts only

    def judge(self, passages: pa.Table, utterance: npt.NDArray[np.int32], passage: npt.NDArray[np.int64]) -> pa.Table:
        """JUDGED rows for hits given as pairs of an utterance's and a passage's position."""
        texts = passages["text"].to_pylist()
        folds = [Folded.of(text) for text in texts]
        n_words, heldout = numbers(passages, "n_words"), self.heldout.judge(texts, folds)
        near = self._near(folds, utterance, passage)
        return pa.table([n_words[passage], heldout[passage], near], schema=JUDGED)

    def _near(
        self, folds: Sequence[Folded], utterance: npt.NDArray[np.int32], passage: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Which pairs are near-duplicates. Most have so unequal numbers of words that they need no other look."""
        sizes = np.fromiter((len({*fold.words}) for fold in folds), np.int64, len(folds))[passage]
        least = 1.0 if self.near is None else self.near
        near = np.zeros(len(passage), bool)
        bag_at = cache(lambda p: _Bag.of(folds[p]))
        for text in range(self._sizes.shape[1]):
            own = self._sizes[utterance, text]
            alike = (own >= 0) & (np.minimum(own, sizes) >= least * np.maximum(own, sizes) - 1e-9)
            own_bag = cache(lambda u, text=text: _Bag.of(Folded.of(self.texts[u][text])))
            asked = np.flatnonzero(alike & ~near)
            pairs = zip(utterance[asked].tolist(), passage[asked].tolist(), strict=True)
            near[asked] = [bag_at(p).near(own_bag(u), self.near) for u, p in pairs]
        return near

    @cached_property
    def _sizes(self) -> npt.NDArray[np.int64]:
        """The number of different words of every utterance's texts, (utterances, texts); -1 where there is none."""
        most = max(map(len, self.texts), default=0)
        sizes = np.full((len(self.texts), most), -1, np.int64)
        for utterance, texts in enumerate(self.texts):
            sizes[utterance, : len(texts)] = [len({*folded_words(text)}) for text in texts]
        return sizes


@dataclass(frozen=True)
class _Bag:
    """A text as near-duplicates see it: the set of its words."""

    text: str
    words: frozenset[str]

    @staticmethod
    def of(fold: Folded) -> _Bag:
        return _Bag(fold.text, frozenset(fold.words))

    def near(self, other: _Bag, threshold: float | None) -> bool:
        """Equal, or with a Jaccard of word sets that reaches the threshold."""
        if self.text == other.text:
            return True
        if threshold is None:
            return False
        common = len(self.words & other.words)
        return common > 0 and common >= threshold * (len(self.words) + len(other.words) - common)


def find_hits(
    draft: Draft, retrieval: Retrieval, utterances: int, *, label: str, work: Work, progress: Progress
) -> pa.Table:
    """The hits of all utterances in the HITS schema; steps already done are read, not searched again.

    `label` tells the steps of one search of a draft from those of another.
    """
    tables = [HITS.empty_table()]
    for first in range(0, utterances, work.utterances):
        last = min(first + work.utterances, utterances)
        tables.append(step_table(draft, f"hits-{label}-{first}-{last}", partial(retrieval.hits, first, last)))
        progress("searching", last, utterances)
    return pa.concat_tables(tables).combine_chunks()


def judge_hits(
    draft: Draft,
    retrieval: Retrieval,
    candidates: Candidates,
    judgement: Judgement,
    *,
    label: str,
    work: Work,
    progress: Progress,
) -> None:
    """Fill in what the policy must know of every text. Those of hits outside the rank and score bands are not read."""
    inside = np.flatnonzero(outside_bands(judgement.policy, candidates) == 0)
    inside = inside[np.argsort(candidates.row[inside], kind="stable")]
    rows, starts = np.unique(candidates.row[inside], return_index=True)
    starts = np.append(starts, len(inside))
    for first in range(0, len(rows), work.passages):
        last = min(first + work.passages, len(rows))
        chosen = inside[starts[first] : starts[last]]
        make = partial(_judged, retrieval, judgement, rows[first:last], candidates.take(chosen))
        table = step_table(draft, f"judged-{label}-{first}-{last}", make)
        candidates.n_words[chosen] = numbers(table, "n_words")
        candidates.heldout[chosen] = numbers(table, "heldout")
        candidates.near[chosen] = numbers(table, "near")
        progress("judging", last, len(rows))


def _judged(retrieval: Retrieval, judgement: Judgement, rows: npt.NDArray[np.int64], hits: Candidates) -> pa.Table:
    return judgement.judge(retrieval.passages(rows), hits.utterance, np.searchsorted(rows, hits.row))


def unjudged(hits: pa.Table, retriever: str) -> Candidates:
    """Hits as the policy sees them before their texts are read."""
    n = len(hits)
    unmatched = np.zeros(n, bool)
    if retriever == "lexical":
        unmatched = numbers(hits, "score") <= 0
    elif retriever == "hybrid":
        unmatched = (numbers(hits, "dense_rank") < 0) & ~(numbers(hits, "lexical_score") > 0)
        unmatched &= ~np.isnan(numbers(hits, "score"))  # one of a later round matches what asked
    return Candidates(
        utterance=numbers(hits, "utterance").astype(np.int32),
        row=numbers(hits, "row"),
        rank=numbers(hits, "rank").astype(np.int32),
        score=numbers(hits, "score").astype(np.float32),
        unmatched=unmatched,
        n_words=np.zeros(n, np.int32),
        heldout=np.zeros(n, np.int8),
        near=np.zeros(n, bool),
        place=numbers(hits, "rank").astype(np.int32),
    )


def step_table(draft: Draft, step: str, make: Callable[[], pa.Table]) -> pa.Table:
    """The table of a step, made and left in scratch when no receipt says that it lies there."""
    path = draft.scratch(f"{step}.parquet")
    if draft.receipt(step) is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        write_parquet(make(), unfinished)
        move_into_place(unfinished, path)
        draft.keep(step, {})
    return pq.read_table(path)
