"""Dense on demand: of a corpus too large to embed, only the passages that BM25 finds are encoded, when they are found.

The dense ranking of hybrid search over candidates; what was encoded once is kept beside the indexes for other searches.
What comes back is the same whether a vector was kept or made, since an encoder gives a text one vector to the bit.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
from importlib import metadata
from pathlib import Path

import numpy as np

from contract.errors import BadInput
from indexer.encoder import TextEncoder
from indexer.texts import Texts
from indexer.vector_cache import FOLDER, MAX_BYTES, VectorCache, keys_of

DEPTH = 200  # candidates of a query: benchmarks/on_demand.py shows what more of them cost and bring
LIMIT = "TRANSFERSET_VECTORS_BYTES"  # how much the kept vectors may take on the disk; 0 keeps none
_CANDIDATES_AT_ONCE = 200_000  # of all queries of a block: bounds the memory for vectors to about 200 MB
_TEXTS_AT_ONCE = 4096  # encoded before they are kept: a kill costs no more


class OnDemand:
    """The dense ranking of candidates. Safe from many threads."""

    def __init__(self, encoder: TextEncoder, texts: Texts, cache: VectorCache) -> None:
        self._encoder = encoder
        self._texts = texts
        self._cache = cache
        self._lock = threading.Lock()  # of the cache
        self.encoded = 0  # passages, since it was opened

    def rank(self, queries: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of each query, the nearest first, ties by row: scores float32 and rows int64, (n, depth) each.

        `queries` is (n, dim); `candidates` (n, depth) holds rows, -1 for none, which stands last with a score of NaN.
        """
        scores, rows = np.full(candidates.shape, np.nan, np.float32), np.full(candidates.shape, -1, np.int64)
        step = max(1, _CANDIDATES_AT_ONCE // max(candidates.shape[1], 1))
        for start in range(0, len(queries), step):
            block = candidates[start : start + step]
            distinct = np.unique(block[block >= 0])
            vectors = self._vectors(distinct)
            for number, (query, of_query) in enumerate(zip(queries[start : start + step], block, strict=True), start):
                mine = np.sort(of_query[of_query >= 0])
                true = _scores(query, vectors[np.searchsorted(distinct, mine)])
                best = np.argsort(-true, kind="stable")
                scores[number, : len(mine)], rows[number, : len(mine)] = true[best], mine[best]
        return scores, rows

    def _vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of passages, (n, dim) float16: those that are kept, the others made and kept."""
        texts = self._texts.take(rows)["text"].to_pylist()
        keys = keys_of(texts)
        with self._lock:
            found, vectors = self._cache.find(keys)
        missing = np.flatnonzero(~found)
        _, first, same = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
        to_encode = missing[first]  # equal texts once
        longest_first = np.argsort([-len(texts[at]) for at in to_encode], kind="stable")
        for start in range(0, len(to_encode), _TEXTS_AT_ONCE):
            part = to_encode[longest_first[start : start + _TEXTS_AT_ONCE]]
            vectors[part] = self._encoder.encode([texts[at] for at in part], kind="passage")
            with self._lock:
                self._cache.add(keys[part], vectors[part])
                self.encoded += len(part)
        vectors[missing] = vectors[to_encode[same]]
        return vectors


def open_cache(indexes: Path, encoder: TextEncoder) -> VectorCache:
    """The vectors kept beside the indexes of a folder, in `.vectors/`, a folder for each encoder and arithmetic."""
    folder = f"{encoder.fingerprint}-{_arithmetic()}"
    return VectorCache(indexes / FOLDER / folder, encoder.dim, max_bytes=_limit(os.environ.get(LIMIT, "")))


def _limit(given: str) -> int:
    if given and not given.isdecimal():
        raise BadInput(f"Expected {LIMIT} to be a number of bytes, 0 to keep no vectors, found {given!r}")
    return int(given or MAX_BYTES)


def _arithmetic() -> str:
    """What decides the last bit of a vector beside the encoder: library and processor. 8 hex digits."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = ""
    described = [torch, platform.machine(), _processor(), _accelerator()]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:8]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _accelerator() -> str:
    """The GPU an opened encoder runs on; a static one runs on none, and has not loaded torch."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""


def _scores(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """float64 inner products, rounded to float32, (n,), as exact dense search has them."""
    scores: np.ndarray = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return scores
