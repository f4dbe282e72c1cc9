"""Dense search: the passages' vectors, and the structure that finds the nearest of them.

Written by `index build`; read by `indexer.index`. Every score is an inner product of unit vectors: a cosine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import Json, canonical_json
from contract.progress import Progress, silent
from indexer.encoder import EncoderSettings, TextEncoder
from indexer.engine import Engine, LocalEngine
from indexer.vectors.hnsw import HNSW, Graph, check_room, write_graph
from indexer.vectors.lists import Lists, write_lists
from indexer.vectors.nearest import nearest
from indexer.vectors.recall import (
    RECALL_K,
    drawn,
    gaps,
    least_for,
    margin_for,
    openings,
    share_found,
    true_nearest,
    without,
)
from indexer.vectors.sift import best_of
from indexer.vectors.stored import Vectors, open_vectors, write_vectors

Structure = Literal["flat", "ivf", "hnsw"]

SEARCH = "search.json"  # how much is visited
QUERY_BLOCK = 16_384  # queries that are sent to their lists together
MOST_EFFORT = 4096  # of a search in a graph


@dataclass(frozen=True)
class DenseSettings:
    """How passages are embedded and found.

    `structure` auto is flat, an exact search, up to `exact_rows`, and ivf above. An approximate one visits as much as
    finds the share `recall` of the nearest, measured at the build.
    """

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    shard_rows: int = 8192
    structure: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    exact_rows: int = 200_000
    recall: float = 0.98
    depth: int = 1000  # so many rows are visited at least: any k up to it ranks the same rows
    seed: int = 0

    def __post_init__(self) -> None:
        if self.structure not in ("auto", *get_args(Structure)):
            raise BadInput(f"Expected a structure out of auto, flat, ivf and hnsw, found {self.structure!r}")
        if not 0 < self.recall < 1:
            raise BadInput(f"Expected a recall between 0 and 1, found {self.recall}; for all of it choose flat")
        if self.shard_rows < 1 or self.depth < 1:
            raise BadInput(f"Expected shard_rows and depth of at least 1, found {self.shard_rows} and {self.depth}")


def build_dense(
    corpus: Artifact,
    draft: Draft,
    encoder: TextEncoder,
    settings: DenseSettings,
    *,
    engine: Engine | None = None,
    earlier: Artifact | None = None,
    progress: Progress = silent,
) -> dict[str, Json]:
    """Embed every passage in steps `dense-…`, then make the structure that finds them; the facts of both.

    `earlier` is an index of the same settings over the corpus's first rows: what it has is not encoded again.
    """
    engine = engine or LocalEngine()
    structure, why = choose_structure(settings, corpus.rows)
    if structure == "hnsw":
        check_room(corpus.rows, encoder.dim, engine.memory_budget)
    vectors = write_vectors(
        corpus, draft, encoder, settings.shard_rows, engine=engine, earlier=earlier, progress=progress
    )
    write_lists(vectors, draft, clustered=structure == "ivf", seed=settings.seed, progress=progress)
    if structure == "hnsw":
        write_graph(vectors, draft, engine.memory_budget, progress)
    receipt = draft.receipt("search")
    if receipt is None:
        progress("measure recall", 0, None)
        measured = _measured(structure, corpus, draft, vectors, encoder, settings)
        draft.partial(SEARCH).write_bytes(canonical_json({"structure": structure, **measured}))
        receipt = draft.keep("search", {SEARCH: 1}, state=measured)
    return {"rows": corpus.rows, "dim": encoder.dim, "structure": structure, "why": why, **receipt.state}


def choose_structure(settings: DenseSettings, rows: int) -> tuple[Structure, str]:
    """The structure and why. Not by the machine's memory: all but HNSW is memory-mapped, and an id knows no machine."""
    if settings.structure != "auto":
        return settings.structure, f"{settings.structure} was asked for"
    if rows <= settings.exact_rows:
        return "flat", f"{rows} rows are at most exact_rows = {settings.exact_rows}: every search is exact"
    more = f"{rows} rows are more than exact_rows = {settings.exact_rows}"
    return "ivf", f"{more}: as many lists are visited as find {settings.recall} of the nearest"


