"""The reference: rank-bm25 over the postings of a small index, with the same `search` as LexicalIndex.

It scores every passage for every query in Python, so it serves to check the fast one, and corpora that stay small.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from rank_bm25 import BM25, BM25Okapi, BM25Plus

from contract.artifact import Artifact
from contract.errors import BadInput
from indexer.bm25.postings import Postings, open_postings
from indexer.lexical import LexicalSettings, check_scorer


class RankBM25:
    """rank-bm25 behind LexicalIndex's interface: (n, k') scores float32 and rows int64, best first, ties by row."""

    def __init__(self, passages: Sequence[Sequence[str]], settings: LexicalSettings) -> None:
        self.rows = len(passages)
        self._tokenizer = settings.tokenizer
        holds_terms = any(passages)  # rank-bm25 divides by the number of terms
        self._scorer = _scorer(passages, settings) if holds_terms else None

    @classmethod
    def open(cls, artifact: Artifact, settings: LexicalSettings) -> RankBM25:
        """Open the lexical part of an index; BadInput when it is too large for this."""
        shards = open_postings(artifact)
        check_scorer(settings, sum(shard.rows for shard in shards))
        return cls([passage for shard in shards for passage in _passages(shard)], settings)

    def search(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best min(k, rows) passages of every query; one that has no term of it scores 0, here as there."""
        if k < 1:
            raise BadInput(f"k is {k}; expected at least 1 hit an utterance")
        k = min(k, self.rows)
        scores, rows = np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        for query, terms in enumerate(self._terms(queries)):
            found = self._scores(terms)
            rows[query] = np.argsort(-found, kind="stable")[:k]
            scores[query] = found[rows[query]]
        return scores, rows

    def _scores(self, terms: list[str]) -> np.ndarray:
        if self._scorer is None:
            return np.zeros(self.rows)
        shares = [any(term in held for term in terms) for held in self._scorer.doc_freqs]
        with np.errstate(invalid="ignore"):  # at b = 1 it divides nothing by nothing for an empty passage
            return np.where(shares, self._scorer.get_scores(terms), 0)

    def _terms(self, queries: Sequence[str]) -> list[list[str]]:
        tokens = self._tokenizer.tokens([pa.array(queries, pa.string())])
        terms = tokens.vocabulary.take(pa.array(tokens.terms)).to_pylist()
        return [terms[start:end] for start, end in pairwise(tokens.starts.tolist())]


def _scorer(passages: Sequence[Sequence[str]], settings: LexicalSettings) -> BM25:
    if settings.variant == "bm25plus":
        return BM25Plus(passages, k1=settings.k1, b=settings.b, delta=settings.delta)
    if settings.variant == "okapi":
        return BM25Okapi(passages, k1=settings.k1, b=settings.b)
    raise BadInput(f"rank-bm25 has okapi and bm25plus, found {settings.variant}; search it with another scorer")


def _passages(shard: Postings) -> list[list[str]]:
    """Each passage's terms, as often as it holds them; their order says nothing to BM25."""
    passages: list[list[str]] = [[] for _ in range(shard.rows)]
    for number, term in enumerate(shard.terms.strings()):
        span = slice(shard.starts[number], shard.starts[number + 1])
        for passage, count in zip(shard.passages[span], shard.counts[span], strict=True):
            passages[passage].extend([term] * int(count))
    return passages
