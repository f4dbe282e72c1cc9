"""Distilling beside Hugging Face's Trainer: the same student, texts, stored labels, batch, optimizer and schedule.

    python -m benchmarks.training [--quick]

Students of 2 x 128 and 4 x 312 learn 150 logits a text (drawn at random: how fast one learns does not hang on what) of
generic passages, by KL at temperature 2. The Trainer stands there as it comes, float32 with padding to the longest of a
batch, and at its best: texts grouped by length, bfloat16 where that is faster, whichever attention is faster. Each of
both takes a turn in every way it may be run; what was fastest of each side then takes more turns, one after the other,
and the ratio of each such turn is told, by the processor's time, which other work on the machine slows less. A turn is
about an epoch, so that both meet the same texts. What a training begins and ends with (making the model's state, a
checkpoint) is not counted.
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
from distill.training.met_rows import met_rows

REACH = 1.5
CLASSES, TEMPERATURE, MAX_LENGTH, BATCH = 150, 2.0, 64, 64
SHAPES = {"2 x 128": (2, 128, 2), "4 x 312": (4, 312, 12)}  # layers, width, heads
WARM_UP = 5  # updates before the clock is started
BATCHES = 64 + WARM_UP  # about an epoch of the texts


@dataclass
class Turns:
    """Seconds an update in each turn, by the clock and by the processor's time."""

    work: Callable[[int, Clock], None]
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def take(self, updates: int) -> None:
        clock = Clock()
        self.work(updates, clock)
        taken = np.diff(np.array(clock.marks), axis=0)[WARM_UP:-1]  # what ends a training is not counted
        for seconds, mean in zip((self.clock, self.processor), taken.mean(axis=0).tolist(), strict=True):
            seconds.append(mean)
        gc.collect()


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
    parser.add_argument("--texts", type=int, default=4_096)
    parser.add_argument("--updates", type=int, default=BATCHES, help="a turn")
    parser.add_argument("--turns", type=int, default=4, help="of what is fastest, after the one that finds it")
    parser.add_argument("--file", type=Path, default=CORPUS / "part-000.parquet", help="Parquet: text")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    if options.quick:
        options.updates, options.turns = 20, 1
    with threads(1), tempfile.TemporaryDirectory() as scratch:
        lessons = read_lessons(options.file, options.texts)
        shorter = int(np.median(lessons.tokens.lengths))
        met = len(lessons.tokens.met()) / len(lessons.tokenizer)
        told = f"{len(lessons.tokens):,} passages, {shorter} tokens in the middle, at most {MAX_LENGTH}, {met:.0%} met"
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
    with met_rows(model, lessons.tokens.met(), device) as met:
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
            met=met,
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
    for arm in arms.values():
        arm.take(updates)
    best = {side: fastest(arms, side) for side in ("ours", "Trainer")}
    ours, theirs = (arms[name] for name in best.values())
    for _ in range(turns):
        ours.take(updates)
        theirs.take(updates)
    table = Table(title=f"{title}, updates a second in the first turn", box=None, title_justify="left")
    for column in ("", "by the clock", "by the processor", "ours ÷ this"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, arm in arms.items():
        ratio = factor(arm.processor[0] / ours.processor[0])
        table.add_row(name, f"{1 / arm.clock[0]:.2f}", f"{1 / arm.processor[0]:.2f}", ratio)
    console = Console(width=120)
    console.print(table, highlight=False)
    plain = arms["Trainer as it comes"].processor[0] / ours.processor[0]
    ratios = np.array(theirs.processor[1:]) / np.array(ours.processor[1:])
    console.print(
        f"beside the Trainer as it comes: {plain:.2f} x; at its best ({best['Trainer']}), in {turns} more turns: "
        f"{np.median(ratios):.2f} x ({ratios.min():.2f} to {ratios.max():.2f}), {told(ours)} beside {told(theirs)} ms "
        f"an update; to reach {REACH}",
        highlight=False,
    )


def fastest(arms: dict[str, Turns], side: str) -> str:
    """The one of a side whose first turn took the least of the processor."""
    return min((name for name in arms if name.startswith(side)), key=lambda name: arms[name].processor[0])


def told(arm: Turns) -> str:
    """The processor's milliseconds an update, after the first turn."""
    return f"{1000 * float(np.median(arm.processor[1:])):.1f}"


if __name__ == "__main__":
    main()
