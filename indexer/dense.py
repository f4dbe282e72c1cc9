"""Dense search: passage vectors kept as float16 shards, searched exactly while few, through FAISS's IVF + SQ8 above.

Written by `index build`; read by `indexer.index`. Every score is an inner product of unit vectors: a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput, CorruptArtifact, MissingExtra
from contract.manifest import Json
from contract.progress import Progress, silent
from indexer.encoder import EncoderSettings, TextEncoder

if TYPE_CHECKING:
    from types import ModuleType

IVF = "dense-ivf.faiss"
ENCODE_ROWS = 2048  # passages given to the encoder at once: enough to sort by length, few enough to see it move
QUERY_BLOCK = 256  # queries searched at once: bounds the memory of candidates
SPARE = 16  # candidates beyond k, so that a second look is rarely needed
TRAIN_PER_LIST = 64  # training vectors an inverted list
SAMPLE = 256  # passages that ask for themselves when recall is measured
RECALL_K = 32


@dataclass(frozen=True)
class DenseSettings:
    """How passages are embedded and found. Above `exact_rows` the search is approximate, its recall in the facts."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    shard_rows: int = 8192
    exact_rows: int = 200_000
    nprobe: int = 16  # inverted lists visited, at least
    depth: int = 1000  # so many rows are in the visited lists: any k up to it ranks the same rows
    seed: int = 0


def build_dense(
    corpus: Artifact, draft: Draft, encoder: TextEncoder, settings: DenseSettings, *, progress: Progress = silent
) -> dict[str, Json]:
    """Embed every passage in steps `dense-…`, then build the structure that finds them; the facts of both."""
    shards = (corpus.rows + settings.shard_rows - 1) // settings.shard_rows
    for number in range(shards):
        if draft.receipt(_step(number)) is None:
            _write_vectors(corpus, draft, encoder, settings, number, progress)
        progress("embed passages", min((number + 1) * settings.shard_rows, corpus.rows), corpus.rows)
    facts: dict[str, Json] = {"rows": corpus.rows, "dim": encoder.dim}
    if corpus.rows <= settings.exact_rows:
        why = f"{corpus.rows} rows are at most exact_rows = {settings.exact_rows}: every search is exact"
        return facts | {"structure": "flat", "why": why}
    receipt = draft.receipt("dense-ivf")
    if receipt is None:
        vectors = _open_vectors([draft.directory / _vectors_name(number) for number in range(shards)])
        state = _write_ivf(vectors, draft, settings, progress)
        receipt = draft.keep("dense-ivf", {IVF: corpus.rows}, state=state)
    why = f"{corpus.rows} rows are more than exact_rows = {settings.exact_rows}: IVF + SQ8, recall measured"
    return facts | {"structure": "ivf-sq8", "why": why, **receipt.state}


