"""Bulk retrieval: many queries answered by an engine's workers, each over its part of an index, merged exactly.

What comes back is what one search over the whole index gives, to the bit: shards are scored with the whole corpus's
statistics, and hits are merged in the order every search has, by score and then by row. An index is cut into as many
parts as a worker's memory asks for, and no more: each part finds anew which scores are too low to matter (at 1.3 M
passages two parts take 1.2 times the work of one, eight take twice), while dealing out the queries costs nothing.
An approximate dense structure is never cut: it is one piece, of which a query touches a few lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from contract.store import Store
from indexer.bm25.postings import shard_rows
from indexer.bm25.scan import Best, merge, no_hits, rank
from indexer.dense import DenseIndex
from indexer.engine import Engine
from indexer.index import Index, dense_settings, lexical_settings, open_index
from indexer.lexical import LexicalIndex
from indexer.vectors.lists import FLAT_LIST, Lists
from indexer.vectors.nearest import nearest

PART_BYTES = 2 << 30  # of the files of an index that a worker searches
CALLS_A_WORKER = 3  # at least, so that all end together
HITS_AT_ONCE = 4_000_000  # of a part: about 50 MB on its way back
QUERIES_AT_ONCE = 1024  # embedded together, as a search by steps of so many would


def open_bulk_index(store: Store, name: str, engine: Engine) -> BulkIndex:
    """Open an index to be searched by an engine's workers; every machine must see the artifacts folder."""
    index = BulkIndex(store, open_index(store, name), engine)
    engine.reach(store.root)
    return index


