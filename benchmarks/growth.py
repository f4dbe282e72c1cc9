"""How a lexical index's memory, and its time a passage, grow with the corpus: building it and searching it in bulk.

    python -m benchmarks.growth --corpus GROWN --rows 200000 1300000 10000000

Every stage runs in a process of its own (and those it starts), which is watched from inside twenty times a second.
"resident" counts pages of memory-mapped files too, which the system takes back when something else needs them;
"anonymous" is what it cannot take back. Build time is from Parquet to a finished index, by the clock; search time is
divided by queries and passages. bm25s, which holds everything in memory, stands beside as far as `--peer-rows`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.data import options_of
from benchmarks.lexical import build_ours, corpus_of, queries_of, texts_of
from contract.artifact import open_artifact
from indexer.lexical import LexicalIndex, LexicalSettings

STAGES = ("corpus", "warm", "build", "search", "bm25s")


def main() -> None:
    options = _options()
    if options.stage:
        print(json.dumps(_run_stage(options)))
        return
    print(
        f"{options.queries:,} queries, top {options.k}, {options.threads} threads, shards of {options.shard_rows:,}, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print("| stage | passages | seconds | ns a passage | resident MB | anonymous MB |\n|---|--:|--:|--:|--:|--:|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="growth-", dir=options.scratch) as folder:
            for stage in STAGES:
                if stage != "bm25s" or rows <= options.peer_rows:
                    _measure(options, stage, rows, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_300_000], help="sizes of corpora")
    parser.add_argument("--queries", type=int, default=15_000)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shard-rows", type=int, default=LexicalSettings().shard_rows)
    parser.add_argument("--peer-rows", type=int, default=1_300_000, help="up to so many passages bm25s is measured too")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return options_of(parser)


def _measure(options: argparse.Namespace, stage: str, rows: int, folder: Path) -> None:
    """Run a stage in its own process; a line of the table when it is one to be measured."""
    command = [sys.executable, "-m", "benchmarks.growth", "--stage", stage, "--folder", str(folder)]
    for name in ("queries", "k", "threads", "shard_rows", "corpus", "task"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run([*command, "--rows", str(rows)], stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        print(f"| {stage} | {rows:,} | ended with {done.returncode} | | | |", flush=True)
        return
    for line in json.loads(done.stdout.splitlines()[-1]):
        nanoseconds = line["seconds"] / rows / line.get("queries", 1) * 1e9
        print(
            f"| {line['stage']} | {rows:,} | {line['seconds']:.1f} | {nanoseconds:,.3g} "
            f"| {line['resident'] / 1e6:,.0f} | {line['anonymous'] / 1e6:,.0f} |",
            flush=True,
        )


def _run_stage(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What was measured, in this process."""
    (rows,), folder, settings = options.rows, options.folder, LexicalSettings(shard_rows=options.shard_rows)
    if options.stage == "corpus":
        corpus_of(folder, options.corpus, rows)
        return []
    queries = queries_of(options.task, options.queries)
    if options.stage == "warm":  # numba compiles once a machine
        corpus_of(folder / "small", options.corpus, 2_000)
        small = open_artifact(folder / "small" / "corpus", "corpus", version=1)
        build_ours(folder / "small" / "index", small, settings, options.threads).search(queries[:10], 8)
        return []
    corpus = open_artifact(folder / "corpus", "corpus", version=1)
    found: dict[str, Any] = {"stage": options.stage}
    if options.stage == "build":
        with _watched(found):
            build_ours(folder / "index", corpus, settings, options.threads)
        return [found]
    if options.stage == "search":
        with _watched(found):
            index = LexicalIndex.open(open_artifact(folder / "index", "index", version=1), settings)
            index.search(queries, options.k, threads=options.threads)
        return [found | {"queries": len(queries)}]
    return _peer(options, queries)


def _peer(options: argparse.Namespace, queries: list[str]) -> list[dict[str, Any]]:
    """bm25s with its numba backend; what it indexed stays in memory while it searches."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    build: dict[str, Any] = {"stage": "bm25s build"}
    with _watched(build):
        texts = list(texts_of(open_artifact(options.folder / "corpus", "corpus", version=1)))
        tokens = bm25s.tokenize(texts, stopwords=None, stemmer=stemmer, show_progress=False)
        retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numba")
        retriever.index(tokens, show_progress=False)
    del texts, tokens
    asked = bm25s.tokenize(queries, stopwords=None, stemmer=stemmer, show_progress=False)
    search: dict[str, Any] = {"stage": "bm25s search", "queries": len(queries)}
    with _watched(search):
        retriever.retrieve(asked, k=options.k, show_progress=False, n_threads=options.threads)
    return [build, search]


@contextmanager
def _watched(found: dict[str, Any]) -> Iterator[None]:
    """Puts seconds, and the greatest memory of this process and its children together, into `found`."""
    found |= {"resident": 0, "anonymous": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for name, size in _memory(os.getpid()).items():
                found[name] = max(found[name], size)

    watcher = threading.Thread(target=watch)
    started = time.perf_counter()
    watcher.start()
    try:
        yield
    finally:
        found["seconds"] = time.perf_counter() - started
        over.set()
        watcher.join()


def _memory(process: int) -> dict[str, int]:
    """Bytes of a process and all that it started; pages of files that several of them map are counted for each."""
    sizes = {"resident": 0, "anonymous": 0}
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        for name, field in (("resident", "VmRSS"), ("anonymous", "RssAnon")):
            sizes[name] += int(fields.get(field, "0 kB").split()[0]) * 1024
        tasks = list(Path(f"/proc/{process}/task").glob("*/children"))
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:  # it ended meanwhile
        return sizes
    for child in children:
        for name, size in _memory(child).items():
            sizes[name] += size
    return sizes


if __name__ == "__main__":
    main()
