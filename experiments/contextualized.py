"""Paper B, small: is text retrieved for the task a better textbook than random, augmented or bare task text?

Ten labelled utterances a class; the 1.3 M English passages; teacher MiniLM; a 2 x 128 student from scratch; equal
updates for every arm. `all-unlabelled` is the ceiling: it sees all of the task's train text, without labels.
"""

from __future__ import annotations

from pathlib import Path

from demo.arms import ArmsPlan
from experiments.data import real_data
from experiments.experiment import ENGLISH, Experiment, runs_of_arms

TASKS = ("clinc150", "hwu64", "snips")
RUN_TOML = Path(__file__).with_name("contextualized.toml")


def plan(seeds: tuple[int, ...]) -> Experiment:
    """Task by task."""
    runs = [run for task in TASKS for run in runs_of_arms(_arms(task, seeds))]
    question = "Is text retrieved for the task a better textbook than random, augmented or bare task text?"
    return Experiment("contextualized", question, "no distillation", ("accuracy", "macro_f1"), tuple(runs))


def _arms(task: str, seeds: tuple[int, ...]) -> ArmsPlan:
    return ArmsPlan(
        prefix=task,
        index=ENGLISH,
        task=real_data("tasks", f"{task}.parquet"),
        run_toml=RUN_TOML,
        retriever="lexical",
        k=20,
        seeds=seeds,
        shots=10,
        unlabelled=True,
    )
