"""Labelling beside transformers as it is commonly called: texts a second of one teacher, and how far its labels differ.

    python -m benchmarks.labelling [--quick] [--model minilm] [--task TASK.parquet]

The peer is plain transformers in float32, batches of 32 texts in their order, padded to the longest of each; from
characters to logits on both sides, on one thread. The teacher is finetuned here first, so that its logits are a
teacher's. All take turns; the best turn of each counts, by the processor's time, which other work slows less, and the
ratio of each turn is told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from scipy.special import softmax
from transformers import AutoModel, AutoTokenizer

from benchmarks.data import CORPUS, TASK
from contract.progress import silent
from distill.models.device import Device, choose_device, threads
from distill.models.logits import logits_of
from distill.models.pretrained import find_model, load_encoder, load_tokenizer
from distill.objectives.objective import HARD
from distill.reading.examples import gold_examples
from distill.reading.gold import Gold, read_gold
from distill.reading.tokens import tokenize
from distill.reporting.figures import factor
from distill.settings.task import TaskConfig
from distill.settings.teacher import TeacherConfig
from distill.teachers.teacher import Classifier
from distill.training.checkpoint import Checkpoint
from distill.training.loop import Recipe, train

REACH, WITHIN = 3.0, 1e-2
MAX_LENGTH, PEER_BATCH = 128, 32
Logits = npt.NDArray[np.float32]


@dataclass
class Turns:
    """Several turns: the best by the clock, seconds of the processor in each, and what was said, (n, C)."""

    work: Callable[[], Logits]
    clock: float = float("inf")
    each: list[float] = field(default_factory=list)
    said: Logits | None = None

    @property
    def processor(self) -> float:
        """Seconds of it in the best turn."""
        return min(self.each)

    def take(self) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        self.said = self.work()
        self.clock = min(self.clock, time.perf_counter() - clock)
        self.each.append(time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it: to see that it works")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--task", type=Path, default=TASK, help="Parquet: text, split, intent")
    parser.add_argument("--file", type=Path, default=CORPUS / "part-000.parquet", help="Parquet: text")
    parser.add_argument("--texts", type=int, default=3_072, help="labelled: half passages, half the task's own")
    parser.add_argument("--updates", type=int, default=100, help="of the teacher")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.texts, options.updates, options.turns = 768, 30, 1
    with threads(1):
        gold = read_gold(TaskConfig(path=options.task))
        source = find_model(options.model)
        model = finetuned(source, gold, options.updates)
        compare(arms_of(source, model, texts_of(options.file, gold, options.texts)), options.texts, options.turns)


def texts_of(file: Path, gold: Gold, number: int) -> list[str]:
    passages = pq.read_table(file, columns=["text"])["text"].slice(0, number // 2).to_pylist()
    texts = [*passages, *(text for text, _ in gold.train.texts[: number - len(passages)])]
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))]


def finetuned(source: Path, gold: Gold, updates: int) -> Classifier:
    """A teacher as distill makes it."""
    config, device = TeacherConfig(updates=updates), choose_device("auto")
    torch.manual_seed(0)
    model = Classifier(load_encoder(source, device), config.pooling, gold.outputs, config.dropout)
    examples = gold_examples(gold, gold.train.tokens(load_tokenizer(source), MAX_LENGTH))
    recipe = Recipe.of(config, updates, 0)
    order = recipe.order(examples.tokens.lengths)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "checkpoint", time.monotonic)
        train("teacher", model, model, examples, order, HARD, recipe, checkpoint, device=device, progress=silent)
    return model


def arms_of(source: Path, model: Classifier, texts: list[str]) -> dict[str, Turns]:
    arms = {"transformers, float32, batch 32": Turns(lambda: by_transformers(source, model, texts))}
    for dtype in dict.fromkeys(("float32", choose_device("auto").dtype)):
        arms[f"ours, {dtype}"] = Turns(partial(by_us, source, model, texts, Device("cpu", dtype)))
    return arms


def by_transformers(source: Path, model: Classifier, texts: list[str]) -> Logits:
    """What everybody writes first."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    encoder: Any = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    encoder.load_state_dict(model.encoder.state_dict(), strict=False)  # a pooler that nobody asks
    head = model.head
    assert head is not None
    said = []
    with torch.no_grad():
        for start in range(0, len(texts), PEER_BATCH):
            some = texts[start : start + PEER_BATCH]
            inputs = tokenizer(some, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            states = encoder(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            said.append(head((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(said)


def by_us(source: Path, model: Classifier, texts: list[str], device: Device) -> Logits:
    """As `distill.teachers.labels` makes and stores them."""
    model.encoder.set_attn_implementation(device.attention or "sdpa")  # type: ignore[operator]
    tokens = tokenize(load_tokenizer(source), texts, [None] * len(texts), max_length=MAX_LENGTH)
    said = logits_of(model, model, tokens, device).sentence
    assert said is not None
    return said.astype(np.float16).astype(np.float32)


def compare(arms: dict[str, Turns], texts: int, turns: int) -> None:
    for _ in range(turns):
        for arm in arms.values():
            arm.take()
    peer, *_ = arms.values()
    table = Table(title=f"labelling {texts:,} texts, one thread", box=None, title_justify="left")
    for column in (
        "",
        "texts/s by the clock",
        "by the processor",
        "this ÷ transformers",
        "logits",
        "probabilities",
        "same class",
    ):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, arm in arms.items():
        numbers = (f"{texts / arm.clock:.0f}", f"{texts / arm.processor:.0f}", factor(peer.processor / arm.processor))
        table.add_row(name, *numbers, *(differences(peer.said, arm.said) if arm is not peer else ()))
    console = Console(width=150)
    console.print(table, highlight=False)
    console.print("logits and probabilities: the mean, 99th percentile and largest difference", highlight=False)
    best = max((arm for arm in arms.values() if arm is not peer), key=lambda arm: 1 / arm.processor)
    within = np.abs(softmax(best.said, axis=1) - softmax(peer.said, axis=1))  # type: ignore[arg-type]
    ratios = np.array(peer.each) / np.array(best.each)
    console.print(
        f"{peer.processor / best.processor:.2f} x ({ratios.min():.2f} to {ratios.max():.2f}), to reach {REACH}; of "
        f"{(within.max(axis=1) <= WITHIN).mean():.1%} of the texts all probabilities are within {WITHIN}",
        highlight=False,
    )


def differences(peer: Logits | None, said: Logits | None) -> tuple[str, str, str]:
    """How far they are apart: of logits, of probabilities, and how often both say the same class."""
    assert peer is not None
    assert said is not None
    told = []
    for one, other in ((peer, said), (softmax(peer, axis=1), softmax(said, axis=1))):
        apart = np.abs(one - other)
        told.append(f"{apart.mean():.5f} {np.quantile(apart, 0.99):.4f} {apart.max():.3f}")
    return told[0], told[1], f"{(peer.argmax(1) == said.argmax(1)).mean():.2%}"


if __name__ == "__main__":
    main()