class BulkIndex(Index):
    """An index whose lexical and dense rankings are made by an engine's workers."""

    def __init__(self, store: Store, index: Index, engine: Engine) -> None:
        super().__init__(index.name, index.artifact, index.corpus, index._made_from)
        self._engine = engine
        self._at = _Place(store.root.absolute(), index.name, index.artifact.id)

    def _search_lexical(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.settings.lexical.scorer != "bulk":
            return super()._search_lexical(queries, k)
        shards = range(len(shard_rows(self.artifact)))
        cells = self._cells(portions(shards, self._parts_for("lexical-")), len(queries), k)
        return self._merged(_LexicalCells(self._at, cells, tuple(queries), k), len(queries))

    def _search_dense(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        vectors, facts = self._encode(queries), self.artifact.manifest.facts["dense"]
        if facts["structure"] != "flat":
            return self._search_whole(vectors, k)
        parts = _parts_with(k, facts["rows"], self._parts_for("lists-", "dense-"))
        return self._merged(_DenseCells(self._at, self._cells(parts, len(queries), k), vectors, k), len(queries))

    def _parts_for(self, *names: str) -> int:
        """Into how many parts files of these names are cut, so that a worker holds one of them in its memory."""
        size = sum(entry.bytes for entry in self.artifact.manifest.files if entry.name.startswith(names))
        return -(-size // min(PART_BYTES, self._engine.memory_budget or PART_BYTES))

    def _cells(self, parts: Sequence[range], queries: int, k: int) -> list[Cell]:
        """Every part for every query, in pieces that keep all workers busy and are bounded in what comes back."""
        wanted = -(-CALLS_A_WORKER * self._engine.workers // max(len(parts), 1))
        blocks = max(wanted, -(-queries * k // HITS_AT_ONCE))
        return [Cell(part, asked) for asked in portions(range(queries), blocks) for part in parts]

    def _merged(self, work: _LexicalCells | _DenseCells, queries: int) -> tuple[np.ndarray, np.ndarray]:
        best = no_hits(queries, work.k)
        for cell, found in zip(work.cells, self._engine.map(work, range(len(work.cells))), strict=True):
            merge(Best(*(array[cell.asked.start : cell.asked.stop] for array in best)), found)
        rank(best)
        return best.scores, best.rows

    def _search_whole(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Each worker asks the whole structure for its share of the queries."""
        parts = portions(range(len(vectors)), CALLS_A_WORKER * self._engine.workers)
        scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        found = self._engine.map(_DenseWhole(self._at, parts, vectors, k), range(len(parts)))
        for part, (part_scores, part_rows) in zip(parts, found, strict=True):
            scores[part.start : part.stop], rows[part.start : part.stop] = part_scores, part_rows
        return scores, rows

    def _encode(self, queries: Sequence[str]) -> np.ndarray:
        encoder = self.encoder
        assert encoder is not None
        steps = range(0, len(queries), QUERIES_AT_ONCE)
        if len(steps) < 2:
            return encoder.encode(queries, kind="query")
        return np.concatenate(list(self._engine.map(_Encoding(self._at, tuple(queries)), steps)))


@dataclass(frozen=True)
class Cell:
    """Some shards of an index, or lists, to be searched for some of the queries."""

    part: range
    asked: range


@dataclass(frozen=True)
class _Place:
    """Where an index lies, and which one it is: what a worker opens, once, for all its calls."""

    root: Path
    name: str
    id: str

    def index(self) -> Index:
        return _open(self)

    def lexical(self, shards: range) -> LexicalIndex:
        return _open_lexical(self, shards)

    def dense(self) -> DenseIndex:
        return _open_dense(self)


@lru_cache(maxsize=1)
def _open(place: _Place) -> Index:
    index = open_index(Store(place.root), place.name)
    assert index.artifact.id == place.id, "a finished artifact is never changed"
    return index


@lru_cache(maxsize=32)  # memory-mapped: what is open costs little
def _open_lexical(place: _Place, shards: range) -> LexicalIndex:
    artifact = place.index().artifact
    return LexicalIndex.open(artifact, lexical_settings(artifact.manifest.params["lexical"]), shards)


@lru_cache(maxsize=1)
def _open_dense(place: _Place) -> DenseIndex:
    artifact = place.index().artifact
    return DenseIndex.open(artifact, dense_settings(artifact.manifest.params["dense"]))


@dataclass(frozen=True)
class _LexicalCells:
    """The search of lexical shards, for an engine to carry out."""

    at: _Place
    cells: Sequence[Cell]
    queries: Sequence[str]
    k: int

    def __call__(self, number: int) -> Best:
        cell = self.cells[number]
        here = slice(cell.asked.start, cell.asked.stop)
        return self.at.lexical(cell.part).find(self.queries[here], self.k, threads=1)


@dataclass(frozen=True)
class _DenseCells:
    """The exact search of the passages of some lists."""

    at: _Place
    cells: Sequence[Cell]
    vectors: np.ndarray  # of the queries, (n, dim)
    k: int

    def __call__(self, number: int) -> Best:
        cell, index = self.cells[number], self.at.dense()
        lists, queries = _some_of(index.lists, cell.part), self.vectors[cell.asked.start : cell.asked.stop]
        found, everywhere = no_hits(len(queries), self.k), lists.everywhere(len(queries))
        found.scores[:], found.rows[:] = nearest(lists, index.vectors, queries, everywhere, self.k, threads=1)
        found.sizes[:] = self.k
        return found


def _some_of(lists: Lists, part: range) -> Lists:
    """Some of the lists of an index that has no centroids, as if they were all."""
    first, last = int(lists.starts[part.start]), int(lists.starts[part.stop])
    starts, bounds = lists.starts[part.start : part.stop + 1] - first, lists.bounds[part.start : part.stop]
    return replace(lists, codes=lists.codes[first:last], rows=lists.rows[first:last], starts=starts, bounds=bounds)


def _parts_with(k: int, rows: int, parts: int) -> list[range]:
    """The lists of a flat index in at most `parts` parts, each of which has k passages."""
    lists = range(-(-rows // FLAT_LIST))
    while True:
        found = portions(lists, parts)
        if parts == 1 or all(min(part.stop * FLAT_LIST, rows) - part.start * FLAT_LIST >= k for part in found):
            return found
        parts -= 1


@dataclass(frozen=True)
class _DenseWhole:
    """The search of a whole dense structure for a part of the queries."""

    at: _Place
    parts: Sequence[range]
    vectors: np.ndarray
    k: int

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        part = self.parts[number]
        return self.at.dense().search(self.vectors[part.start : part.stop], self.k, threads=1)


@dataclass(frozen=True)
class _Encoding:
    """The embedding of the queries from a given one on."""

    at: _Place
    queries: Sequence[str]

    def __call__(self, first: int) -> np.ndarray:
        encoder = self.at.index().encoder
        assert encoder is not None
        return encoder.encode(self.queries[first : first + QUERIES_AT_ONCE], kind="query")


def portions(numbers: range, parts: int) -> list[range]:
    """The numbers in at most `parts` runs of about one length, none empty."""
    n, parts = len(numbers), min(len(numbers), parts)
    cuts = [n * part // parts for part in range(parts + 1)] if parts else []
    return [numbers[first:last] for first, last in pairwise(cuts)]
