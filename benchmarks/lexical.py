"""Our bulk BM25 beside bm25s, tantivy and rank-bm25 on the same passages and queries, in one run and one table.

    python -m benchmarks.lexical --rows 200000 --queries 3000

Everything is measured on this machine, now, with other work on it or not: the ratios are what counts, and where other
work is about, those of processor time (all threads of this process) more than those of the clock. Our scores are
checked on a sample against a scorer that shares nothing with the index but the tokenizer.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import Stemmer
from rank_bm25 import BM25Okapi

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan, drafting
from contract.store import Store
from indexer.corpus import CorpusSettings, build_corpus
from indexer.lexical import LexicalIndex, LexicalSettings, build_lexical

DATA = Path(os.environ.get("TRANSFERSET_DATA", "../shared/data"))
SMALL = 10_000  # what rank-bm25 gets through: passages, and a hundredth as many queries
Search = Callable[[Sequence[str], int], object]


@dataclass(frozen=True)
class Took:
    """Seconds by the clock and of the processor."""

    clock: float = float("inf")
    processor: float = float("inf")

    def best(self, other: Took) -> Took:
        return Took(min(self.clock, other.clock), min(self.processor, other.processor))


class Watch:
    """Times what follows its making."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> Took:
        return Took(time.perf_counter() - self._clock, time.process_time() - self._processor)


