"""Distilling beside Hugging Face's Trainer: the same student, texts, stored labels, batch, optimizer and schedule.

    python -m benchmarks.training [--quick]

Students of 2 x 128 and 4 x 312 learn 150 logits a text (drawn at random: how fast one learns does not hang on what) of
generic passages, by KL at temperature 2. The Trainer stands there as it comes, float32 with padding to the longest of a
batch, and at its best: texts grouped by length, bfloat16 where that is faster, whichever attention is faster. All take
turns on one thread; of each update the best turn counts, by the processor's time, which other work on the machine slows
less. What a training begins and ends with (making the model's state, a checkpoint) is not counted.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.data import CORPUS
from distill.models.device import Device, choose_device, threads
from distill.models.pretrained import find_model, load_tokenizer
from distill.objectives.objective import Objective, soft_target_loss
from distill.reading.examples import Examples
from distill.reading.tokens import Tokens, tokenize
from distill.reporting.figures import factor
from distill.students.student import Student
from distill.training.checkpoint import Checkpoint
from distill.training.loop import Recipe, train

REACH = 1.5
CLASSES, TEMPERATURE, MAX_LENGTH, BATCH = 150, 2.0, 64, 64
SHAPES = {"2 x 128": (2, 128, 2), "4 x 312": (4, 312, 12)}  # layers, width, heads
WARM_UP = 5  # updates before the clock is started


@dataclass
class Turns:
    """How long each update took in its best turn, by the clock and by the processor's time, in seconds."""

    work: Callable[[int, Clock], None]
    marks: list[npt.NDArray[np.float64]] = field(default_factory=list)  # a turn: (updates, 2)

    def take(self, updates: int) -> None:
        clock = Clock()
        self.work(updates, clock)
        self.marks.append(np.diff(np.array(clock.marks), axis=0)[WARM_UP:-1])  # what ends a training is not counted
        gc.collect()

    @property
    def clock(self) -> float:
        """Updates a second, by the clock."""
        return float(1 / np.min(self.marks, axis=0).mean(axis=0)[0])

    @property
    def processor(self) -> float:
        """And by the processor's time."""
        return float(1 / np.min(self.marks, axis=0).mean(axis=0)[1])


@dataclass
class Clock:
    """When each update was done."""

    marks: list[tuple[float, float]] = field(default_factory=list)

    def done(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))


