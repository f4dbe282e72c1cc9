"""Vectors: every passage's embedding as float16, in memory-mapped shards in the order of the corpus.

Written by `index build` in steps `dense-…`, a shard a step; whatever finds vectors is derived from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from contract.manifest import FileEntry
from contract.progress import Progress
from indexer.encoder import TextEncoder
from indexer.engine import Engine
from indexer.vectors.sift import dot

BLOCK_ROWS = 1024  # passages embedded together, always the same ones: a block's vectors depend on nothing else
_PAIRS = 512  # scored together: their vectors stay in the cache
_BYTES_A_CALL = 250_000_000  # about what making a shard takes beside its vectors: the model and its working memory


class Vectors:
    """The vectors of a corpus, opened."""

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self.shards = [np.asarray(shard) for shard in shards]  # float16 (rows of the shard, dim) each
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        self.rows = int(self.starts[-1])
        self.dim = int(self.shards[0].shape[1]) if self.shards else 0

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Vectors:
        return cls([np.load(path, mmap_mode="r", allow_pickle=False) for path in paths])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of `rows` (n,), (n, dim) float32."""
        taken = np.empty((len(rows), self.dim), np.float16)
        for number, here in self._by_shard(rows):
            taken[here] = self.shards[number][rows[here] - self.starts[number]]
        return floats(taken)

    def parts(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """All vectors in order as float32, at most so many at a time, each part with its first row."""
        for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
            for first in range(0, len(shard), rows):
                yield start + first, floats(shard[first : first + rows])

    def scores(self, queries: np.ndarray, owners: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The inner product of each pair queries[owners[i]] and passage rows[i], (n,) float32."""
        scores = np.empty(len(rows), np.float32)
        for number, here in self._by_shard(rows):
            for first in range(0, len(here), _PAIRS):
                some = here[first : first + _PAIRS]
                passages = floats(self.shards[number][rows[some] - self.starts[number]])
                dot(some, owners, queries, passages, scores)
        return scores

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Which of `rows` lie in which shard, as positions in the order of the rows: a shard is read end to end."""
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self.starts)
        for number in np.flatnonzero(np.diff(cuts)):
            yield int(number), order[cuts[number] : cuts[number + 1]]


def floats(halves: np.ndarray) -> np.ndarray:
    """float16 (n, dim) -> float32, ten times as fast as numpy's own way."""
    bits = np.empty(halves.shape, np.int32)
    _widen(halves.view(np.int16), bits, bits.view(np.float32))
    return bits.view(np.float32)


@njit(nogil=True, cache=True)
def _widen(halves, bits, values):  # type: ignore[no-untyped-def]
    """Exponent and fraction move to their places, the sign stays first; the exponents then differ by 112."""
    for i in range(len(halves)):
        half, bit, value = halves[i], bits[i], values[i]
        for j in range(len(half)):
            bit[j] = (half[j] << 13) & np.int32(-1879056384)  # 0x8fffe000
        for j in range(len(half)):
            value[j] *= np.float32(2.0**112)


def write_vectors(
    corpus: Artifact,
    draft: Draft,
    encoder: TextEncoder,
    shard_rows: int,
    *,
    engine: Engine,
    earlier: Artifact | None,
    progress: Progress,
) -> Vectors:
    """Embed every passage, a step a shard; what `earlier` has, over the corpus's first rows, is taken from it."""
    work = _VectorShards(corpus, draft, encoder, shard_rows, earlier)
    numbers = range(-(-corpus.rows // shard_rows))
    bytes_each = _BYTES_A_CALL + 2 * shard_rows * encoder.dim
    done = 0
    for receipt in engine.map(work, numbers, bytes_each=bytes_each):
        done += receipt.files[0].rows
        progress("embed passages", done, corpus.rows)
    return Vectors.open([draft.directory / _name(number) for number in numbers])


def open_vectors(artifact: Artifact) -> Vectors:
    """The vectors of an index; every file is checked against the manifest before it is read."""
    entries = {entry.name for entry in artifact.manifest.files}
    names = sorted(name for name in entries if name.startswith("dense-") and name.endswith(".npy"))
    return Vectors.open([artifact.path(name) for name in names])


@dataclass(frozen=True)
class _VectorShards:
    """The making of one shard, for an engine to carry out."""

    corpus: Artifact
    draft: Draft
    encoder: TextEncoder
    shard_rows: int
    earlier: Artifact | None

    def __call__(self, number: int) -> Receipt:
        if receipt := self.draft.receipt(_step(number)):
            return receipt
        start = number * self.shard_rows
        rows = min(self.shard_rows, self.corpus.rows - start)
        before = next((entry for entry in self._earlier_files if entry.name == _name(number)), None)
        if self.earlier and before and before.rows == rows:
            return self.draft.adopt(_step(number), self.earlier.directory, [before])
        vectors = np.empty((rows, self.encoder.dim), np.float16)
        known = before.rows // BLOCK_ROWS * BLOCK_ROWS if before else 0
        if self.earlier and known:
            path = self.earlier.path(_name(number))  # checked; a shard that is adopted is checked there
            vectors[:known] = np.load(path, mmap_mode="r", allow_pickle=False)[:known]
        self._embed(start, vectors, known)
        with self.draft.partial(_name(number)).open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        return self.draft.keep(_step(number), {_name(number): rows})

    def _embed(self, start: int, vectors: np.ndarray, known: int) -> None:
        """Fill the shard's rows from `known` on, block by block."""
        batches = self.corpus.batches(columns=["text"], start=start + known, stop=start + len(vectors))
        texts = [text for batch in batches for text in batch.column("text").to_pylist()]
        for first in range(0, len(texts), BLOCK_ROWS):
            block = texts[first : first + BLOCK_ROWS]
            vectors[known + first : known + first + len(block)] = self.encoder.encode(block, kind="passage")

    @property
    def _earlier_files(self) -> Sequence[FileEntry]:
        return self.earlier.manifest.files if self.earlier else ()


def _step(number: int) -> str:
    return f"dense-{number:05d}"


def _name(number: int) -> str:
    return f"{_step(number)}.npy"
