"""The index, opened: one object that answers queries by any of its retrievers and gives the passages of hits.

The one file of this package that other programs read with; nothing here writes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact, open_artifact
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import Json
from contract.removal import MADE_FROM
from contract.store import Store
from indexer.chance import draw_rows
from indexer.corpus import open_corpus
from indexer.dense import DenseIndex, DenseSettings
from indexer.encoder import EncoderSettings, TextEncoder, encoder_of
from indexer.encoders.static import has_static, open_static_of
from indexer.fusion import filled, reciprocal_rank_fusion
from indexer.lexical import LexicalSearch, LexicalSettings, open_lexical
from indexer.on_demand import DEPTH, OnDemand, open_cache
from indexer.texts import Texts

INDEX_VERSION = 1

Retriever = Literal["lexical", "dense", "hybrid", "random"]
RETRIEVERS: tuple[Retriever, ...] = get_args(Retriever)
Built = Literal["lexical", "dense", "on-demand"]
BUILT: tuple[Built, ...] = get_args(Built)


@dataclass(frozen=True)
class IndexSettings:
    """What an index can do, and how its parts are made.

    With "on-demand" no passage is embedded at the build: hybrid search encodes what BM25 finds, with the encoder of
    `dense`. `fusion_depth`: hits of each ranking that hybrid fuses, and so the most that are encoded for a query.
    """

    retrievers: tuple[Built, ...] = ("lexical", "dense")
    lexical: LexicalSettings = field(default_factory=LexicalSettings)
    dense: DenseSettings = field(default_factory=DenseSettings)
    fusion_depth: int | None = None  # None: 1000, or with "on-demand" DEPTH

    def __post_init__(self) -> None:
        unknown = [name for name in self.retrievers if name not in BUILT]
        if unknown or not self.retrievers or len(set(self.retrievers)) < len(self.retrievers):
            raise BadInput(
                f"Expected retrievers to build out of lexical and dense or on-demand, each once, found "
                f"{', '.join(self.retrievers) or 'none'}; hybrid and random need no building of their own"
            )
        if "on-demand" in self.retrievers and {*self.retrievers} != {"lexical", "on-demand"}:
            raise BadInput(
                f"Expected on-demand beside lexical alone, found {', '.join(self.retrievers)}: it encodes what BM25 "
                "finds, and needs no vectors of all passages"
            )
        if self.fusion_depth is not None and self.fusion_depth < 1:
            raise BadInput(f"Expected a fusion depth of at least 1, found {self.fusion_depth}")

    @property
    def depth(self) -> int:
        """The fusion depth, settled."""
        return self.fusion_depth or (DEPTH if "on-demand" in self.retrievers else 1000)


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
    """Open the newest finished index of that name (`name@2`: that version) and the corpus it was made from.

    Refuses when that corpus has changed.
    """
    artifact = open_artifact(store.find("index", name), "index", version=INDEX_VERSION)
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
        self._lexical: LexicalSearch | None = None
        self._dense: DenseIndex | None = None
        self._on_demand: OnDemand | None = None
        self._encoder: TextEncoder | None = None

    @property
    def retrievers(self) -> tuple[Retriever, ...]:
        """What `search` can be asked for; random always."""
        can = {"random", *self._params["retrievers"]}
        if "lexical" in can and recorded_encoder(self._params):
            can.add("hybrid")
        return tuple(name for name in RETRIEVERS if name in can)

    @property
    def settings(self) -> IndexSettings:
        """The settings it was built with, nothing left open; where the encoder lies, `encoder` knows."""
        params = self._params
        parts: dict[str, Any] = {}
        if "lexical" in params:
            parts["lexical"] = lexical_settings(params["lexical"])
        if "dense" in params:
            parts["dense"] = dense_settings(params["dense"])
        if "on-demand" in params:
            parts["dense"] = DenseSettings(encoder=_encoder_settings(params["on-demand"]["encoder"]))
        if "fusion_depth" in params:
            parts["fusion_depth"] = params["fusion_depth"]
        return IndexSettings(retrievers=tuple(params["retrievers"]), **parts)

    @property
    def encoder(self) -> TextEncoder | None:
        """The encoder the passages are embedded with, None in an index of words alone."""
        if not recorded_encoder(self._params):
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
        return self._open_texts().take(rows)

    def _open_texts(self) -> Texts:
        with self._lock:
            if self._texts is None:
                self._texts = Texts.open(self.artifact)
        return self._texts

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
                self._lexical = open_lexical(self.artifact, lexical_settings(self._params["lexical"]))
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
        ranking = np.where(lexical_scores != 0, lexical_rows, -1)
        if "on-demand" in self._params:
            dense_scores, dense_rows = self._rank_on_demand(queries, ranking)
            unmatched = np.where(lexical_scores == 0, lexical_rows, -1)
            fused = filled(reciprocal_rank_fusion(ranking, dense_rows, k), unmatched)
        else:
            dense_scores, dense_rows = self._search_dense(queries, depth)
            fused = reciprocal_rank_fusion(ranking, dense_rows, k)
        return Hits(
            fused.rows,
            fused.scores,
            lexical_rank=fused.first_rank,
            lexical_score=_scores_at(lexical_scores, fused.first_rank),
            dense_rank=fused.second_rank,
            dense_score=_scores_at(dense_scores, fused.second_rank),
        )

    def _rank_on_demand(self, queries: Sequence[str], candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        encoder = self.encoder
        assert encoder is not None
        with self._lock:
            if self._on_demand is None:
                cache = open_cache(self.artifact.directory.parent, encoder)
                self._on_demand = OnDemand(encoder, self._open_texts(), cache)
        return self._on_demand.rank(encoder.encode(queries, kind="query"), candidates)

    def _open_encoder(self) -> TextEncoder:
        """The encoder of the build: a static one from the index itself, another from where it lay then.

        Refuses one that would give other vectors.
        """
        recorded = recorded_encoder(self._params)
        fingerprint, settings = recorded["fingerprint"], _encoder_settings(recorded)
        if has_static(self.artifact):
            return open_static_of(self.artifact, settings, fingerprint)
        encoder = encoder_of(replace(settings, model=self._made_from["encoder"]))
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
    """The settings an index's dense part was built with."""
    given = {key: value for key, value in params.items() if key != "encoder"}
    return DenseSettings(encoder=_encoder_settings(params["encoder"]), **given)


def recorded_encoder(params: Mapping[str, Json]) -> Mapping[str, Json]:
    """What the params of an index say of its encoder: resolved settings and fingerprint; nothing where it has none."""
    for part in ("dense", "on-demand"):
        if part in params:
            encoder: Mapping[str, Json] = params[part]["encoder"]
            return encoder
    return {}


def _encoder_settings(recorded: Mapping[str, Json]) -> EncoderSettings:
    return EncoderSettings(**{key: value for key, value in recorded.items() if key != "fingerprint"})


def _ranks(rows: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(rows.shape[1], dtype=np.int32), rows.shape)


def _scores_at(scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The scores at these ranks, (n, k) float32; NaN at -1."""
    found = np.take_along_axis(scores, np.maximum(ranks, 0), axis=1)
    return np.where(ranks >= 0, found, np.float32(np.nan))