def _measured(
    structure: Structure,
    corpus: Artifact,
    draft: Draft,
    vectors: Vectors,
    encoder: TextEncoder,
    settings: DenseSettings,
) -> dict[str, Json]:
    """How much an approximate search has to visit, and what it finds then (law 4)."""
    if structure == "flat":
        return {}
    lists = Lists.of_draft(draft)
    own = drawn(vectors.rows, settings.seed)
    asked = {"recall": openings(corpus, own, encoder), "recall_passages": vectors.take(own)}
    true = {name: true_nearest(lists, vectors, queries, own) for name, queries in asked.items()}
    graph = Graph.read(draft.directory / HNSW) if structure == "hnsw" else None

    def share(name: str, search: dict[str, Json]) -> float:
        index = DenseIndex(vectors, lists, search, settings.depth, graph)
        _, found = index.search(asked[name], RECALL_K + 1)
        return share_found(without(found, own), true[name])

    about: dict[str, Json] = {"recall_k": RECALL_K, "recall_queries": len(own)}
    if structure == "ivf":
        search: dict[str, Json] = {"margin": margin_for(gaps(lists, asked["recall"], true["recall"]), settings.recall)}
        visits = lists.visits(asked["recall"], search["margin"], settings.depth)
        visited = float(lists.sizes[visits.lists].sum()) / len(own) / vectors.rows
        about |= {"lists": len(lists), "visited": round(visited, 4)}
    else:
        first = min(max(RECALL_K + 1, settings.depth), vectors.rows)  # one pool for any k up to the depth
        most = min(max(MOST_EFFORT, first), vectors.rows)
        effort = least_for(lambda effort: share("recall", {"effort": effort}), settings.recall, first, most)
        search = {"effort": effort}
    return search | about | {name: share(name, search) for name in asked}


class DenseIndex:
    """Passage vectors and their structure, opened. What an approximate one finds is exactly the best of what it visits.

    A query finds the same alone and in any batch, and fewer hits are the first of more, up to `depth`.
    """

    def __init__(
        self, vectors: Vectors, lists: Lists, search: dict[str, Json], depth: int, graph: Graph | None
    ) -> None:
        self.vectors = vectors
        self.rows, self.dim = vectors.rows, vectors.dim
        self.lists = lists
        self._margin = float(search.get("margin", 0))
        self._effort = int(search.get("effort", 0))
        self._depth = min(depth, vectors.rows)
        self._graph = graph

    @classmethod
    def open(cls, artifact: Artifact, settings: DenseSettings) -> DenseIndex:
        """Open the dense part of an index; every file is checked against the manifest before it is read."""
        if not any(entry.name == SEARCH for entry in artifact.manifest.files):
            raise NotFound(
                f"Expected {SEARCH} in {artifact.directory}, found none: an earlier version built this index; "
                "build it again"
            )
        path = artifact.path(SEARCH)
        try:
            search = json.loads(path.read_bytes())
            graph = Graph.open(artifact) if search["structure"] == "hnsw" else None
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"{path} cannot be read; build the index again") from error
        return cls(open_vectors(artifact), Lists.open(artifact), search, settings.depth, graph)

    def search(self, queries: np.ndarray, k: int, *, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and rows int64, (n, min(k, rows)) each, best first, ties by row. `queries` is (n, dim)."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise BadInput(f"Expected query vectors (n, {self.dim}) as the passages have, found {queries.shape}")
        k = min(k, self.rows)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), QUERY_BLOCK):
            block = np.ascontiguousarray(queries[start : start + QUERY_BLOCK], np.float32)
            here = slice(start, start + len(block))
            if self._graph is not None and k <= self._effort:
                scores[here], rows[here] = _by_graph(self._graph, self.vectors, block, k, self._effort)
            else:
                visits = self.lists.visits(block, self._margin, max(self._depth, k))
                scores[here], rows[here] = nearest(self.lists, self.vectors, block, visits, k, threads=threads)
        return scores, rows

    def exact(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, of all passages."""
        k, everywhere = min(k, self.rows), self.lists.everywhere(len(queries))
        return nearest(self.lists, self.vectors, np.ascontiguousarray(queries, np.float32), everywhere, k)


def _by_graph(
    graph: Graph, vectors: Vectors, queries: np.ndarray, k: int, effort: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of what a graph leads to. Exactly all passages where it leads to fewer than k."""
    candidates = graph.candidates(queries, effort)
    owners, places = np.nonzero(candidates >= 0)
    pairs = candidates[owners, places]
    starts = np.concatenate([[0], np.cumsum((candidates >= 0).sum(axis=1))])
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    best_of(starts, pairs, vectors.scores(queries, owners, pairs), scores, rows)
    return scores, rows
