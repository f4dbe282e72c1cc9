"""An index that behaves: overlap-counting lexical search, a hashing encoder, draws by query; all of it in a list."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.schemas import CORPUS
from contract.store import Store
from service.neighbours import Searching

WORDS = (
    *("play", "stop", "some", "jazz", "rock", "music", "book", "a", "table", "for", "two"),
    *("in", "town", "tonight", "the", "weather", "is", "cold", "please"),
)


@dataclass(frozen=True)
class FakeHits:
    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    lexical_rank: npt.NDArray[np.int32] | None = None
    lexical_score: npt.NDArray[np.float32] | None = None
    dense_rank: npt.NDArray[np.int32] | None = None
    dense_score: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FakeArtifact:
    id: str


class HashingEncoder:
    """A bag of hashed words, normalised: equal word sets have cosine one."""

    def encode(self, texts: Sequence[str], *, kind: Literal["passage", "query"]) -> npt.NDArray[np.float32]:
        vectors = np.full((len(texts), 64), 1e-6, np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector[zlib.crc32(word.encode()) % 64] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


class FakeIndex:
    def __init__(self, texts: Sequence[str], *, name: str = "fake", retrievers: Sequence[str] = ("lexical",)) -> None:
        self.name = name
        self.retrievers = tuple(retrievers)
        self.texts = list(texts)
        self.rows = len(texts)
        self.artifact = FakeArtifact(hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32])
        self.encoder = HashingEncoder() if "dense" in retrievers else None
        self.searches = 0
        self.read: list[int] = []  # rows whose text was asked for

    @cached_property
    def _words(self) -> list[frozenset[str]]:
        return [frozenset(text.lower().split()) for text in self.texts]

    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> FakeHits:
        self.searches += 1
        k = min(k, self.rows)
        if retriever == "random":
            draws = [random.Random(f"{seed} {query}") for query in queries]
            rows = np.array([draw.sample(range(self.rows), self.rows)[:k] for draw in draws], np.int64)
            return FakeHits(rows.reshape(len(queries), k), np.zeros((len(queries), k), np.float32))
        scores = self._lexical(queries) if retriever == "lexical" else self._dense(queries)
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, rows, axis=1)
        ranks = np.tile(np.arange(k, dtype=np.int32), (len(queries), 1))
        if retriever == "lexical":
            return FakeHits(rows, best, lexical_rank=ranks, lexical_score=best)
        return FakeHits(rows, best, dense_rank=ranks, dense_score=best)

    def passages(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        self.read.extend(rows.tolist())
        texts = [self.texts[row] for row in rows]
        columns: dict[str, Any] = {
            "passage_id": [f"p{row}" for row in rows],
            "text": texts,
            "source": [f"source{row % 3}" for row in rows],
            "lang": ["en"] * len(texts),
            "n_words": [len(text.split()) for text in texts],
        }
        return pa.table(columns, schema=CORPUS)

    def _lexical(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        asked = [frozenset(query.lower().split()) for query in queries]
        overlap = [[len(words & passage) for passage in self._words] for words in asked]
        return np.array(overlap, np.float32).reshape(len(queries), self.rows)

    def _dense(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        assert self.encoder is not None
        passages = self.encoder.encode(self.texts, kind="passage")
        # One by one: like the real index's, its scores do not follow the batch to the last bit.
        scores = [passages @ query for query in self.encoder.encode(queries, kind="query")]
        return np.array(scores, np.float32).reshape(len(queries), self.rows)


def opener_of(*indexes: FakeIndex) -> Any:
    """Opens these indexes by name."""

    def open_fake(store: Store, name: str) -> FakeIndex:
        return {index.name: index for index in indexes}[name]

    return open_fake


def generic_texts(n: int, *, seed: int = 0) -> list[str]:
    """`n` distinct passages of five to twelve words."""
    draw = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < n:
        made[" ".join(draw.choices(WORDS, k=draw.randint(5, 12)))] = None
    return list(made)
