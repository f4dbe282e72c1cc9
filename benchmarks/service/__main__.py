"""The service's speed and behaviour under load, on this machine, now: one table, target and reached beside each other.

    python -m benchmarks.service --lexical ARTIFACTS/INDEX --hybrid ARTIFACTS/INDEX
    python -m benchmarks.service --quick

An index is named by its artifacts folder and its name (`artifacts/en-lex`). Where none is named, one is built from the
first passages of the corpus, in minutes. Writes in a temporary folder only. The full form takes less than 8 minutes
beside the building of indexes, the quick one about a minute; ratios are what counts, and only on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data import options_of
from benchmarks.service.building import measure_build
from benchmarks.service.serving import Measured, measure_batches, measure_crowd
from benchmarks.service.table import Row, print_head, print_row
from contract.store import Store
from indexer.build import build_index
from indexer.corpus import build_corpus
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.index import Built, IndexSettings
from service.neighbours import Searching

PARTS = ("batches", "crowd", "build")


@dataclass(frozen=True)
class Place:
    """An index, and the artifacts folder it lies in."""

    artifacts: Path
    index: str

    @staticmethod
    def of(named: str) -> Place:
        path = Path(named)
        return Place(path.parent, path.name)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server and the folder go with it
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="service-", dir=options.scratch) as name:
        folder = Path(name)
        lexical = options.lexical or _built(folder / "lexical", options, options.passages, ("lexical",))
        hybrid = options.hybrid or _built(folder / "hybrid", options, options.embedded, ("lexical", "dense"))
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, server, clients and library on them all alike; "
            f"{options.seconds:g} s a measure",
            flush=True,
        )
        print_head()
        for part in _parts(options, folder, lexical, hybrid):
            for row in part():
                print_row(row)
    print(f"{time.perf_counter() - began:.0f} s in all")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexical", type=Place.of, help="ARTIFACTS/INDEX with a lexical part")
    parser.add_argument("--hybrid", type=Place.of, help="ARTIFACTS/INDEX with a lexical and a dense part")
    parser.add_argument("--passages", type=int, default=1_300_000, help="of the lexical index, when it is built here")
    parser.add_argument("--embedded", type=int, default=20_000, help="of the hybrid index, when it is built here")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="searches at a time")
    parser.add_argument("--quick", action="store_true", help="a minute, to try it")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    options = options_of(parser)
    options.seconds, options.turns, options.utterances = (3.0, 1, 1_500) if options.quick else (10.0, 2, None)
    if options.quick:
        options.passages = min(options.passages, 100_000)
        options.embedded = min(options.embedded, 5_000)
    return options


def _built(folder: Path, options: argparse.Namespace, rows: int, retrievers: tuple[Built, ...]) -> Place:
    """An index over the corpus's first passages."""
    store, left = Store(folder), rows
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for file in sorted(options.corpus.glob("*.parquet")):
        if left > 0:
            table = pq.read_table(file).slice(0, left)
            pq.write_table(table, sources / file.name)
            left -= table.num_rows
    build_corpus(store, "corpus", [str(sources)])
    settings = IndexSettings(retrievers=retrievers, dense=DenseSettings(encoder=EncoderSettings(options.encoder)))
    print(f"building an index of {rows:,} passages ({', '.join(retrievers)}) …", flush=True)
    build_index(store, "built", "corpus", settings)
    return Place(folder, "built")


def _parts(options: argparse.Namespace, folder: Path, lexical: Place, hybrid: Place) -> list[Callable[[], list[Row]]]:
    texts = _train(options.task)

    def asked(place: Place, retriever: Searching) -> Measured:
        return Measured(place.artifacts, place.index, retriever, texts, options.seconds, options.turns, options.threads)

    parts: dict[str, list[Callable[[], list[Row]]]] = {
        "batches": [
            lambda: measure_batches(asked(lexical, "lexical"), folder / "batches-lexical"),
            lambda: measure_batches(asked(hybrid, "hybrid"), folder / "batches-hybrid"),
        ],
        "crowd": [lambda: measure_crowd(asked(hybrid, "hybrid"), folder / "crowd")],
        "build": [
            lambda: measure_build(
                hybrid.artifacts, hybrid.index, options.task, folder / "build", utterances=options.utterances
            )
        ],
    }
    return [measure for name in PARTS if name in options.only for measure in parts[name]]


def _train(task: Path) -> list[str]:
    """Train utterances in an order drawn by lot, the same each time: a task's own order puts intents side by side."""
    table = pq.read_table(task, columns=["text", "split"])
    texts: list[str] = table.filter(pc.equal(table["split"], "train"))["text"].to_pylist()
    random.Random(0).shuffle(texts)
    return texts


if __name__ == "__main__":
    main()
