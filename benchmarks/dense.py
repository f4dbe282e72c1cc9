"""Dense search beside FAISS on the same vectors, in one run and one table: queries a second and recall@32.

    python -m benchmarks.dense --rows 1000000 --vectors INDEX_FOLDER --corpus ARTIFACTS/corpora/en

The vectors are those of a finished or half-built index (its `dense-*.npy`) and its corpus, the queries the utterances
of CLINC150; without them, vectors in clusters. Queries come all at once, as in a build of a transfer set. Recall is
against the exact search of the same utterances; how much our ivf visits was settled at its build, without them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data import TASK
from contract.artifact import Artifact, open_artifact
from contract.draft import Plan, drafting
from contract.store import Store
from indexer.corpus import CORPUS_VERSION, CorpusSettings, build_corpus
from indexer.dense import DenseIndex, DenseSettings, build_dense
from indexer.encoder import EncoderSettings, TextEncoder, open_encoder
from indexer.encoders.threads import cores
from indexer.engine import LocalEngine
from indexer.vectors.codes import products
from indexer.vectors.stored import Vectors

K, DIM = 32, 384
EXACT_QUERIES = 512  # for which FAISS's exact search is timed: it takes seconds for a thousand


class StoredEncoder:
    """Gives out stored vectors as those of the passages, in their order; queries are really encoded."""

    fingerprint = "stored"
    location = ""
    settings = EncoderSettings()

    def __init__(self, vectors: Vectors, queries: TextEncoder) -> None:
        self.dim = vectors.dim
        self._vectors, self._queries, self._given = vectors, queries, 0

    def encode(self, texts: Sequence[str], *, kind: str) -> np.ndarray:
        if kind == "query":
            return self._queries.encode(texts, kind="query")
        self._given += len(texts)
        return self._vectors.take(np.arange(self._given - len(texts), self._given))


class ClusteredEncoder:
    """Vectors in clusters, as texts are, drawn by the text's last word: no model, so that only the search is timed."""

    dim = DIM
    fingerprint = "clustered"
    location = ""
    settings = EncoderSettings()

    def encode(self, texts: Sequence[str], *, kind: str) -> np.ndarray:
        centres = np.random.default_rng(0).normal(size=(500, DIM)).astype(np.float32)
        draw = np.random.default_rng([len(kind), int(texts[0].split()[-1])])
        vectors = centres[draw.integers(0, 500, len(texts))] + draw.normal(size=(len(texts), DIM)).astype(np.float32)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit.astype(np.float32)


class FirstRows(Artifact):
    """The first rows of a corpus, as if they were all."""

    def __init__(self, corpus: Artifact, rows: int) -> None:
        super().__init__(corpus.directory, corpus.manifest)
        self._rows = rows

    @property
    def rows(self) -> int:
        return self._rows


