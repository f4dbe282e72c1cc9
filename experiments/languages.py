"""xSID: joint intent and slots, learnt from English alone and tested on German, its dialects and five other languages.

Teacher, student and passages are English: how far an English encoder goes beyond English is the question. Never mix
these transfer sets with those of SNIPS: xSID's training rows hold most of SNIPS' test sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from demo.arms import NO_DISTILLATION, ArmsPlan
from experiments.data import real_data
from experiments.experiment import ENGLISH, Claim, Experiment, PlannedRun, runs_of_arms

RUN_TOML = Path(__file__).with_name("languages.toml")
STUDENTS = {
    "2x128": ("student.layers=2", "student.width=128"),
    "skip3": ("student.layers=3", "student.from=skip", "distill.learning_rate=3e-4"),
}
METRICS = ("sem_er", "accuracy", "span_f1", "ir_er")


def plan(seeds: tuple[int, ...]) -> Experiment:
    """A small student from scratch, then one of the teacher's layers."""
    runs = [run for student in STUDENTS for run in _runs(student, seeds)]
    question = "How far does an English encoder, distilled on English text, go in German, its dialects and beyond?"
    claims = (Claim("retrieved", ("generic-random", "augmented", "task-only", NO_DISTILLATION)),)
    return Experiment("languages", question, "no distillation", METRICS, tuple(runs), claims=claims)


def _runs(student: str, seeds: tuple[int, ...]) -> Iterator[PlannedRun]:
    yield from runs_of_arms(
        ArmsPlan(
            prefix="xsid",
            student=student,
            index=ENGLISH,
            task=real_data("tasks", "xsid.parquet"),
            run_toml=RUN_TOML,
            retriever="lexical",
            k=10,
            seeds=seeds,
            shots=50,
            heldout=("valid", "test"),
            settings=STUDENTS[student],
            build_options=("--skip-bad-rows",),
        )
    )
