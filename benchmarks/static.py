"""The static encoder: its speed beside model2vec's and the full encoder's, and how near its neighbours are to theirs.

python -m benchmarks.static --file PASSAGES.parquet --task clinc150.parquet [--encoder minilm --encoder FOLDER]

Agreement: of each query's 32 nearest passages by the full encoder, the share among the static one's 32 nearest, both by
exact search over the same passages. 1-NN: the share of a task's test utterances whose nearest train utterance has their
intent. The first --encoder is the one the others are held against.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.encoding import read_texts
from indexer.encoder import TextEncoder, open_encoder
from indexer.encoders.static import StaticEncoder
from indexer.encoders.token_vectors import CONFIG, MODEL, TOKENIZER, write_token_vectors

K = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, type=Path, help="Parquet with passages in a column text")
    parser.add_argument("--passages", type=int, default=20_000, help="passages that both encode and search")
    parser.add_argument("--fast-passages", type=int, default=200_000, help="passages the static encoders are timed on")
    parser.add_argument("--task", required=True, help="Parquet with text, intent and split")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--utterances", type=int, help="of train and of test for 1-NN [default: all]")
    parser.add_argument("--encoder", action="append", help="minilm, a folder or a name of the hub [default: minilm]")
    parser.add_argument("--dims", type=int, action="append", help="of the static encoders [default: 256]")
    arguments = parser.parse_args()
    passages = read_texts(arguments.file, arguments.fast_passages)
    train, test = (utterances(arguments.task, split, arguments.utterances) for split in ("train", "test"))
    chosen = np.random.default_rng(0).choice(train.num_rows, min(arguments.queries, train.num_rows), replace=False)
    queries = train["text"].take(pa.array(chosen)).to_pylist()
    searched = passages[: arguments.passages]
    report: dict[str, object] = {"passages searched": len(searched), "queries": len(queries), "k": K}
    nearest_by_full: np.ndarray | None = None
    for name in arguments.encoder or ["minilm"]:
        full = open_encoder(name)
        vectors, speed = timed(full, searched)
        nearest = neighbours(full.encode(queries, kind="query"), vectors)
        nearest_by_full = nearest if nearest_by_full is None else nearest_by_full
        report[name] = speed | {"agreement": agreement(nearest, nearest_by_full), "1-NN": one_nn(full, train, test)}
        for dims in arguments.dims or [256]:
            began = time.process_time()
            static = open_encoder(f"static:{name}", dims=dims)
            _ = static.dim
            distilling = time.process_time() - began
            _, cold = timed(static, passages)
            _, speed = timed(static, passages)
            nearest = neighbours(static.encode(queries, kind="query"), static.encode(searched, kind="passage"))
            report[f"static:{name} {dims}"] = {
                "distilling CPU s": round(distilling, 1),
                "first time": cold,
                **speed,
                "agreement": agreement(nearest, nearest_by_full),
                "1-NN": one_nn(static, train, test),
            }
            assert isinstance(static, StaticEncoder)
            report[f"model2vec {name} {dims}"] = model2vec_speed(static, passages)
    print(json.dumps(report, indent=2))


def utterances(task: str, split: str, most: int | None) -> pa.Table:
    """A fair sample of a split, or all of it."""
    table = pq.read_table(task, columns=["text", "intent", "split"])
    table = table.filter(pc.equal(table["split"], split))
    return table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)[:most]))


def neighbours(queries: np.ndarray, vectors: np.ndarray, k: int = K) -> np.ndarray:
    """The k nearest by exact search, (n, k)."""
    _, rows = faiss.knn(queries, np.ascontiguousarray(vectors), k, metric=faiss.METRIC_INNER_PRODUCT)
    found: np.ndarray = rows
    return found


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    shares = [
        len({*mine} & {*theirs}) / len(theirs) for mine, theirs in zip(found.tolist(), wanted.tolist(), strict=True)
    ]
    return round(float(np.mean(shares)), 4)


def one_nn(encoder: TextEncoder, train: pa.Table, test: pa.Table) -> float:
    vectors = [encoder.encode(table["text"].to_pylist(), kind="query") for table in (train, test)]
    nearest = neighbours(vectors[1], vectors[0], 1)[:, 0]
    said = train["intent"].take(pa.array(nearest)).to_pylist()
    return round(float(np.mean([a == b for a, b in zip(said, test["intent"].to_pylist(), strict=True)])), 4)


def timed(encoder: TextEncoder, texts: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    encoder.encode(texts[:64], kind="passage")
    return _timed(lambda: encoder.encode(texts, kind="passage"), len(texts))


def model2vec_speed(static: StaticEncoder, texts: list[str]) -> dict[str, int]:
    """model2vec's own encoding with the same token vectors."""
    from model2vec import StaticModel

    with tempfile.TemporaryDirectory() as folder:
        write_token_vectors(static.table, [Path(folder) / name for name in (MODEL, TOKENIZER, CONFIG)])
        model = StaticModel.from_pretrained(folder)
    return _timed(lambda: model.encode(texts), len(texts))[1]


def _timed(work: Callable[[], np.ndarray], texts: int) -> tuple[np.ndarray, dict[str, int]]:
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return vectors, {"texts/s": round(texts / wall), "texts/CPU s": round(texts / cpu)}


if __name__ == "__main__":
    main()