@dataclass
class Row:
    """A line of the table."""

    name: str
    build_seconds: float
    search_seconds: float
    queries: int
    found: np.ndarray = field(repr=False)
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=15_000)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--recalls", type=float, nargs="*", default=[0.98, 0.99])
    parser.add_argument("--hnsw", action="store_true", help="also HNSW, whose build takes minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus, encoder, queries = inputs(arguments, Path(folder))
        rows = list(measured(arguments, Store(Path(folder)), corpus, encoder, queries))
    show(rows, corpus.rows, len(queries))


def inputs(arguments: argparse.Namespace, folder: Path) -> tuple[Artifact, Callable[[], Any], np.ndarray]:
    """The corpus, what makes an encoder of it, and the queries."""
    if arguments.vectors:
        vectors = Vectors.open(sorted(arguments.vectors.glob("dense-*.npy")))
        whole = open_artifact(arguments.corpus, "corpus", version=CORPUS_VERSION)
        corpus = FirstRows(whole, min(arguments.rows, vectors.rows, whole.rows))
        minilm = open_encoder("minilm")
        table = pq.read_table(TASK, columns=["text", "split"])
        texts = table.filter(pc.equal(table["split"], "train"))["text"].to_pylist()[: arguments.queries]
        return corpus, lambda: StoredEncoder(vectors, minilm), minilm.encode(texts, kind="query")
    (folder / "docs.txt").write_text("".join(f"passage number {n}\n" for n in range(arguments.rows)))
    corpus = build_corpus(Store(folder), "c", [str(folder / "docs.txt")], CorpusSettings())
    steps = range(0, arguments.queries, 512)
    queries = np.concatenate([ClusteredEncoder().encode([f"query {n}"] * 512, kind="query") for n in steps])
    return corpus, ClusteredEncoder, queries[: arguments.queries]


def measured(
    arguments: argparse.Namespace, store: Store, corpus: Artifact, encoder: Callable[[], Any], queries: np.ndarray
) -> Iterator[Row]:
    """Our structures and FAISS's, the exact ones first."""
    ours: dict[str, Any] = {"ours, flat": {"structure": "flat"}}
    ours |= {f"ours, ivf for {recall}": {"structure": "ivf", "recall": recall} for recall in arguments.recalls}
    if arguments.hnsw:
        ours["ours, hnsw"] = {"structure": "hnsw"}
    index = None
    for number, (name, settings) in enumerate(ours.items()):
        built, seconds = timed(
            lambda s=settings, n=number: build(store, corpus, encoder(), f"i{n}", DenseSettings(**s))
        )
        index = DenseIndex.open(built, DenseSettings(**settings))
        yield searched(name, seconds, index.search, queries, note_of(built, index, queries))
    assert index is not None
    vectors = index.vectors.take(np.arange(index.rows))
    for name, key, nprobes in (
        ("FAISS, flat", "Flat", [0]),
        ("FAISS, IVF and SQ8", f"IVF{len(index.lists)},SQ8", [16, 64]),
    ):
        peer, seconds = timed(lambda k=key: faiss_index(k, vectors))
        for nprobe in nprobes:
            asked = queries if nprobe else queries[:EXACT_QUERIES]
            if nprobe:
                faiss.extract_index_ivf(peer).nprobe = nprobe
            yield searched(f"{name}{f', nprobe {nprobe}' if nprobe else ''}", seconds, peer.search, asked, "")


def build(store: Store, corpus: Artifact, encoder: Any, name: str, settings: DenseSettings) -> Artifact:
    with drafting(store.path("index", name), Plan("index", 1, {}, {})) as draft:
        draft.finish(facts=build_dense(corpus, draft, encoder, settings, engine=LocalEngine(1)))
    return open_artifact(store.path("index", name), "index", version=1)


def faiss_index(key: str, vectors: np.ndarray) -> Any:
    index = faiss.index_factory(vectors.shape[1], key, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, len(vectors) // 160_000)])
    index.add(vectors)
    return index


def searched(name: str, build_seconds: float, search: Callable[..., Any], queries: np.ndarray, note: str) -> Row:
    """The best of two searches, after one that opens what there is to open."""
    search(queries[:64], K)
    (_, rows), first = timed(lambda: search(queries, K))
    _, second = timed(lambda: search(queries, K))
    return Row(name, build_seconds, min(first, second), len(queries), rows, note)


def note_of(built: Artifact, index: DenseIndex, queries: np.ndarray) -> str:
    """How much is visited, what that is in operations, and what one core can do of them in a second."""
    facts = built.manifest.facts
    if facts["structure"] == "hnsw":
        return f"effort {facts['effort']}, recall at the build {facts['recall']}"
    visits = index.lists.visits(queries, facts.get("margin", 0), 1000)
    visited = float(index.lists.sizes[visits.lists].sum()) / len(queries)
    work = 2 * visited * index.dim / 1e6
    said = f", {facts['lists']} lists, recall at the build {facts['recall']}" if "lists" in facts else ""
    return f"{visited / index.rows:.1%} visited, {work:,.0f} Mop a query (a core does {peak():,.0f} Gop/s){said}"


def peak() -> float:
    draw = np.random.default_rng(0)
    first, second = (draw.integers(-127, 128, (rows, DIM)).astype(np.int8) for rows in (1024, 1024))
    best = min(timed(lambda: products(first, second))[1] for _ in range(20))
    return 2 * 1024 * 1024 * DIM / best / 1e9 / cores()


def show(rows: Sequence[Row], passages: int, queries: int) -> None:
    exact = next(row for row in rows if row.name == "ours, flat").found
    flat = next(row for row in rows if row.name == "FAISS, flat")
    slowest = flat.search_seconds / flat.queries
    print(f"{passages:,} passages, {queries:,} queries at once, top {K}, {cores()} cores\n")
    print("| | build, s | queries/s | x FAISS flat | recall@32 | |\n|---|---|---|---|---|---|")
    for row in rows:
        each = row.search_seconds / row.queries
        share = recall(row.found, exact[: len(row.found)])
        print(
            f"| {row.name} | {row.build_seconds:,.1f} | {1 / each:,.0f} | {slowest / each:.1f} | {share} | {row.note} |"
        )


def recall(rows: np.ndarray, exact: np.ndarray) -> float:
    shared = [len(set(f) & set(e)) / K for f, e in zip(rows.tolist(), exact.tolist(), strict=True)]
    return round(float(np.mean(shared)), 4)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
