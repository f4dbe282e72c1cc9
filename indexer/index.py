"""The index, opened: one object that answers queries by any of its retrievers and gives the passages of hits.

The one file of this package that other programs read with; nothing here writes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact, open_artifact
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import Json
from contract.store import Store
from indexer.chance import draw_rows
from indexer.corpus import open_corpus
from indexer.dense import DenseIndex, DenseSettings
from indexer.encoder import Encoder, open_encoder
from indexer.fusion import reciprocal_rank_fusion
from indexer.lexical import LexicalIndex, LexicalSettings
from indexer.texts import Texts

INDEX_VERSION = 1
MADE_FROM = "made-from.json"  # attachment: where corpus and encoder lay when the index was built

Retriever = Literal["lexical", "dense", "hybrid", "random"]
RETRIEVERS: tuple[Retriever, ...] = get_args(Retriever)


@dataclass(frozen=True)
class Hits:
    """What a search found, (n, k') each, best first, k' = min(k, rows); ranks are from 0.

    A ranking that had no part in it is None; where a hit is missing from one, its rank is -1 and its score NaN.
    """

    rows: np.ndarray  # int64
    scores: np.ndarray  # float32
    lexical_rank: np.ndarray | None = None  # int32
    lexical_score: np.ndarray | None = None  # float32
    dense_rank: np.ndarray | None = None
    dense_score: np.ndarray | None = None


def open_index(store: Store, name: str) -> Index:
    """Open the finished index of that name, and the corpus it was made from; refuses when that has changed."""
    artifact = open_artifact(store.path("index", name), "index", version=INDEX_VERSION)
    made_from = read_made_from(artifact)
    try:
        corpus = open_corpus(store, made_from["corpus"])
    except NotFound as error:
        raise NotFound(f"Index {name} was made from corpus {made_from['corpus']}: {error.message}") from error
    if corpus.id != artifact.manifest.inputs["corpus"]:
        raise BadInput(
            f"Index {name} was made from corpus {made_from['corpus']} with id {artifact.manifest.inputs['corpus']}, "
            f"the corpus of that name now has id {corpus.id}; build the index again under another name"
        )
    return Index(name, artifact, corpus, made_from)


class Index:
    """An index and what it can do. Its parts are opened, and their hashes checked, when they are first needed."""

    def __init__(self, name: str, artifact: Artifact, corpus: Artifact, made_from: dict[str, str]) -> None:
        self.name = name
        self.artifact = artifact
        self.corpus = corpus
        self.rows = corpus.rows
        self.corpus_name = made_from["corpus"]
        self._params = artifact.manifest.params
        self._made_from = made_from
        self._lock = threading.RLock()
        self._texts: Texts | None = None
        self._lexical: LexicalIndex | None = None
        self._dense: DenseIndex | None = None
        self._encoder: Encoder | None = None

    @property
    def retrievers(self) -> tuple[Retriever, ...]:
        """What `search` can be asked for; random always."""
        can = {"random", *self._params["retrievers"]}
        return tuple(name for name in RETRIEVERS if name in can or (name == "hybrid" and can >= {"lexical", "dense"}))

    @property
    def encoder(self) -> Encoder | None:
        """The encoder the passages were embedded with, None in an index without vectors."""
        if "dense" not in self.retrievers:
            return None
        with self._lock:
            if self._encoder is None:
                self._encoder = self._open_encoder()
        return self._encoder

    def search(self, queries: Sequence[str], k: int, retriever: Retriever, *, seed: int = 0) -> Hits:
        """The min(k, rows) nearest passages of each query; `seed` matters to the random retriever only."""
        self._check(k, retriever)
        k = min(k, self.rows)
        if retriever == "lexical":
            scores, rows = self._search_lexical(queries, k)
            return Hits(rows, scores, lexical_rank=_ranks(rows), lexical_score=scores)
        if retriever == "dense":
            scores, rows = self._search_dense(queries, k)
            return Hits(rows, scores, dense_rank=_ranks(rows), dense_score=scores)
        if retriever == "hybrid":
            return self._search_both(queries, k)
        rows = draw_rows(queries, k, self.rows, seed=seed)
        return Hits(rows, np.zeros(rows.shape, np.float32))

    def passages(self, rows: np.ndarray) -> pa.Table:
        """The passages of `rows` (n,), in that order, in the schema CORPUS."""
        with self._lock:
            if self._texts is None:
                self._texts = Texts.open(self.artifact)
        return self._texts.take(rows)

    def _check(self, k: int, retriever: str) -> None:
        if retriever not in self.retrievers:
            raise BadInput(
                f"Index {self.name} has no retriever {retriever!r}, it has {', '.join(self.retrievers)}; "
                "choose one of them, or build an index with --retrievers lexical,dense"
            )
        if k < 1:
            raise BadInput(f"Expected k of at least 1, found {k}")
        if retriever == "hybrid" and min(k, self.rows) > self._params["fusion_depth"]:
            raise BadInput(
                f"The hybrid retriever of index {self.name} fuses the first {self._params['fusion_depth']} hits of "
                f"each ranking, found k = {k}; ask for fewer, or build the index with a greater --fusion-depth"
            )

    def _search_lexical(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if self._lexical is None:
                self._lexical = LexicalIndex.open(self.artifact, lexical_settings(self._params["lexical"]))
        return self._lexical.search(queries, k)

    def _search_dense(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        encoder = self.encoder
        assert encoder is not None
        with self._lock:
            if self._dense is None:
                self._dense = DenseIndex.open(self.artifact, dense_settings(self._params["dense"]))
        return self._dense.search(encoder.encode(queries, kind="query"), k)

    def _search_both(self, queries: Sequence[str], k: int) -> Hits:
        """Both rankings to one depth whatever k is, fused; a passage BM25 scores 0 is missing from its ranking."""
        depth = min(self._params["fusion_depth"], self.rows)
        lexical_scores, lexical_rows = self._search_lexical(queries, depth)
        dense_scores, dense_rows = self._search_dense(queries, depth)
        fused = reciprocal_rank_fusion(np.where(lexical_scores != 0, lexical_rows, -1), dense_rows, k)
        return Hits(
            fused.rows,
            fused.scores,
            lexical_rank=fused.first_rank,
            lexical_score=_scores_at(lexical_scores, fused.first_rank),
            dense_rank=fused.second_rank,
            dense_score=_scores_at(dense_scores, fused.second_rank),
        )

    def _open_encoder(self) -> Encoder:
        """The encoder of the build, from where it lay then; refuses one that would give other vectors."""
        recorded = self._params["dense"]["encoder"]
        fingerprint = recorded["fingerprint"]
        settings = {key: value for key, value in recorded.items() if key not in ("model", "fingerprint")}
        encoder = open_encoder(self._made_from["encoder"], **settings)
        if encoder.fingerprint != fingerprint:
            raise BadInput(
                f"Index {self.name} was built with encoder {recorded['model']} of fingerprint {fingerprint}, the one "
                f"now at {self._made_from['encoder']} has {encoder.fingerprint}: its vectors would not fit; "
                "put the old encoder back, or build the index again"
            )
        return encoder


def read_made_from(artifact: Artifact) -> dict[str, str]:
    """Names of the corpus and the encoder at the time of the build."""
    try:
        made_from: dict[str, str] = json.loads(artifact.path(MADE_FROM).read_text())
    except (KeyError, ValueError) as error:
        raise CorruptArtifact(f"{artifact.directory} has no readable {MADE_FROM}; build the index again") from error
    return made_from


def lexical_settings(params: Json) -> LexicalSettings:
    """The settings an index's lexical part was built with."""
    given: dict[str, Json] = {key: tuple(value) if isinstance(value, list) else value for key, value in params.items()}
    return LexicalSettings(**given)


def dense_settings(params: Json) -> DenseSettings:
    """The settings an index's dense part was built with; the encoder's are in `Index.encoder`."""
    return DenseSettings(**{key: value for key, value in params.items() if key != "encoder"})


def _ranks(rows: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(rows.shape[1], dtype=np.int32), rows.shape)


def _scores_at(scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The scores at these ranks, (n, k) float32; NaN at -1."""
    found = np.take_along_axis(scores, np.maximum(ranks, 0), axis=1)
    return np.where(ranks >= 0, found, np.float32(np.nan))
