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

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from contract.errors import BadInput
from contract.manifest import Json
from contract.progress import Progress, silent
from indexer.bm25 import Queries, Statistics, Variant, lay_out, no_hits, rank, raw_idf, scan
from indexer.postings import (
    VOCABULARY,
    Postings,
    Terms,
    open_postings,
    open_vocabulary,
    shard_step,
    terms_of,
    write_postings,
    write_vocabulary,
)
from indexer.tokens import Tokenizer

BUILDERS = 4  # shards in the making at once, however many cores: each is held in memory (law 10)
_QUERIES_AT_ONCE = 64  # a thread's portion: small enough that all end together
_TINY = np.float32(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class LexicalSettings:
    """How passages become terms and terms become scores.

    `language` names a Snowball stemmer, or is "none". `variant` is the formula: "lucene" (idf never negative, k1
    usually 1.2; lengths are exact here, not rounded to a byte) or "okapi" (rank-bm25's, k1 usually 1.5).
    """

    variant: Variant = "lucene"
    k1: float = 1.2
    b: float = 0.75
    language: str = "english"
    stop_words: tuple[str, ...] = ()
    shard_rows: int = 131_072

    def __post_init__(self) -> None:
        if self.variant not in ("lucene", "okapi"):
            raise BadInput(f"variant is {self.variant!r}; expected lucene or okapi")
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise BadInput(f"k1 is {self.k1}; expected a number of at least 0, usually 1.2 or 1.5")
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
    progress: Progress = silent,
    threads: int | None = None,
) -> dict[str, Json]:
    """Index the corpus's texts into `draft`, a step a shard and one for the vocabulary; returns what was measured.

    Steps that are finished are not done again, and files and facts are the same whatever the number of threads.
    """
    numbers = range(-(-corpus.rows // settings.shard_rows))
    receipts = []
    with _pool(threads or min(_cores(), BUILDERS)) as pool:
        try:
            made = pool.map(lambda number: _build_shard(corpus, draft, settings, number), numbers)
            for receipt in made:
                receipts.append(receipt)
                progress("lexical", sum(done.state["rows"] for done in receipts), corpus.rows)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    vocabulary = draft.receipt(VOCABULARY) or write_vocabulary(draft, len(numbers))
    tokens = sum(receipt.state["tokens"] for receipt in receipts)
    return {
        "rows": corpus.rows,
        "terms": vocabulary.state["terms"],
        "tokens": tokens,
        "postings": sum(receipt.state["postings"] for receipt in receipts),
        "mean_length": tokens / corpus.rows if corpus.rows else 0.0,
    }


def _build_shard(corpus: Artifact, draft: Draft, settings: LexicalSettings, number: int) -> Receipt:
    step, start = shard_step(number), number * settings.shard_rows
    if receipt := draft.receipt(step):
        return receipt
    batches = corpus.batches(columns=["text"], start=start, stop=start + settings.shard_rows)
    return write_postings(draft, step, settings.tokenizer.tokens(batch.column("text") for batch in batches))


class LexicalIndex:
    """A lexical index, memory-mapped. Statistics come from all shards when it is opened, scores when it is searched."""

    def __init__(self, shards: Sequence[Postings], terms: Terms, frequencies: np.ndarray, settings: LexicalSettings):
        self.settings = settings
        self.rows = sum(shard.rows for shard in shards)
        self._shards, self._terms, self._frequencies = shards, terms, frequencies

    @classmethod
    def open(cls, artifact: Artifact, settings: LexicalSettings) -> LexicalIndex:
        """Open what `build_lexical` wrote, every file verified; variant, k1 and b may be other than at the build."""
        return cls(open_postings(artifact), *open_vocabulary(artifact), settings)

    @cached_property
    def statistics(self) -> Statistics:
        """The whole corpus's statistics, which every shard is scored with (law 3)."""
        tokens = sum(int(shard.lengths.sum(dtype=np.int64)) for shard in self._shards)
        variant = self.settings.variant
        distinct, times = np.unique(self._frequencies, return_counts=True)
        idf_sum = math.fsum(raw_idf(variant, self.rows, distinct) * times)
        return Statistics(
            variant=variant,
            k1=self.settings.k1,
            b=self.settings.b,
            rows=self.rows,
            mean_length=tokens / self.rows if self.rows else 0.0,
            mean_idf=idf_sum / len(self._frequencies) if len(self._frequencies) else 0.0,
        )

    def search(self, queries: Sequence[str], k: int, *, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best min(k, rows) passages of every query: scores float32 and rows int64, (n, k') each, best first.

        Ties stand by ascending row; passages that share no term with the query follow at score 0. A term that a query
        repeats counts as often. The same to the bit for any number of threads and any shard size.
        """
        if k < 1:
            raise BadInput(f"k is {k}; expected at least 1 hit an utterance")
        bags, wanted, idf = self._bags(queries)
        best = no_hits(len(queries), min(k, self.rows))
        floors = _floors(bags, idf)
        with _pool(threads) as pool:
            for shard in self._shards:
                panel = lay_out(shard, shard.terms.find(wanted), idf, self.statistics)
                portions = range(0, len(queries), _QUERIES_AT_ONCE)
                ends = [min(first + _QUERIES_AT_ONCE, len(queries)) for first in portions]
                list(pool.map(lambda first, end: scan(first, end, bags, floors, panel, best), portions, ends))  # noqa: B023
        rank(best)
        return best.scores, best.rows

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
    negative = np.concatenate([[0], np.cumsum(idf[bags.terms] < 0)])
    return np.where(np.diff(negative[bags.starts]) > 0, np.float32(-np.inf), _TINY).astype(np.float32)


def _strings(queries: Sequence[str]) -> pa.Array:
    try:
        return pa.array(queries, pa.string())
    except (UnicodeEncodeError, pa.ArrowException):
        raise BadInput("A query is not Unicode text: expected strings without lone surrogates") from None


def _pool(threads: int | None) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads or _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))
