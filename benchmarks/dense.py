"""Dense search against plain FAISS on the same vectors, in one run: queries a second and recall@32.

python -m benchmarks.dense --rows 200000 --queries 512
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from contract.artifact import Artifact, open_artifact
from contract.draft import Plan, drafting
from contract.store import Store
from indexer.corpus import CorpusSettings, build_corpus
from indexer.dense import DenseIndex, DenseSettings, build_dense

K, DIM = 32, 384


class ClusteredEncoder:
    """Vectors in clusters, as texts are, drawn by the passage's number: no model, so that only the search is timed."""

    dim = DIM
    fingerprint = "clustered"

    def encode(self, texts: list[str], *, kind: str) -> np.ndarray:
        centres = np.random.default_rng(0).normal(size=(500, DIM)).astype(np.float32)
        draw = np.random.default_rng([len(kind), int(texts[0].split()[-1])])
        vectors = centres[draw.integers(0, 500, len(texts))] + draw.normal(size=(len(texts), DIM)).astype(np.float32)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=512)
    arguments = parser.parse_args()
    encoder = ClusteredEncoder()
    queries = encoder.encode([f"query {n}" for n in range(arguments.queries)], kind="query")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        (Path(folder) / "docs.txt").write_text("".join(f"passage number {n}\n" for n in range(arguments.rows)))
        corpus = build_corpus(store, "c", [f"{folder}/docs.txt"], CorpusSettings())
        report: dict[str, object] = {"rows": corpus.rows, "queries": len(queries), "k": K}
        exact = None
        for structure, settings in (
            ("flat", DenseSettings(exact_rows=10**9)),
            ("ivf-sq8", DenseSettings(exact_rows=0)),
        ):
            artifact, seconds = timed(lambda s=settings, n=structure: build(store, corpus, encoder, n, s))
            index = DenseIndex.open(artifact, settings)
            index.search(queries[:1], K)
            (_, rows), search_seconds = timed(lambda i=index: i.search(queries, K))
            exact = rows if exact is None else exact
            report[structure] = {
                "build_seconds": round(seconds, 1),
                "queries_per_second": round(len(queries) / search_seconds),
                "recall": recall(rows, exact),
                **{key: value for key, value in artifact.manifest.facts.items() if key in ("nlist", "nprobe")},
                "recall_in_facts": artifact.manifest.facts.get("recall"),
            }
        report["faiss-flat"] = peer(faiss.IndexFlatIP(DIM), index, queries, exact)
        sq8 = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        report["faiss-sq8"] = peer(sq8, index, queries, exact)
    print(json.dumps(report, indent=2))


def build(store: Store, corpus: Artifact, encoder: ClusteredEncoder, name: str, settings: DenseSettings) -> Artifact:
    with drafting(store.path("index", name), Plan("index", 1, {}, {})) as draft:
        draft.finish(facts=build_dense(corpus, draft, encoder, settings))
    return open_artifact(store.path("index", name), "index", version=1)


def peer(faiss_index: faiss.Index, index: DenseIndex, queries: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    vectors = index.vectors(np.arange(index.rows)).astype(np.float32)
    faiss_index.train(vectors)
    faiss_index.add(vectors)
    (_, rows), seconds = timed(lambda: faiss_index.search(queries, K))
    return {"queries_per_second": round(len(queries) / seconds), "recall": recall(rows, exact)}


def recall(rows: np.ndarray, exact: np.ndarray) -> float:
    shared = [len(set(f) & set(e)) / K for f, e in zip(rows.tolist(), exact.tolist(), strict=True)]
    return round(float(np.mean(shared)), 4)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
