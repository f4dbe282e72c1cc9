"""GLUE tasks with at most 1,000 labels: retrieved text against random, augmented and bare task text (paper B).

SST-2 is tested on its valid split, since its test labels are hidden. A neighbour of a sentence pair stands as the
second sentence beside the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.arms import ArmsPlan
from experiments.data import real_data
from experiments.experiment import ENGLISH, Experiment, PlannedRun, runs_of_arms

RUN_TOML = Path(__file__).with_name("glue.toml")
STUDENTS = ((2, 128), (4, 256))


@dataclass(frozen=True)
class Part:
    """A task, its test split, labelled rows a class, and neighbours an utterance."""

    task: str
    test: str
    shots: int
    k: int


PARTS = (Part("sst2", "valid", 500, 10), Part("mrpc", "test", 500, 10))


def plan(seeds: tuple[int, ...]) -> Experiment:
    """The small student on all tasks, then the larger one."""
    runs = [run for student in STUDENTS for part in PARTS for run in _runs(part, student, seeds)]
    question = "Is retrieved text a better textbook than random or augmented text, on GLUE tasks with few labels?"
    return Experiment("glue", question, "no distillation", ("accuracy", "macro_f1", "matthews"), tuple(runs))


def _runs(part: Part, student: tuple[int, int], seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    layers, width = student
    yield from runs_of_arms(
        ArmsPlan(
            prefix=part.task,
            student=f"{layers}x{width}",
            index=ENGLISH,
            task=real_data("glue", f"{part.task}.parquet"),
            run_toml=RUN_TOML,
            retriever="lexical",
            k=part.k,
            seeds=seeds,
            shots=part.shots,
            heldout=("valid", "test"),
            settings=(
                f"task.test_split={part.test}",
                f"teacher.model={real_data('models', 'e5-small')}",
                f"student.layers={layers}",
                f"student.width={width}",
            ),
        )
    )