class DenseIndex:
    """Passage vectors, opened. `search` is exact for a flat structure and for k beyond the visited lists."""

    def __init__(self, vectors: Sequence[np.ndarray], ivf: Any | None, settings: DenseSettings) -> None:
        self._vectors = vectors  # float16 (rows of the shard, dim) each, memory-mapped
        self._ivf = ivf
        self._settings = settings
        self._in_memory: np.ndarray | None = None
        self.rows = sum(len(shard) for shard in vectors)
        self.dim = int(vectors[0].shape[1]) if vectors else 0
        if ivf is not None:
            lists = ivf.invlists
            self._list_sizes = np.array([lists.list_size(number) for number in range(ivf.nlist)])
            self._centroids = ivf.quantizer.reconstruct_n(0, ivf.nlist).astype(np.float64)

    @classmethod
    def open(cls, artifact: Artifact, settings: DenseSettings) -> DenseIndex:
        """Open the dense part of an index; every file is checked against the manifest before it is read."""
        files = sorted(entry.name for entry in artifact.manifest.files if entry.name.startswith("dense-"))
        vectors = _open_vectors([artifact.path(name) for name in files if name.endswith(".npy")])
        return cls(vectors, _read_ivf(artifact.path(IVF)) if IVF in files else None, settings)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and rows int64, (n, min(k, rows)) each, best first, ties by row. `queries` is (n, dim)."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise BadInput(f"Expected query vectors (n, {self.dim}) as the passages have, found {queries.shape}")
        k = min(k, self.rows)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), QUERY_BLOCK):
            block = np.ascontiguousarray(queries[start : start + QUERY_BLOCK], np.float32)
            found = self._approximate(block, k) if self._ivf is not None else self._exact(block, k)
            scores[start : start + QUERY_BLOCK], rows[start : start + QUERY_BLOCK] = found
        return scores, rows

    def _approximate(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows of the lists nearest to each query; exactly all rows for those whose lists hold less than k.

        The lists visited depend on the query alone, so that a smaller k is a prefix of a greater one.
        """
        assert self._ivf is not None
        coarse = (queries.astype(np.float64) @ self._centroids.T).astype(np.float32)
        lists = np.argsort(-coarse, axis=1, kind="stable")
        reached = np.cumsum(self._list_sizes[lists], axis=1)
        needed = 1 + (reached < min(self._settings.depth, self.rows)).sum(axis=1)
        needed = np.minimum(np.maximum(needed, self._settings.nprobe), lists.shape[1])
        held = reached[np.arange(len(queries)), needed - 1]
        nprobe = int(needed.max())
        lists = lists[:, :nprobe]
        lists = np.where(np.arange(nprobe) < needed[:, None], lists, -1)
        wanted = min(k + SPARE, self.rows)
        scores, rows = _search_lists(self._ivf, queries, wanted, lists, coarse)
        scores, rows = _ordered(scores, rows, k)
        short = np.flatnonzero(held < k)
        if len(short):
            scores[short], rows[short] = self._exact(queries[short], k)
        return scores, rows

    def _exact(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all rows. FAISS names candidates; float64 scores order them, whatever the batch they came in.

        A candidate list is enough when its last fast score, plus the error of float32, is below the k-th true score;
        a query whose list is not (many equal vectors) is asked again with twice the candidates.
        """
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        left = np.arange(len(queries))
        wanted = min(k + SPARE, self.rows)
        while len(left):
            fast, candidates = self._candidates(queries[left], wanted)
            true = self._true_scores(queries[left], candidates)
            found_scores, found_rows = _ordered(true, candidates, k)
            error = self.dim * np.finfo(np.float32).eps * np.maximum(np.linalg.norm(queries[left], axis=1), 1)
            is_sure = (found_scores[:, -1] > fast[:, -1] + error) | (wanted == self.rows)
            scores[left[is_sure]], rows[left[is_sure]] = found_scores[is_sure], found_rows[is_sure]
            left, wanted = left[~is_sure], min(2 * wanted, self.rows)
        return scores, rows

    def _candidates(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows by float32 scores, best first, block by block of the vectors."""
        faiss = _faiss()
        best = np.empty((len(queries), 0), np.float32)
        best_rows = np.empty((len(queries), 0), np.int64)
        for start, block in self._blocks():
            scores, rows = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            best, best_rows = np.hstack([best, scores]), np.hstack([best_rows, rows + start])
            best, best_rows = _ordered(best, best_rows, min(k, best.shape[1]))
        return best, best_rows

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The vectors as float32: a small index in one piece that is kept, a large one shard by shard."""
        if self.rows <= self._settings.exact_rows:
            if self._in_memory is None:
                self._in_memory = np.concatenate([np.asarray(shard, np.float32) for shard in self._vectors])
            yield 0, self._in_memory
            return
        start = 0
        for shard in self._vectors:
            yield start, np.asarray(shard, np.float32)
            start += len(shard)

    def _true_scores(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float64 inner products, rounded to float32, (n, k): the same for a query alone and in any batch."""
        scores = np.empty(rows.shape, np.float32)
        for number, query in enumerate(queries.astype(np.float64)):
            scores[number] = self.vectors(rows[number]).astype(np.float64) @ query
        return scores

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The stored vectors of `rows` (n,), (n, dim)."""
        if self._in_memory is not None:
            kept: np.ndarray = self._in_memory[rows]
            return kept
        taken = np.empty((len(rows), self.dim), np.float16)
        starts = np.cumsum([0, *(len(shard) for shard in self._vectors)])
        of_shard = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(of_shard):
            here = of_shard == number
            taken[here] = self._vectors[number][rows[here] - starts[number]]
        return taken


def _step(number: int) -> str:
    return f"dense-{number:05d}"


def _vectors_name(number: int) -> str:
    return f"{_step(number)}.npy"


def _write_vectors(
    corpus: Artifact, draft: Draft, encoder: TextEncoder, settings: DenseSettings, number: int, progress: Progress
) -> None:
    start = number * settings.shard_rows
    vectors = np.empty((min(settings.shard_rows, corpus.rows - start), encoder.dim), np.float16)
    done = 0
    batches = corpus.batches(columns=["text"], batch_rows=ENCODE_ROWS, start=start, stop=start + len(vectors))
    for batch in batches:
        vectors[done : done + batch.num_rows] = encoder.encode(batch.column("text").to_pylist(), kind="passage")
        done += batch.num_rows
        progress("embed passages", start + done, corpus.rows)
    name = _vectors_name(number)
    with draft.partial(name).open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    draft.keep(_step(number), {name: len(vectors)})


def _open_vectors(paths: Sequence[Path]) -> list[np.ndarray]:
    return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]


def _write_ivf(
    vectors: Sequence[np.ndarray], draft: Draft, settings: DenseSettings, progress: Progress
) -> dict[str, Json]:
    """Train on a seeded sample, add every shard, measure the recall; leaves the FAISS file, says what was measured."""
    faiss = _faiss()
    rows = sum(len(shard) for shard in vectors)
    dim = int(vectors[0].shape[1])
    nlist = lists_for(rows)
    reader = DenseIndex(vectors, None, settings)
    sample = _sample(rows, nlist * TRAIN_PER_LIST, settings.seed)
    training = reader.vectors(sample).astype(np.float32)
    progress("train lists", 0, nlist)
    quantizer = faiss.IndexFlatIP(dim)
    ivf = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, nlist, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    ivf.cp.seed, ivf.cp.niter, ivf.cp.spherical = settings.seed + 1, 10, True
    ivf.cp.max_points_per_centroid, ivf.cp.min_points_per_centroid = TRAIN_PER_LIST, 1
    ivf.train(training)
    progress("train lists", nlist, nlist)
    added = 0
    for shard in vectors:
        ivf.add(np.asarray(shard, np.float32))
        added += len(shard)
        progress("add to lists", added, rows)
    faiss.write_index(ivf, str(draft.partial(IVF)))
    recall = _recall(DenseIndex(vectors, ivf, settings), settings)
    return {"nlist": nlist, "nprobe": settings.nprobe, "depth": settings.depth, **recall}


def lists_for(rows: int) -> int:
    """How many inverted lists: the power of two nearest below 4 sqrt(rows), 4096 for a million."""
    return 1 << int(math.log2(max(4.2 * math.sqrt(rows), 1)))


def _recall(index: DenseIndex, settings: DenseSettings) -> dict[str, Json]:
    """Law 4: of the exact nearest of sampled passages, themselves left out, the share the lists find."""
    rows = _sample(index.rows, SAMPLE, settings.seed + 1)
    queries = index.vectors(rows).astype(np.float32)
    k = min(RECALL_K + 1, index.rows)
    _, found = index.search(queries, k)
    _, exact = index._exact(queries, k)
    shares = [
        len((set(f.tolist()) & set(e.tolist())) - {row}) / max(len(set(e.tolist()) - {row}), 1)
        for f, e, row in zip(found, exact, rows.tolist(), strict=True)
    ]
    return {"recall": round(float(np.mean(shares)), 4), "recall_k": RECALL_K, "recall_queries": len(rows)}


def _sample(rows: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(rows, min(size, rows), replace=False))


def _read_ivf(path: Path) -> Any:
    """Only called on a file whose hash was just checked: FAISS trusts what it reads."""
    faiss = _faiss()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise CorruptArtifact(
            f"{path} is not an index FAISS {faiss.__version__} can read; rebuild the index"
        ) from error


def _search_lists(
    ivf: Any, queries: np.ndarray, k: int, lists: np.ndarray, coarse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of the given lists (n, nprobe) of each query; -1 stands for no list, and for no row."""
    faiss = _faiss()
    lists = np.ascontiguousarray(lists, np.int64)
    distances = np.ascontiguousarray(np.take_along_axis(coarse, np.maximum(lists, 0), axis=1))
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    # The wrapped call wants the lists' number in the index itself, which threads that search share.
    ivf.search_preassigned_c(
        len(queries),
        faiss.swig_ptr(queries),
        k,
        faiss.swig_ptr(lists),
        faiss.swig_ptr(distances),
        faiss.swig_ptr(scores),
        faiss.swig_ptr(rows),
        False,
        faiss.SearchParametersIVF(nprobe=lists.shape[1]),
    )
    return scores, rows


def _ordered(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best k of (n, m) candidates, best first, ties by row; rows of -1 come last."""
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(f"Dense search needs faiss-cpu ({error}); pip install 'transferset[indexer]'") from error
    return faiss
