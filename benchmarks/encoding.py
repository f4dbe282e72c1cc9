"""Encoding beside sentence-transformers as it comes, on the same passages in the same run: one table.

    python -m benchmarks.encoding --texts 2048 [--encoder minilm] [--file PASSAGES.parquet]

Both take turns, and the best turn of each counts, by the clock and by the processor's time: on a machine with other
work on it the second is the fairer. The last column says which share that is of what the machine does in bare products
of matrices of that type, measured here too. Without the data passages are made of a few words.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.data import CORPUS
from indexer.encoder import Encoder, find_model, measured_dtype, open_encoder
from indexer.encoders.threads import cores
from indexer.engine import LocalEngine

SHARD = 512  # texts given to a process at once


@dataclass
class Turns:
    """The best of several turns: seconds by the clock and of the processor."""

    work: Callable[[], np.ndarray]
    clock: float = float("inf")
    processor: float = float("inf")
    vectors: np.ndarray | None = None

    def take(self) -> None:
        clock, processor = time.perf_counter(), _processor()
        self.vectors = self.work()
        self.clock = min(self.clock, time.perf_counter() - clock)
        self.processor = min(self.processor, _processor() - processor)


@dataclass(frozen=True)
class Shards:
    """The encoding of a part of the texts, for an engine to carry out."""

    encoder: Encoder
    texts: tuple[str, ...]

    def __call__(self, number: int) -> np.ndarray:
        return self.encoder.encode(self.texts[number * SHARD : (number + 1) * SHARD], kind="passage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--file", type=Path, default=CORPUS / "part-000.parquet")
    arguments = parser.parse_args()
    texts = read_texts(arguments.file, arguments.texts)
    directory, _ = find_model(arguments.encoder)
    plain = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    peer = "sentence-transformers, float32"
    turns = {peer: Turns(lambda: plain.encode(texts, normalize_embeddings=True, show_progress_bar=False))}
    from benchmarks.encoding import Shards  # by the name another process knows it by

    for dtype in ("float32", "bfloat16"):
        encoder = open_encoder(arguments.encoder, dtype=dtype)
        assert isinstance(encoder, Encoder)
        turns[f"ours, {dtype}"] = Turns(lambda e=encoder: e.encode(texts, kind="passage"))
        work = Shards(encoder, tuple(texts))
        turns[f"ours, {dtype}, {cores()} processes"] = Turns(lambda w=work: by_processes(w))
    for _ in range(arguments.turns):
        for turn in turns.values():
            turn.take()
    lengths = [len(tokens) for tokens in plain.tokenizer(texts, truncation=True, max_length=256)["input_ids"]]
    work_a_text = sum(flops(plain, length) for length in lengths) / len(texts)
    print(
        f"{len(texts)} passages, {np.mean(lengths):.1f} tokens and {work_a_text / 1e9:.2f} Gflop each, {cores()} cores"
    )
    print(f"auto would choose {measured_dtype(directory)}")
    show(turns, peer, work_a_text, len(texts))


def show(turns: dict[str, Turns], peer: str, work_a_text: float, texts: int) -> None:
    peaks = {dtype: peak(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    print("\n| | texts/s | x peer | texts/s of a core | x peer | least cosine | share of the peak of a core |")
    print("|---|---|---|---|---|---|---|")
    first = turns[peer]
    assert first.vectors is not None
    for name, turn in turns.items():
        assert turn.vectors is not None
        cosine = float((turn.vectors * first.vectors).sum(axis=1).min())
        top = peaks["bfloat16" if "bfloat16" in name else "float32"]
        by_processor = "|".join(
            f" {part} "
            for part in (
                f"{texts / turn.processor:,.0f}",
                f"{first.processor / turn.processor:.2f}",
                f"{cosine:.5f}",
                f"{work_a_text * texts / turn.processor / top:.0%} of {top / 1e9:,.0f} Gflop/s",
            )
        )
        print(f"| {name} | {texts / turn.clock:,.0f} | {first.clock / turn.clock:.2f} |{by_processor}|")


def by_processes(work: Shards) -> np.ndarray:
    """With the start of the processes, about as long as opening a model takes: a real build has it once."""
    engine = LocalEngine(cores(), processes=True)
    return np.concatenate(list(engine.map(work, range(-(-len(work.texts) // SHARD)))))


def flops(model: SentenceTransformer, length: int) -> float:
    """Of one text: two a weight and token in the layers, and the products of attention."""
    body = model[0].auto_model
    weights = sum(parameter.numel() for parameter in body.encoder.parameters() if parameter.ndim == 2)
    attention = 2 * body.config.num_hidden_layers * length * body.config.hidden_size
    return 2.0 * length * (weights + attention)


def peak(dtype: torch.dtype) -> float:
    """What one core does in products of matrices that fit its cache, operations a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    first, second = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        started = time.thread_time()
        first @ second
        best = min(best, time.thread_time() - started)
    torch.set_num_threads(threads)
    return 2 * 1024**3 / best


def read_texts(file: Path, n: int) -> list[str]:
    """The first texts of a Parquet file, else sentences of five to sixty words made from a few."""
    if file.is_file():
        texts: list[str] = pq.read_table(file, columns=["text"])["text"].slice(0, n).to_pylist()
        return texts
    line = "the weather in paris will be fine and we book a table near the river for seven people tonight"
    words = line.split()
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(words, draw.integers(5, 60))) for _ in range(n)]


def _processor() -> float:
    """Of this process and of those it has waited for."""
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system


if __name__ == "__main__":
    main()
