"""Dense on demand: its agreement with full hybrid by depth, and its cost against embedding the whole corpus.

python -m benchmarks.on_demand --artifacts A --full en-200k --task clinc150.parquet --task hwu64.parquet
python -m benchmarks.on_demand --artifacts A --corpus en-200k --corpus en --task clinc150.parquet

Agreement, with an index that has both retrievers (--full): of the 32 first hits of full hybrid search, the share among
the 32 first on demand, and the rank-biased overlap (p = .9) of the two. Cost, over corpora (--corpus): the distinct
passages that so many utterances' candidates are, which is counted; the seconds to encode them, which are measured for
the fewest utterances and follow from the rate beyond (--encode measures as many as one asks for); and the seconds to
embed the corpus at that rate. On-demand indexes are built in a folder of their own, that goes at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.store import FOLDERS, Store
from indexer.build import build_index
from indexer.dense import DenseSettings
from indexer.encoder import EncoderSettings
from indexer.index import Index, IndexSettings, open_index
from indexer.on_demand import DEPTH

K = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", required=True, type=Path)
    parser.add_argument("--task", required=True, action="append", help="Parquet with text and split")
    parser.add_argument("--full", help="an index with lexical and dense: agreement is measured against it")
    parser.add_argument("--corpus", action="append", default=[], help="a corpus over which the cost is measured")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--depth", type=int, action="append", help="[default: 50 100 200 500 1000 and, for cost, 200]")
    parser.add_argument("--queries", type=int, default=300, help="of each task, for agreement")
    parser.add_argument("--utterances", type=int, action="append", help="[default: 150 1500 15000]")
    parser.add_argument("--encode", type=int, default=150, help="utterances up to which candidates really are encoded")
    arguments = parser.parse_args()
    report: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = beside(arguments.artifacts, Path(folder))
        if arguments.full:
            full = open_index(Store(arguments.artifacts), arguments.full)
            depths = arguments.depth or [50, 100, 200, 500, 1000]
            report["agreement"] = {
                Path(task).stem: agreement(
                    full, store, arguments.encoder, queries_of([task], arguments.queries), depths
                )
                for task in arguments.task
            }
        for corpus in arguments.corpus:
            depth = (arguments.depth or [DEPTH])[0]
            index = on_demand(store, corpus, EncoderSettings(arguments.encoder), depth)
            numbers = arguments.utterances or [150, 1500, 15_000]
            queries = queries_of(arguments.task, max(numbers))
            report[corpus] = cost(index, depth, queries, numbers, arguments.encode)
    print(json.dumps(report, indent=2))


def beside(artifacts: Path, folder: Path) -> Store:
    """A store of its own that sees the corpora of another."""
    (folder / FOLDERS["corpus"]).symlink_to((artifacts / FOLDERS["corpus"]).resolve())
    return Store(folder)


def on_demand(store: Store, corpus: str, encoder: EncoderSettings, depth: int) -> Index:
    settings = IndexSettings(
        retrievers=("lexical", "on-demand"), dense=DenseSettings(encoder=encoder), fusion_depth=depth
    )
    name = f"{corpus.replace('@', '.')}-{depth}"
    build_index(store, name, corpus, settings)
    return open_index(store, name)


def queries_of(tasks: Sequence[str], most: int) -> list[str]:
    """Train utterances, the same each time, in an order drawn by lot."""
    texts: list[str] = []
    for task in tasks:
        table = pq.read_table(task, columns=["text", "split"])
        texts += table.filter(pc.equal(table["split"], "train"))["text"].to_pylist()
    return [texts[at] for at in np.random.default_rng(0).permutation(len(texts))[:most]]


def agreement(full: Index, store: Store, model: str, queries: list[str], depths: Sequence[int]) -> dict[str, object]:
    assert full.encoder is not None
    encoder, wanted = replace(full.encoder.settings, model=model), full.search(queries, K, "hybrid").rows
    alone = {name: full.search(queries, K, name).rows for name in ("lexical", "dense")}  # type: ignore[arg-type]
    report: dict[str, object] = {name: _agreement(rows, wanted) for name, rows in alone.items()}
    for depth in depths:
        index = on_demand(store, full.corpus_name, encoder, depth)
        assert index.encoder is not None
        assert index.encoder.fingerprint == full.encoder.fingerprint, f"{full.name} was built with another encoder"
        report[f"depth {depth}"] = _agreement(index.search(queries, min(K, depth), "hybrid").rows, wanted)
    return report


def _agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    pairs = list(zip(found.tolist(), wanted.tolist(), strict=True))
    return {
        f"recall@{K}": round(float(np.mean([len({*mine} & {*theirs}) / len(theirs) for mine, theirs in pairs])), 4),
        "rank-biased overlap": round(float(np.mean([rank_biased_overlap(mine, theirs) for mine, theirs in pairs])), 4),
    }


def rank_biased_overlap(first: Sequence[int], second: Sequence[int], p: float = 0.9) -> float:
    """Webber et al. 2010, cut at the shorter list and scaled so that equal lists have 1."""
    depth = min(len(first), len(second))
    weights = p ** np.arange(depth)
    shares = [len({*first[: d + 1]} & {*second[: d + 1]}) / (d + 1) for d in range(depth)]
    return float((weights * shares).sum() / weights.sum())


def cost(index: Index, depth: int, queries: list[str], numbers: Sequence[int], encode: int) -> dict[str, object]:
    report: dict[str, object] = {"passages": index.rows, "depth": depth}
    rate = 0.0
    assert index.encoder is not None
    index.encoder.encode(queries[:1], kind="query")  # opened before anything is timed
    for number in sorted(numbers):
        asked = queries[:number]
        began = time.perf_counter()
        lexical = index.search(asked, min(depth, index.rows), "lexical")
        seconds = time.perf_counter() - began
        distinct = len(np.unique(lexical.rows[lexical.scores != 0]))
        row = {"utterances": len(asked), "lexical s": round(seconds, 2), "candidates": distinct}
        if number <= encode:
            cold, warm = (_seconds(index, asked) for _ in range(2))
            rate = distinct / max(cold - warm, 1e-9)
            row |= {"first search s": round(cold, 2), "again s": round(warm, 2), "passages/s": round(rate)}
        else:
            row |= {"encoding s, by the rate": round(distinct / rate) if rate else None}
        row["share of the corpus"] = round(distinct / index.rows, 4)
        report[f"{len(asked)} utterances"] = row
    report["embedding all s, by the rate"] = round(index.rows / rate) if rate else None
    return report


def _seconds(index: Index, queries: list[str]) -> float:
    began = time.perf_counter()
    index.search(queries, 10, "hybrid")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
