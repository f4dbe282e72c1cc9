"""The lexical retriever: BM25 over a whole corpus, built in shards and searched by many queries at once.

Exact and exhaustive: what comes back is what scoring every passage would give (laws 3 and 5).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from contract.errors import BadInput
from contract.manifest import Json
from contract.progress import Progress, silent
from indexer.bm25.postings import (
    VOCABULARY,
    Postings,
    adopt_postings,
    count_tokens,
    invert,
    join,
    open_postings,
    open_shard,
    open_vocabulary,
    shard_rows,
    shard_step,
    write_postings,
    write_vocabulary,
)
from indexer.bm25.scan import Best, Queries, Statistics, Variant, no_hits, panels, rank, raw_idf, scan
from indexer.bm25.terms import Terms, terms_of
from indexer.bm25.tokens import Tokenizer
from indexer.engine import Engine, LocalEngine

_BYTES_A_ROW = 1_000  # about what a passage takes while its shard is made
_QUERIES_AT_ONCE = 64  # a thread's portion: small enough that all end together
MAX_ROWS_RANK_BM25 = 50_000  # about ten queries a second there; past it nobody should wait
Scorer = Literal["bulk", "rank-bm25"]
_TINY = np.float32(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class LexicalSettings:
    """How passages become terms and terms become scores.

    `language` names a Snowball stemmer, or is "none". `variant` is the formula: "lucene" (idf never negative; lengths
    are exact here, not rounded to a byte), or rank-bm25's "okapi" and "bm25plus". In the latter every passage gets
    `delta` times the idf of the query's terms, as in rank-bm25: it moves all scores of a query alike. A passage that
    has no term of the query scores 0 in all three. `scorer` "rank-bm25" has that library score, for small corpora.
    """

    variant: Variant = "lucene"
    k1: float = 1.2
    b: float = 0.75
    delta: float = 1.0
    language: str = "english"
    stop_words: tuple[str, ...] = ()
    scorer: Scorer = "bulk"
    shard_rows: int = 131_072

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise BadInput(f"variant is {self.variant!r}; expected {', '.join(get_args(Variant))}")
        if self.scorer not in get_args(Scorer):
            raise BadInput(f"scorer is {self.scorer!r}; expected {' or '.join(get_args(Scorer))}")
        if self.scorer == "rank-bm25" and self.variant == "lucene":
            raise BadInput("rank-bm25 has no variant lucene; expected okapi or bm25plus, or the scorer bulk")
        for name, value in (("k1", self.k1), ("delta", self.delta)):
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"{name} is {value}; expected a number of at least 0")
        if not 0 <= self.b <= 1:
            raise BadInput(f"b is {self.b}; expected a number from 0 to 1, usually 0.75")
        if not 1 <= self.shard_rows <= 2**24:
            raise BadInput(f"shard_rows is {self.shard_rows}; expected 1 to {2**24:,} passages a shard")
        _ = self.tokenizer

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.language, tuple(self.stop_words))


def build_lexical(
    corpus: Artifact,
    draft: Draft,
    settings: LexicalSettings,
    *,
    engine: Engine | None = None,
    earlier: Artifact | None = None,
    progress: Progress = silent,
) -> dict[str, Json]:
    """Index the corpus's texts into `draft`, a step a shard and one for the vocabulary; returns what was measured.

    Steps that are finished are not done again, and files and facts are the same whatever the engine. `earlier` is an
    index of the same settings over the corpus's first rows: what it has is not tokenised again.
    """
    check_scorer(settings, corpus.rows)
    numbers = range(-(-corpus.rows // settings.shard_rows))
    work = _LexicalShards(corpus, draft, settings, earlier)
    receipts = []
    for receipt in (engine or LocalEngine()).map(work, numbers, bytes_each=settings.shard_rows * _BYTES_A_ROW):
        receipts.append(receipt)
        progress("lexical", sum(done.state["rows"] for done in receipts), corpus.rows)
    vocabulary = draft.receipt(VOCABULARY) or write_vocabulary(draft, len(numbers))
    tokens = sum(receipt.state["tokens"] for receipt in receipts)
    return {
        "rows": corpus.rows,
        "terms": vocabulary.state["terms"],
        "tokens": tokens,
        "postings": sum(receipt.state["postings"] for receipt in receipts),
        "mean_length": tokens / corpus.rows if corpus.rows else 0.0,
    }


@dataclass(frozen=True)
class _LexicalShards:
    """The making of one shard, for an engine to carry out."""

    corpus: Artifact
    draft: Draft
    settings: LexicalSettings
    earlier: Artifact | None

    def __call__(self, number: int) -> Receipt:
        step, start = shard_step(number), number * self.settings.shard_rows
        if receipt := self.draft.receipt(step):
            return receipt
        stop = min(start + self.settings.shard_rows, self.corpus.rows)
        known = min(self._known_rows, stop)
        if known == stop:
            assert self.earlier
            return adopt_postings(self.draft, number, self.earlier)
        batches = self.corpus.batches(columns=["text"], start=max(start, known), stop=stop)
        shard = invert(self.settings.tokenizer.tokens(batch.column("text") for batch in batches))
        if known > start:
            assert self.earlier
            shard = join(open_shard(self.earlier, number), shard)
        return write_postings(self.draft, step, shard)

    @property
    def _known_rows(self) -> int:
        """The corpus's first rows whose postings there are already."""
        return self.earlier.manifest.facts["rows"] if self.earlier else 0


