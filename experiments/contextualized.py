"""Paper B, small: is text retrieved for the task a better textbook than random, augmented or bare task text?

Ten labelled utterances a class; the 1.3 M English passages; teacher MiniLM; a 2 x 128 student from scratch; equal
updates for every arm. `all-unlabelled` is the ceiling: it sees all of the task's train text, without labels.
"""

from __future__ import annotations

from pathlib import Path

from demo.arms import (
    ArmsPlan,
    build_commands,
    compare_command,
    distill_commands,
    run_commands,
    run_side_by_side,
)
from experiments.data import real_data

TASKS = ("clinc150", "hwu64", "snips")
RUN_TOML = Path(__file__).with_name("contextualized.toml")


def run_experiment(tasks: tuple[str, ...], seeds: tuple[int, ...], root: Path) -> None:
    """Index, build and distil for every task, then compare; what is finished already is not made again."""
    parts = [str(part) for part in sorted(real_data("generic", "en").glob("part-*.parquet"))]
    plans = [_plan(task, seeds) for task in tasks]
    run_commands(
        [
            ["corpus", "build", *parts, "--name", "en"],
            ["index", "build", "--corpus", "en", "--name", "en-lex", "--retrievers", "lexical"],
            *(command for plan in plans for command in build_commands(plan)),
        ],
        root,
    )
    run_side_by_side([command for plan in plans for command in distill_commands(plan)], root)
    run_commands([compare_command(plan, root / f"{plan.prefix}.html") for plan in plans], root)


def _plan(task: str, seeds: tuple[int, ...]) -> ArmsPlan:
    return ArmsPlan(
        prefix=task,
        index="en-lex",
        task=real_data("tasks", f"{task}.parquet"),
        run_toml=RUN_TOML,
        retriever="lexical",
        k=20,
        seeds=seeds,
        shots=10,
        unlabelled=True,
    )
