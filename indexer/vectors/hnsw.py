"""HNSW: FAISS's graph over the vectors, built on demand: quick for one query at a time, at the cost of memory.

Built on one thread, since two would link the graph otherwise each time; opened whole into memory.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from contract.errors import BadInput, CorruptArtifact, MissingExtra
from contract.progress import Progress
from indexer.vectors.stored import Vectors

HNSW = "hnsw.faiss"
LINKS = 32  # of a passage
EFFORT_OF_BUILD = 80
_AT_ONCE = 1024


class Graph:
    """A graph, opened."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def open(cls, artifact: Artifact) -> Graph:
        """Only a file whose hash was just checked is read: FAISS trusts what it reads."""
        return cls.read(artifact.path(HNSW))

    @classmethod
    def read(cls, path: Path) -> Graph:
        faiss = _faiss()
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise CorruptArtifact(
                f"{path} is not an index FAISS {faiss.__version__} can read; rebuild the index"
            ) from error

    def candidates(self, queries: np.ndarray, effort: int) -> np.ndarray:
        """`effort` rows that are likely near each query, (n, effort) int64; -1 where the graph leads to no more."""
        rows: np.ndarray = self._index.search(
            np.ascontiguousarray(queries, np.float32),
            effort,
            params=_faiss().SearchParametersHNSW(efSearch=effort),
        )[1]
        return rows


def write_graph(vectors: Vectors, draft: Draft, memory_budget: int | None, progress: Progress) -> Receipt:
    """Link all vectors, one step `hnsw`; the same vectors give the same bytes."""
    if receipt := draft.receipt("hnsw"):
        return receipt
    check_room(vectors.rows, vectors.dim, memory_budget)
    faiss = _faiss()
    index = faiss.IndexHNSWSQ(vectors.dim, faiss.ScalarQuantizer.QT_8bit, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EFFORT_OF_BUILD
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        rows = np.linspace(0, vectors.rows - 1, min(vectors.rows, 65_536)).astype(np.int64)
        index.train(vectors.take(rows))
        for first, part in vectors.parts(_AT_ONCE):
            index.add(part)
            progress("link passages", first + len(part), vectors.rows)
    finally:
        faiss.omp_set_num_threads(threads)
    faiss.write_index(index, str(draft.partial(HNSW)))
    return draft.keep("hnsw", {HNSW: vectors.rows})


def check_room(rows: int, dim: int, memory_budget: int | None) -> None:
    """BadInput when the graph would not fit into the memory that was granted."""
    needed = rows * (dim + 8 * LINKS + 16)
    if memory_budget is not None and needed > memory_budget:
        raise BadInput(
            f"Expected a graph over {rows:,} vectors of {dim} to fit the memory budget of {memory_budget:,} bytes, "
            f"found it needs about {needed:,}; give more with --memory-budget, or choose --structure ivf"
        )


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(f"HNSW needs faiss-cpu ({error}); pip install 'transferset[indexer]'") from error
    return faiss