@dataclass(frozen=True)
class Lessons:
    """The texts in tokens, and what there is to learn of each, (n, C)."""

    tokenizer: Any
    tokens: Tokens
    logits: npt.NDArray[np.float16]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As the Trainer takes them."""
        ends = self.tokens.offsets
        return [
            {"input_ids": self.tokens.flat[ends[row] : ends[row + 1]].tolist(), "labels": self.logits[row].tolist()}
            for row in range(len(self.tokens))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it: to see that it works")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--updates", type=int, default=200, help="a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--file", type=Path, default=CORPUS / "part-000.parquet", help="Parquet: text")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    if options.quick:
        options.texts, options.updates, options.turns = 4_000, 25, 1
    with threads(1), tempfile.TemporaryDirectory() as scratch:
        lessons = read_lessons(options.file, options.texts)
        shorter = int(np.median(lessons.tokens.lengths))
        told = f"{len(lessons.tokens):,} passages, {shorter} tokens in the middle, at most {MAX_LENGTH}"
        Console().print(f"{told}; batch {BATCH}, one thread", highlight=False)
        for title, shape in SHAPES.items():
            compare(title, arms_of(shape, lessons, Path(scratch)), options.updates, options.turns)


def read_lessons(file: Path, texts: int) -> Lessons:
    tokenizer = load_tokenizer(find_model("minilm"))
    column = pq.read_table(file, columns=["text"])["text"].slice(0, texts).to_pylist()
    tokens = tokenize(tokenizer, column, [None] * len(column), max_length=MAX_LENGTH)
    logits = 4 * np.random.default_rng(0).normal(size=(len(column), CLASSES))
    return Lessons(tokenizer, tokens, logits.astype(np.float16))


def arms_of(shape: tuple[int, int, int], lessons: Lessons, scratch: Path) -> dict[str, Turns]:
    """Each of both in every way it may be run; what is best for the Trainer is measured, not believed."""
    ours = {
        f"ours, {dtype}": Turns(lambda n, clock, d=dtype: by_loop(shape, lessons, Device("cpu", d), n, clock, scratch))
        for dtype in dict.fromkeys(("float32", choose_device("auto").dtype))
    }
    ways: dict[str, dict[str, Any]] = {
        "Trainer as it comes": {},
        "Trainer, by length": {"grouped": True},
        "Trainer, by length, eager": {"grouped": True, "attention": "eager"},
    }
    if choose_device("auto").dtype == "bfloat16":
        ways["Trainer, by length, bfloat16"] = {"grouped": True, "bf16": True}
        ways["Trainer, by length, bfloat16, eager"] = {"grouped": True, "bf16": True, "attention": "eager"}
    rows = lessons.rows
    theirs = {
        name: Turns(lambda n, clock, w=way: by_trainer(shape, lessons, rows, n, clock, scratch, **w))
        for name, way in ways.items()
    }
    return ours | theirs


def make_model(shape: tuple[int, int, int], lessons: Lessons, attention: str | None) -> BertForSequenceClassification:
    """A student as distill makes it from scratch: no dropout."""
    layers, width, heads = shape
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=len(lessons.tokenizer),
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=MAX_LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            num_labels=CLASSES,
            attn_implementation=attention,
        )
    )


def by_loop(
    shape: tuple[int, int, int], lessons: Lessons, device: Device, updates: int, clock: Clock, scratch: Path
) -> None:
    model = make_model(shape, lessons, device.attention)
    student = Student(model, lessons.tokenizer, MAX_LENGTH)
    recipe = Recipe(updates, BATCH, 1e-3, 0.1, 0.01, 1.0, 0)
    objective = Objective(1.0, 0.0, TEMPERATURE)
    train(
        "distill",
        model,
        student.shown(objective.sight),
        Examples(lessons.tokens, None, lessons.logits),
        recipe.order(lessons.tokens.lengths),
        objective,
        recipe,
        Checkpoint(scratch / f"{time.time_ns()}", time.monotonic),
        device=device,
        progress=lambda *_: clock.done(),
    )


class Distiller(Trainer):
    """What every recipe for distilling with the Trainer does: another loss."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = soft_target_loss(outputs.logits.float(), labels, temperature=TEMPERATURE)
        return (loss, outputs) if return_outputs else loss


class Watch(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.done()


def by_trainer(
    shape: tuple[int, int, int],
    lessons: Lessons,
    rows: list[dict[str, Any]],
    updates: int,
    clock: Clock,
    scratch: Path,
    *,
    grouped: bool = False,
    bf16: bool = False,
    attention: str | None = None,
) -> None:
    arguments = TrainingArguments(
        output_dir=str(scratch / "trainer"),
        max_steps=updates,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        warmup_steps=round(0.1 * updates),
        weight_decay=0.01,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        train_sampling_strategy="group_by_length" if grouped else "random",
        bf16=bf16,
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    watch = Watch(clock)
    trainer = Distiller(
        model=make_model(shape, lessons, attention),
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(lessons.tokenizer),
        callbacks=[watch],
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    with threads(1):
        trainer.train()


def compare(title: str, arms: dict[str, Turns], updates: int, turns: int) -> None:
    for _ in range(turns):
        for arm in arms.values():
            arm.take(updates)
    best = {side: max(a.processor for name, a in arms.items() if name.startswith(side)) for side in ("ours", "Trainer")}
    table = Table(title=f"{title}, updates a second", box=None, title_justify="left")
    for column in ("", "by the clock", "by the processor", "ours ÷ this"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, arm in arms.items():
        table.add_row(name, f"{arm.clock:.2f}", f"{arm.processor:.2f}", factor(best["ours"] / arm.processor))
    console = Console(width=120)
    console.print(table, highlight=False)
    plain = best["ours"] / arms["Trainer as it comes"].processor
    console.print(
        f"beside the Trainer as it comes: {plain:.2f} x, at its best: {best['ours'] / best['Trainer']:.2f} x, "
        f"to reach {REACH}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
