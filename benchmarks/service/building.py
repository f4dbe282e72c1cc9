"""Building: a task's whole transfer set beside its searches alone, and beside the script one would write today.

The script: bm25s and sentence-transformers' `semantic_search` for 100 hits each, fused by reciprocal rank, written by
pandas. Neither side pays for indexing: our index is there, the script is given the passages' vectors out of it and
bm25s' index made beforehand. rank-bm25 is asked a sample, and what all would take follows from it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.service.server import beside
from benchmarks.service.table import Row
from contract.artifact import Artifact
from contract.store import Store
from contract.task import read_task
from indexer.encoder import find_model
from indexer.index import Index, open_index
from indexer.vectors.stored import open_vectors
from service.candidates import Work
from service.neighbours import queries_of
from service.request import TransferSetRequest
from service.transfer_set import build_transfer_set

K = 32
SCRIPT_DEPTH = 100
RRF = 60
SAMPLE_ROWS, SAMPLE_QUERIES = 20_000, 20  # of rank-bm25


@dataclass
class Seconds:
    """What took how long."""

    of: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.of[what] = self.of.get(what, 0.0) + time.perf_counter() - began

    def said(self) -> str:
        return ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.of.items())


def measure_build(artifacts: Path, index_name: str, task: Path, folder: Path, *, utterances: int | None) -> list[Row]:
    """Two rows: the build beside its searches, and beside the script."""
    store = Store(beside(artifacts, folder))
    built = Seconds()
    with built("opening"):
        index = open_index(store, index_name)
        index.search(["one two three"], K, "hybrid")
    task = _cut(task, utterances, folder)
    queries = queries_of(read_task(task).split("train"))
    searching = _search(index, queries)
    with built("build"):
        made = _build(store, index, task)
    script = Seconds()
    found = _script(index, queries, folder / "script.parquet", script)
    return [
        _beside_searches(index, queries, searching, built),
        _beside_script(queries, built.of["build"], script, found, made, _rank_bm25(index, queries)),
    ]


def _cut(task: Path, utterances: int | None, folder: Path) -> Path:
    """The task, or its first train utterances and all that is held out."""
    if utterances is None:
        return task
    table = pq.read_table(task)
    train = np.asarray(table["split"].to_pylist()) == "train"
    path = folder / "task.parquet"
    pq.write_table(table.filter(pa.array(~train | (np.cumsum(train) <= utterances))), path)
    return path


def _search(index: Index, queries: Sequence[str]) -> Seconds:
    """The queries encoded, and the same searched, which encodes them again: in the blocks that a build takes."""
    seconds, block = Seconds(), Work().utterances
    assert index.encoder is not None
    for first in range(0, len(queries), block):
        some = queries[first : first + block]
        with seconds("encoding"):
            index.encoder.encode(some, kind="query")
        with seconds("encoding and searching"):
            index.search(some, K, "hybrid")
    return seconds


def _build(store: Store, index: Index, task: Path) -> Artifact:
    """With an index that is open, as a service's worker has it from its second job on."""
    request = TransferSetRequest(task=task, index=index.name, k=K, retriever="hybrid")
    return build_transfer_set(store, "built", request, opener=lambda *_: index)


