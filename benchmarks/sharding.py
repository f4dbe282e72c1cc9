"""Law 3 on real data: an index cut into small shards and one cut into large ones answer alike, to the bit.

    python -m benchmarks.sharding --artifacts DIR --corpus en --shard-rows 50000 1300000

Builds a lexical index of each cut beside the corpus (or takes the one that is there), asks each all utterances of
a task, and compares rows and the bits of the scores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.data import TASK
from contract.store import Store
from indexer.build import build_index
from indexer.index import IndexSettings, open_index
from indexer.lexical import LexicalSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--corpus", default="en")
    parser.add_argument("--shard-rows", type=int, nargs="+", default=[50_000, 1_300_000])
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--task", type=Path, default=TASK, help="Parquet: text")
    options = parser.parse_args()
    queries = pq.read_table(options.task, columns=["text"])["text"].to_pylist()
    found = []
    for shard_rows in options.shard_rows:
        name = f"{options.corpus}-in-{shard_rows}"
        settings = IndexSettings(("lexical",), LexicalSettings(shard_rows=shard_rows))
        started = time.perf_counter()
        build_index(Store(options.artifacts), name, options.corpus, settings)
        built = time.perf_counter()
        hits = open_index(Store(options.artifacts), name).search(queries, options.k, "lexical")
        asked = time.perf_counter()
        found.append((hits.rows.tobytes(), hits.scores.tobytes()))
        print(
            f"{name}: built in {built - started:.1f} s, {len(queries):,} queries in {asked - built:.1f} s", flush=True
        )
    if any(other != found[0] for other in found):
        raise SystemExit("NOT EQUAL: the cut changed what comes back")
    print(f"equal: top {options.k} of {len(queries):,} queries, rows and scores to the bit")


if __name__ == "__main__":
    main()
