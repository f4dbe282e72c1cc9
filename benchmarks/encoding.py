"""Encoding against sentence-transformers as it comes: texts a second and the cosine to its vectors, in one run.

python -m benchmarks.encoding --texts 512 [--file PASSAGES.parquet] [--encoder minilm]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from indexer.encoder import find_model, measured_dtype, open_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--file")
    parser.add_argument("--encoder", default="minilm")
    arguments = parser.parse_args()
    texts = read_texts(arguments.file, arguments.texts)
    directory, _ = find_model(arguments.encoder)
    plain = SentenceTransformer(str(directory), device="cpu")
    plain.encode(texts[:8], show_progress_bar=False)
    reference, seconds, cpu = timed(lambda: plain.encode(texts, normalize_embeddings=True, show_progress_bar=False))
    report: dict[str, object] = {"texts": len(texts), "auto": measured_dtype(directory)}
    report["sentence-transformers"] = {
        "texts_per_second": len(texts) / seconds,
        "texts_per_cpu_second": len(texts) / cpu,
    }
    for dtype in ("float32", "bfloat16"):
        encoder = open_encoder(arguments.encoder, dtype=dtype)
        encoder.encode(texts[:8], kind="passage")
        vectors, seconds, cpu = timed(lambda e=encoder: e.encode(texts, kind="passage"))
        cosine = float((vectors * reference).sum(axis=1).mean())
        report[dtype] = {
            "texts_per_second": len(texts) / seconds,
            "texts_per_cpu_second": len(texts) / cpu,
            "cosine": cosine,
        }
    print(json.dumps(report, indent=2))


def read_texts(file: str | None, n: int) -> list[str]:
    """The first texts of a Parquet file, else sentences of five to sixty words made from a few."""
    if file:
        texts: list[str] = pq.read_table(file, columns=["text"])["text"].to_pylist()[:n]
        return texts
    line = "the weather in paris will be fine and we book a table near the river for seven people tonight"
    words = line.split()
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(words, draw.integers(5, 60))) for _ in range(n)]


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """What it gives, wall seconds, CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    return work(), time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