def _script(index: Index, queries: Sequence[str], path: Path, seconds: Seconds) -> list[list[int]]:
    """What one would write today, with the libraries of the field and their defaults; the rows it found."""
    import bm25s
    import pandas as pd  # type: ignore[import-untyped]
    import Stemmer
    import torch
    from sentence_transformers import SentenceTransformer, util

    assert index.encoder is not None
    passages = index.passages(np.arange(index.rows))
    vectors = torch.from_numpy(open_vectors(index.artifact).take(np.arange(index.rows)))
    model = SentenceTransformer(str(find_model(index.encoder.settings.model)[0]), device="cpu")
    stemmer, retriever = Stemmer.Stemmer("english"), bm25s.BM25(backend="numba")
    retriever.index(
        bm25s.tokenize(passages["text"].to_pylist(), stemmer=stemmer, show_progress=False), show_progress=False
    )

    def lexical(texts: Sequence[str]) -> list[list[int]]:
        tokens = bm25s.tokenize(list(texts), stemmer=stemmer, show_progress=False)
        rows: list[list[int]] = retriever.retrieve(tokens, k=SCRIPT_DEPTH, show_progress=False, n_threads=-1)[
            0
        ].tolist()
        return rows

    lexical(queries[:8])  # numba compiles
    with seconds("bm25s"):
        by_words = lexical(queries)
    with seconds("encode"):
        asked = model.encode(list(queries), convert_to_tensor=True, show_progress_bar=False)
    with seconds("semantic_search"):
        hits = util.semantic_search(asked, vectors, top_k=SCRIPT_DEPTH)
    with seconds("fuse"):
        found = [
            _fused(own, [hit["corpus_id"] for hit in hit_list]) for own, hit_list in zip(by_words, hits, strict=True)
        ]
    with seconds("pandas"):
        texts = passages["text"].to_pylist()
        rows = [
            {"text": query, "neighbour": texts[row], "rank": rank}
            for query, own in zip(queries, found, strict=True)
            for rank, row in enumerate(own)
        ]
        pd.DataFrame(rows).to_parquet(path)
    return found


def _fused(first: Sequence[int], second: Sequence[int]) -> list[int]:
    scores: dict[int, float] = defaultdict(float)
    for ranking in (first, second):
        for rank, row in enumerate(ranking):
            scores[row] += 1 / (RRF + 1 + rank)
    return sorted(scores, key=lambda row: -scores[row])[:K]


def _rank_bm25(index: Index, queries: Sequence[str]) -> float:
    """Seconds it would take for all, from a sample of passages and queries."""
    from rank_bm25 import BM25Okapi

    rows = min(SAMPLE_ROWS, index.rows)
    scorer = BM25Okapi([text.lower().split() for text in index.passages(np.arange(rows))["text"].to_pylist()])
    some = queries[:: max(len(queries) // SAMPLE_QUERIES, 1)][:SAMPLE_QUERIES]
    began = time.perf_counter()
    for query in some:
        np.argsort(-scorer.get_scores(query.lower().split()))[:K]
    return (time.perf_counter() - began) / len(some) * len(queries) * index.rows / rows


def _beside_searches(index: Index, queries: Sequence[str], searching: Seconds, built: Seconds) -> Row:
    build = built.of["build"]
    sought = searching.of["encoding and searching"]
    what = f"transfer set of {len(queries):,} utterances, hybrid, k = {K}, {index.rows:,} passages"
    said = f"build {build:.1f} s, opening the index before {built.of['opening']:.1f} s; {searching.said()} s"
    return Row(what, "at most 1.3 x encoding and searching", f"{build / sought:.2f} x", build <= 1.3 * sought, said)


def _beside_script(
    queries: Sequence[str],
    build: float,
    script: Seconds,
    found: Sequence[Sequence[int]],
    made: Artifact,
    rank_bm25: float,
) -> Row:
    total = sum(script.of.values())
    uses = Counter(row for own in found for row in own)
    dropped = {
        reason: times for reason, times in made.manifest.counts["neighbours"].dropped.items() if reason != "no_match"
    }
    said = (
        f"build {build:.1f} s, script {total:.1f} s ({script.said()}); with rank-bm25 its words alone would take "
        f"{rank_bm25 / 3600:.1f} h; the script leaves {sum(times - 1 for times in uses.values()):,} passages in "
        f"again, checks nothing that the build dropped ({', '.join(f'{r} {n:,}' for r, n in dropped.items())}), "
        "and has no id, counts, restart or labels"
    )
    what = f"transfer set of {len(queries):,} utterances beside the script of today"
    return Row(what, "not slower", f"{total / build:.1f} x as fast", build <= total, said)