@dataclass(frozen=True)
class Size:
    """Of a whole corpus, however much of it is opened here."""

    rows: int
    tokens: int

    @staticmethod
    def of(shards: Sequence[Postings]) -> Size:
        """Of shards that are all there are."""
        return Size(
            sum(shard.rows for shard in shards), sum(int(shard.lengths.sum(dtype=np.int64)) for shard in shards)
        )


class LexicalSearch(Protocol):
    """What answers lexical queries."""

    rows: int

    def search(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best min(k, rows) passages of every query: scores float32 and rows int64, (n, k') each, best first."""
        ...


def open_lexical(artifact: Artifact, settings: LexicalSettings) -> LexicalSearch:
    """Open what `build_lexical` wrote, for the scorer that the settings name."""
    if settings.scorer == "bulk":
        return LexicalIndex.open(artifact, settings)
    from indexer.bm25.reference import RankBM25  # the library is not loaded where nobody asks for it

    return RankBM25.open(artifact, settings)


def check_scorer(settings: LexicalSettings, rows: int) -> None:
    """Refuse a corpus that the scorer would take hours over."""
    if settings.scorer == "rank-bm25" and rows > MAX_ROWS_RANK_BM25:
        raise BadInput(
            f"The corpus has {rows:,} passages, rank-bm25 serves up to {MAX_ROWS_RANK_BM25:,}; "
            f"take the scorer bulk, which gives the scores of variant {settings.variant} for any number"
        )


class LexicalIndex:
    """A lexical index, memory-mapped. Statistics come from all shards when it is opened, scores when it is searched."""

    def __init__(
        self,
        shards: Sequence[Postings],
        terms: Terms,
        frequencies: np.ndarray,
        settings: LexicalSettings,
        size: Size | None = None,
    ) -> None:
        self.settings = settings
        self._shards, self._terms, self._frequencies = shards, terms, frequencies
        self._size = size or Size.of(shards)
        self.rows = self._size.rows

    @classmethod
    def open(cls, artifact: Artifact, settings: LexicalSettings, shards: range | None = None) -> LexicalIndex:
        """Open what `build_lexical` wrote, every file verified; variant, k1 and b may be other than at the build.

        With `shards`, which other workers have the rest of, `find` searches these, by the whole corpus's statistics.
        """
        size = None if shards is None else Size(sum(shard_rows(artifact)), count_tokens(artifact))
        return cls(open_postings(artifact, shards), *open_vocabulary(artifact), settings, size)

    @cached_property
    def statistics(self) -> Statistics:
        """The whole corpus's statistics, which every shard is scored with (law 3)."""
        variant = self.settings.variant
        distinct, times = np.unique(self._frequencies, return_counts=True)
        idf_sum = math.fsum(raw_idf(variant, self.rows, distinct) * times)
        return Statistics(
            variant=variant,
            k1=self.settings.k1,
            b=self.settings.b,
            rows=self.rows,
            mean_length=self._size.tokens / self.rows if self.rows else 0.0,
            mean_idf=idf_sum / len(self._frequencies) if len(self._frequencies) else 0.0,
        )

    def search(self, queries: Sequence[str], k: int, *, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best min(k, rows) passages of every query: scores float32 and rows int64, (n, k') each, best first.

        Ties stand by ascending row; passages that share no term with the query follow at score 0. A term that a query
        repeats counts as often. The same to the bit for any number of threads and any shard size.
        """
        best = self.find(queries, k, threads=threads)
        rank(best)
        return best.scores, best.rows

    def find(self, queries: Sequence[str], k: int, *, threads: int | None = None) -> Best:
        """The hits of a search as heaps, neither sorted nor filled up with passages that share no term."""
        if k < 1:
            raise BadInput(f"k is {k}; expected at least 1 hit an utterance")
        bags, wanted, idf = self._bags(queries)
        best = no_hits(len(queries), min(k, self.rows))
        if self.settings.variant == "bm25plus":
            best.lifts[:] = _summed(bags, self.settings.delta * bags.weights * idf[bags.terms])
        floors = _floors(bags, idf)
        with _pool(threads) as pool:
            for shard in self._shards:
                for panel in panels(shard, shard.terms.find(wanted), idf, self.statistics):
                    portions = range(0, len(queries), _QUERIES_AT_ONCE)
                    ends = [min(first + _QUERIES_AT_ONCE, len(queries)) for first in portions]
                    list(pool.map(lambda first, end: scan(first, end, bags, floors, panel, best), portions, ends))  # noqa: B023
        return best

    def _bags(self, queries: Sequence[str]) -> tuple[Queries, Terms, np.ndarray]:
        """The queries as bags of known terms, those terms from the rarest on, and their idf."""
        tokens = self.settings.tokenizer.tokens([_strings(queries)])
        positions = self._terms.find(terms_of(tokens.vocabulary))
        frequencies = np.where(positions >= 0, self._frequencies[positions], 0) if len(self._frequencies) else positions
        order = np.lexsort((np.arange(len(frequencies)), frequencies))
        order = order[positions[order] >= 0]
        number = np.full(len(frequencies), -1, np.int64)
        number[order] = np.arange(len(order))
        owners = np.repeat(np.arange(len(queries)), np.diff(tokens.starts))
        numbers = number[tokens.terms]
        width = max(len(order), 1)
        keys, times = np.unique((owners * width + numbers)[numbers >= 0], return_counts=True)
        starts = np.searchsorted(keys, np.arange(len(queries) + 1) * width)
        bags = Queries(starts.astype(np.int64), (keys % width).astype(np.int32), times.astype(np.float32))
        wanted = terms_of(tokens.vocabulary.take(pa.array(order)))
        return bags, wanted, self.statistics.idf(frequencies[order])


def _floors(bags: Queries, idf: np.ndarray) -> np.ndarray:
    """What a hit must score: anything above 0, or anything at all where a term's idf is negative; (n,) float32."""
    return np.where(_summed(bags, idf[bags.terms] < 0) > 0, np.float32(-np.inf), _TINY).astype(np.float32)


def _summed(bags: Queries, numbers: np.ndarray) -> np.ndarray:
    """The sums of numbers that belong to the bags' terms, a query each, (n,) float64."""
    sums = np.zeros(len(bags.starts) - 1)
    np.add.at(sums, np.repeat(np.arange(len(sums)), np.diff(bags.starts)), numbers)
    return sums


def _strings(queries: Sequence[str]) -> pa.Array:
    try:
        return pa.array(queries, pa.string())
    except (UnicodeEncodeError, pa.ArrowException):
        raise BadInput("A query is not Unicode text: expected strings without lone surrogates") from None


def _pool(threads: int | None) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads or _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))
