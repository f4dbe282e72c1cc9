"""What engines are worth: one Ray node of one core against two, and threads against processes of this machine.

    python -m benchmarks.engines [--rows 1300000] [--encoded 12000] [--queries 15000]

Each line is one piece of work, done by every engine in turn, the best of `--repeat`. Workers are warm: each engine does
the work on a small corpus first, so that neither imports nor numba's compiling are in the figures; what starting costs
is a line of its own. A node of the cluster is limited to one core by Ray, which gives it one call at a time, with one
thread each. Driver, raylets and workers share the machine's cores, so that with two nodes on two cores the driver's own
work is taken from theirs: real nodes would come closer to 2.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data import options_of
from benchmarks.lexical import queries_of
from contract.artifact import Artifact, write_shard
from contract.draft import Plan, drafting
from contract.schemas import CORPUS
from contract.store import Store
from indexer.build import build_index
from indexer.corpus import CORPUS_VERSION
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.engine import Engine, LocalEngine, open_engine
from indexer.engines.bulk import open_bulk_index
from indexer.index import IndexSettings
from indexer.lexical import LexicalSettings

SMALL = 4_000  # passages of the corpus that warms the workers
SHARD_ROWS = 32_768  # of the lexical part: enough shards for two nodes to end together
ENCODED_ROWS = 512  # of a dense shard, for the same reason
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 1 << 30}


@dataclass(frozen=True)
class Job:
    """One piece of work: how it is warmed up and done by an engine, and how much of what that is."""

    name: str
    warm: Callable[[Engine], object]
    work: Callable[[Engine], object]
    amount: int
    unit: str


def main() -> None:
    options = _options()
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray listens on 127.0.0.1 only
    with tempfile.TemporaryDirectory(prefix="engines-", dir=options.scratch) as folder:
        store = _prepared(Path(folder), options)
        jobs = _jobs(store, queries_of(options.task, options.queries), options)
        print(
            f"best of {options.repeat}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
            f"{options.rows:,} passages to index, {options.encoded:,} to encode, {options.queries:,} queries"
        )
        _compare("one Ray node", "two Ray nodes", [_on_ray(jobs, nodes, options.repeat) for nodes in (1, 2)], jobs)
        local = [_on_engine(LocalEngine(2, processes=processes), jobs, options.repeat) for processes in (False, True)]
        _compare("two threads", "two processes, started", local, jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="passages of the lexical work")
    parser.add_argument("--encoded", type=int, default=8_000, help="passages of the dense work")
    parser.add_argument("--queries", type=int, default=15_000, help="how many train utterances")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--jobs", nargs="*", default=["lexical", "dense", "retrieval"], metavar="JOB")
    return options_of(parser)


def _prepared(folder: Path, options: argparse.Namespace) -> Store:
    """Three corpora out of one folder of Parquet: to index, to encode, to warm up with."""
    store = Store(folder / "artifacts")
    for name, rows in (("large", options.rows), ("encoded", options.encoded), ("small", SMALL)):
        with drafting(store.path("corpus", name), Plan("corpus", CORPUS_VERSION, {})) as draft:
            for number, table in enumerate(_passages(options.corpus, rows)):
                write_shard(draft, f"part-{number:05d}", table)
            draft.finish()
    return store


def _passages(source: Path, rows: int) -> Iterator[pa.Table]:
    """The first rows of a folder of Parquet as a corpus has them, without what `corpus build` does beside."""
    for file in sorted(source.glob("*.parquet")):
        texts = pq.read_table(file, columns=["text"])["text"].combine_chunks().cast(pa.string())[:rows]
        if len(texts):
            names = pa.array(range(rows, rows - len(texts), -1)).cast(pa.string())
            words = pc.add(pc.count_substring(texts, " "), 1).cast(pa.int32())
            same = pa.array(["en"] * len(texts))
            yield pa.table([names, texts, same, same, words], schema=CORPUS)
        rows -= len(texts)


def _jobs(store: Store, queries: Sequence[str], options: argparse.Namespace) -> list[Job]:
    lexical = IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=SHARD_ROWS))
    few = IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=SMALL // 8))
    dense = IndexSettings(
        retrievers=("dense",), dense=DenseSettings(EncoderSettings(options.encoder), shard_rows=ENCODED_ROWS)
    )

    def build(corpus: str, settings: IndexSettings) -> Callable[[Engine], Artifact]:
        def run(engine: Engine) -> Artifact:
            shutil.rmtree(store.path("index", "made"), ignore_errors=True)
            return build_index(store, "made", corpus, settings, engine=engine)

        return run

    def retrieve(some: Sequence[str]) -> Callable[[Engine], object]:
        return lambda engine: open_bulk_index(store, "asked", engine).search(some, 32, "lexical")

    jobs = {
        "lexical": Job(
            "lexical build", build("small", few), build("large", lexical), options.rows, "passages",
        ),
        "dense": Job(
            f"dense build ({options.encoder})", build("small", dense), build("encoded", dense),
            options.encoded, "passages",
        ),
        "retrieval": Job(
            "bulk retrieval, lexical top 32", retrieve(queries[:500]), retrieve(queries), len(queries), "queries",
        ),
    }  # fmt: skip
    if "retrieval" in options.jobs:
        build_index(store, "asked", "large", lexical, engine=LocalEngine(2))
    return [jobs[name] for name in options.jobs]


@contextmanager
def _cluster(nodes: int) -> Iterator[Engine]:
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        yield open_engine("ray", address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def _on_ray(jobs: Sequence[Job], nodes: int, repeat: int) -> list[float]:
    started = time.perf_counter()
    with _cluster(nodes) as engine:
        engine.workers  # noqa: B018 - connects
        print(f"a cluster of {nodes}: {time.perf_counter() - started:.1f} s to start")
        return _on_engine(engine, jobs, repeat)


def _on_engine(engine: Engine, jobs: Sequence[Job], repeat: int) -> list[float]:
    """Seconds of each job, the best of several."""
    found = []
    for job in jobs:
        job.warm(engine)
        found.append(min(_seconds(lambda: job.work(engine)) for _ in range(repeat)))  # noqa: B023
    return found


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _compare(first: str, second: str, seconds: Sequence[Sequence[float]], jobs: Sequence[Job]) -> None:
    print(f"\n| work | {first} | {second} | times as fast |\n|---|--:|--:|--:|")
    for job, one, other in zip(jobs, *seconds, strict=True):
        speeds = [f"{took:.1f} s, {job.amount / took:,.0f} {job.unit}/s" for took in (one, other)]
        print(f"| {job.name} | {speeds[0]} | {speeds[1]} | {one / other:.2f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