@dataclass(frozen=True)
class Engine:
    """One engine, indexed: how long that took, and how to search it."""

    name: str
    rows: int
    indexing: Took
    search: Search
    queries: Sequence[str]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lexical-") as folder:
        corpus = _corpus(Path(folder), options.corpus, options.rows)
        texts = [text for batch in corpus.batches(columns=["text"]) for text in batch.column("text").to_pylist()]
        queries = _queries(options.task, options.queries)
        print(
            f"{len(texts):,} passages, {len(queries):,} queries, top {options.k}, {options.threads} threads, ", end=""
        )
        print(f"best of {options.repeat} searches, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        index, ours = _ours(Path(folder), corpus, queries, options.threads)
        peers = [make(texts, queries, options.threads) for make in (_bm25s, _tantivy, _rank_bm25)]
        engines = [ours, *(peer for peer in peers if peer)]
        _print_table(engines, _time_searches(engines, options.k, options.repeat))
        _check(index, texts, queries[:: max(len(queries) // options.sample, 1)][: options.sample], options.k)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="how many passages")
    parser.add_argument("--queries", type=int, default=3_000, help="how many train utterances")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=3, help="searches by each engine in turn, the best counts")
    parser.add_argument("--sample", type=int, default=20, help="queries whose scores are checked")
    parser.add_argument("--corpus", type=Path, default=DATA / "generic" / "en", help="a folder of Parquet, column text")
    parser.add_argument("--task", type=Path, default=DATA / "tasks" / "clinc150.parquet", help="Parquet: text, split")
    options = parser.parse_args()
    if not (options.corpus.is_dir() and options.task.is_file()):
        parser.error(f"expected Parquet at {options.corpus} and {options.task}; name others with --corpus and --task")
    return options


def _corpus(folder: Path, source: Path, rows: int) -> Artifact:
    """The first rows of the source as a corpus artifact."""
    taken, parts = 0, []
    for file in sorted(source.glob("*.parquet")):
        parts.append(pq.read_table(file, columns=["text"]).slice(0, rows - taken))
        taken += parts[-1].num_rows
    pq.write_table(pa.concat_tables(parts), folder / "passages.parquet")
    return build_corpus(Store(folder), "corpus", [str(folder / "passages.parquet")], CorpusSettings(min_words=1))


def _queries(task: Path, number: int) -> list[str]:
    table = pq.read_table(task, columns=["text", "split"])
    train: list[str] = table.filter(pc.equal(table["split"], "train"))["text"].to_pylist()
    return train[:: max(len(train) // number, 1)][:number]


def _ours(folder: Path, corpus: Artifact, queries: Sequence[str], threads: int) -> tuple[LexicalIndex, Engine]:
    settings = LexicalSettings()
    _compile(folder, corpus, settings, threads)
    watch = Watch()
    with drafting(folder / "index", Plan("index", 1, {})) as draft:
        draft.finish(facts=build_lexical(corpus, draft, settings, threads=threads))
    indexing = watch.read()
    index = LexicalIndex.open(open_artifact(folder / "index", "index", version=1), settings)
    search: Search = lambda queries, k: index.search(queries, k, threads=threads)  # noqa: E731
    return index, Engine("transferset", corpus.rows, indexing, search, queries)


def _compile(folder: Path, corpus: Artifact, settings: LexicalSettings, threads: int) -> None:
    """numba's compiling is done once a machine, not once an index: keep it out of the figures, as for bm25s."""
    with drafting(folder / "compile", Plan("corpus", 1, {})) as draft:
        write_shard(draft, "shard-00000", pa.Table.from_batches([next(corpus.batches(batch_rows=100))]))
        draft.finish()
    small = open_artifact(folder / "compile", "corpus", version=1)
    with drafting(folder / "compiled", Plan("index", 1, {})) as draft:
        draft.finish(facts=build_lexical(small, draft, settings, threads=threads))
    LexicalIndex.open(open_artifact(folder / "compiled", "index", version=1), settings).search(["a"], 1)


def _bm25s(texts: Sequence[str], queries: Sequence[str], threads: int) -> Engine | None:
    """Its numba backend, Lucene's formula, our stemmer, no stop words."""
    try:
        import bm25s
    except ImportError:
        print("bm25s is not installed: pip install bm25s")
        return None
    stemmer = Stemmer.Stemmer("english")

    def tokens(some: Sequence[str]) -> object:
        return bm25s.tokenize(list(some), stopwords=None, stemmer=stemmer, show_progress=False)

    watch = Watch()
    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numba")
    retriever.index(tokens(texts), show_progress=False)
    indexing = watch.read()

    def search(queries: Sequence[str], k: int) -> object:
        return retriever.retrieve(tokens(queries), k=k, show_progress=False, n_threads=threads)

    search(queries[:10], 8)
    return Engine("bm25s (numba)", len(texts), indexing, search, queries)


def _tantivy(texts: Sequence[str], queries: Sequence[str], threads: int) -> Engine | None:
    """English stemming, a query a term of which is enough; searched by threads, for it lets go of the interpreter."""
    try:
        import tantivy
    except ImportError:
        print("tantivy is not installed: pip install tantivy")
        return None
    schema = tantivy.SchemaBuilder().add_text_field("text", stored=False, tokenizer_name="en_stem").build()
    watch = Watch()
    index = tantivy.Index(schema)
    writer = index.writer(heap_size=400_000_000, num_threads=threads)
    for text in texts:
        writer.add_document(tantivy.Document(text=text))
    writer.commit()
    writer.wait_merging_threads()
    indexing = watch.read()
    index.reload()
    searcher = index.searcher()

    def search(queries: Sequence[str], k: int) -> object:
        def one(query: str) -> object:
            words = " ".join(re.findall(r"\w+", query.lower()))
            return searcher.search(index.parse_query(words, ["text"]), k, count=False).hits

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, queries))

    return Engine("tantivy", len(texts), indexing, search, queries)


def _rank_bm25(texts: Sequence[str], queries: Sequence[str], threads: int) -> Engine:  # noqa: ARG001
    """On a part of passages and queries, for the whole would take hours."""
    texts, queries = texts[:SMALL], queries[: SMALL // 100]
    watch = Watch()
    scorer = BM25Okapi([text.lower().split() for text in texts])
    indexing = watch.read()

    def search(queries: Sequence[str], k: int) -> object:
        return [np.argsort(-scorer.get_scores(query.lower().split()))[:k] for query in queries]

    return Engine("rank-bm25", len(texts), indexing, search, queries)


def _time_searches(engines: Sequence[Engine], k: int, repeat: int) -> list[Took]:
    """Each engine's best time. They take turns, so that other work on the machine meets all alike."""
    best = [Took()] * len(engines)
    for _ in range(repeat):
        for at, engine in enumerate(engines):
            watch = Watch()
            engine.search(engine.queries, k)
            best[at] = best[at].best(watch.read())
    return best


def _print_table(engines: Sequence[Engine], searching: Sequence[Took]) -> None:
    """Speeds, and in brackets how many times as fast ours is; "-" where the engine had a smaller corpus."""
    print("| engine | passages | passages/s | passages/CPU s | queries/s | queries/CPU s |")
    print("|---|--:|--:|--:|--:|--:|")
    ours: list[float] = []
    for engine, took in zip(engines, searching, strict=True):
        n = len(engine.queries)
        indexing = engine.indexing
        speeds = [engine.rows / indexing.clock, engine.rows / indexing.processor, n / took.clock, n / took.processor]
        ours = ours or speeds
        like = engine.rows == engines[0].rows
        cells = [f"{its:,.0f} ({f'{mine / its:.2f}' if like else '-'})" for mine, its in zip(ours, speeds, strict=True)]
        print(f"| {engine.name} | {engine.rows:,} | {' | '.join(cells)} |")


def _check(index: LexicalIndex, texts: Sequence[str], sample: Sequence[str], k: int) -> None:
    """Score the sample in float64, passage by passage, from the formula; say how far our hits are from its best."""
    tokenizer, statistics = index.settings.tokenizer, index.statistics
    tokens = tokenizer.tokens([pa.array([*sample, *texts])])
    bags = [tokens.terms[a:b] for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    asked, bags = bags[: len(sample)], bags[len(sample) :]
    lengths = np.array([len(bag) for bag in bags])
    norms = statistics.k1 * (1 - statistics.b + statistics.b * lengths / lengths.mean())
    wanted = {int(term) for query in asked for term in query}
    holders: dict[int, list[tuple[int, int]]] = {term: [] for term in wanted}
    for row, bag in enumerate(bags):
        for term, count in Counter(bag.tolist()).items():
            if term in wanted:
                holders[term].append((row, count))
    scores, rows = index.search(sample, k)
    worst = 0.0
    for at, query in enumerate(asked):
        expected = np.zeros(len(texts))
        for term in query.tolist():
            held = np.array(holders[term], np.int64).reshape(-1, 2)
            idf = np.log1p((len(texts) - len(held) + 0.5) / (len(held) + 0.5))
            expected[held[:, 0]] += idf * held[:, 1] / (held[:, 1] + norms[held[:, 0]])
        best = np.sort(expected)[::-1][:k]
        worst = max(worst, np.abs(best - scores[at]).max(), np.abs(expected[rows[at]] - scores[at]).max())
    verdict = "exact" if worst < 1e-4 else "WRONG"
    print(f"checked {len(sample)} queries against a float64 scorer: {verdict}, largest difference {worst:.1e}")
    if verdict == "WRONG":
        raise SystemExit(1)


if __name__ == "__main__":
    main()
