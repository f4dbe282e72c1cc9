"""The comparison of arms as a list of `transferset` commands: what the demo and the experiments both run.

Every arm has the same task, teacher, student, updates and seeds; only the text the student is distilled on differs.
The commands are the ones a person would type, so each can be typed again, and each goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.console import screen

Command = list[str]
NO_DISTILLATION = "no-distillation"


@dataclass(frozen=True)
class ArmsPlan:
    """One task's comparison. Artifacts are named `PREFIX-arm` and `PREFIX-arm-seed`."""

    prefix: str
    index: str
    task: Path
    run_toml: Path  # teacher, student and updates, the same for every arm
    retriever: str
    k: int
    seeds: tuple[int, ...]
    shots: int | None = None  # labelled utterances a class; None takes all of the train split
    unlabelled: bool = False  # adds the ceiling: all train utterances of the task, without their labels
    heldout: tuple[str, ...] = ("test",)


def build_commands(plan: ArmsPlan) -> Iterator[Command]:
    """One transfer set an arm. The generic arms are as large as the retrieved one (law 8)."""
    few = ["--shots", str(plan.shots), "--seed", "0"] if plan.shots else []
    same_size = ["--size-of", f"{plan.prefix}-retrieved"]
    drawn = ["--k", str(plan.k), *few]
    yield [*_build(plan, "retrieved", plan.retriever), *drawn]
    yield [*_build(plan, "generic-random", "random"), *drawn, *same_size]
    yield [*_build(plan, "augmented", "augmented"), *drawn, *same_size]
    yield [*_build(plan, "task-only", "none"), *few]
    if plan.unlabelled:
        yield _build(plan, "all-unlabelled", "none")


def distill_commands(plan: ArmsPlan) -> Iterator[Command]:
    """One run an arm and seed; the arm without a transfer set is the student without distillation."""
    arms = [NO_DISTILLATION, *(command[command.index("--name") + 1] for command in build_commands(plan))]
    for seed in plan.seeds:
        for name in arms:
            arm = name.removeprefix(f"{plan.prefix}-")
            settings = [f"arm={arm}", f"seed={seed}", f"task.path={plan.task}"]
            settings += [] if arm == NO_DISTILLATION else [f"transfer_set.name={name}"]
            settings += [f"task.shots={plan.shots}"] if plan.shots else []
            chosen = [part for setting in settings for part in ("--set", setting)]
            yield ["distill", str(plan.run_toml), "--name", f"{plan.prefix}-{arm}-{seed}", *chosen]


def compare_command(plan: ArmsPlan, page: Path) -> Command:
    """The table of all runs of the plan, and its page."""
    return ["compare", f"{plan.prefix}-*", "--baseline", NO_DISTILLATION, "--html", str(page)]


def run_commands(commands: Iterable[Command], artifacts: Path) -> None:
    """Say each command as one would type it, and run it in this process, so that libraries load once."""
    from transferset import app

    for command in commands:
        spoken = " ".join(part if part.replace("-", "").isalnum() else _quoted(part) for part in command)
        screen.print(f"\n[bold cyan]$ transferset {spoken}[/]", highlight=False, soft_wrap=True)
        app([*command, "--artifacts", str(artifacts)], standalone_mode=False)


def _build(plan: ArmsPlan, arm: str, retriever: str) -> Command:
    heldout = [part for split in plan.heldout for part in ("--heldout-split", split)]
    where = ["--index", plan.index, "--task", str(plan.task), "--split", "train", *heldout]
    return ["build", *where, "--name", f"{plan.prefix}-{arm}", "--retriever", retriever]


def _quoted(part: str) -> str:
    return f'"{part}"' if " " in part or "*" in part else part
