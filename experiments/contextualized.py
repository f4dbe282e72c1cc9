"""Paper B, small: is text retrieved for the task a better textbook than random, augmented or bare task text?

Ten labelled utterances a class; the 1.3 M English passages; teacher MiniLM; a 2 x 128 student from scratch; equal
updates for every arm. `all-unlabelled` is the ceiling: it sees all of the task's train text, without labels.
"""

from __future__ import annotations

from pathlib import Path

from demo.arms import ArmsPlan, Command, build_commands, compare_command, distill_commands
from experiments.data import real_data

TASKS = ("clinc150", "hwu64", "snips")
RUN_TOML = Path(__file__).with_name("contextualized.toml")


def commands(tasks: tuple[str, ...], seeds: tuple[int, ...], pages: Path) -> list[Command]:
    """Every command of the experiment, in order; each one that is finished already returns at once."""
    parts = [str(part) for part in sorted(real_data("generic", "en").glob("part-*.parquet"))]
    planned: list[Command] = [
        ["corpus", "build", *parts, "--name", "en"],
        ["index", "build", "--corpus", "en", "--name", "en-lex", "--retrievers", "lexical"],
    ]
    for task in tasks:
        plan = ArmsPlan(
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
        planned += [*build_commands(plan), *distill_commands(plan), compare_command(plan, pages / f"{task}.html")]
    return planned
