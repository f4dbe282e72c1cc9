"""The comparison of arms as a list of `transferset` commands: what the demo and the experiments both run.

Every arm has the same task, teacher, student, updates and seeds; only the text the student is distilled on differs.
The commands are the ones a person would type, so each can be typed again, and each goes on where it was stopped.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

from contract.console import answer, screen

Command = list[str]
NO_DISTILLATION = "no-distillation"  # in names; a run without a transfer set names its arm itself


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
            settings = [f"seed={seed}", f"task.path={plan.task}"]
            settings += [] if arm == NO_DISTILLATION else [f"arm={arm}", f"transfer_set.name={name}"]
            settings += [f"task.shots={plan.shots}"] if plan.shots else []
            chosen = [part for setting in settings for part in ("--set", setting)]
            yield ["distill", str(plan.run_toml), "--name", f"{plan.prefix}-{arm}-{seed}", *chosen]


def compare_command(plan: ArmsPlan, page: Path) -> Command:
    """The table of all runs of the plan, and its page."""
    return ["compare", f"{plan.prefix}-*", "--html", str(page)]


def run_commands(commands: Iterable[Command], artifacts: Path) -> None:
    """Say each command as one would type it, and run it in this process, so that libraries load once."""
    for command in commands:
        _say(command)
        _run(command, artifacts)


def run_side_by_side(commands: Sequence[Command], artifacts: Path) -> None:
    """The same for commands that do not need each other, one a core at a time; each is said when it is done.

    A run computes with one thread, so two runs side by side take as long as one.
    """
    spawn = get_context("spawn")
    with ProcessPoolExecutor(max_workers=_cores(), mp_context=spawn, initializer=_end_with_parent) as pool:
        waiting = [pool.submit(_run_quietly, command, artifacts) for command in commands]
        for number, (command, result) in enumerate(zip(commands, waiting, strict=True), start=1):
            said = result.result()
            _say(command, f"  [dim]{number} of {len(commands)}[/]")
            answer.print(said, end="", markup=False, highlight=False, soft_wrap=True)


def _run(command: Command, artifacts: Path) -> None:
    from transferset import app

    app([*command, "--artifacts", str(artifacts)], standalone_mode=False)


def _run_quietly(command: Command, artifacts: Path) -> str:
    """What the command answers, without its progress: two bars on one terminal would write over each other."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(io.StringIO()):
        _run(command, artifacts)
    return said.getvalue()


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too: the same command, typed again, shall not find its runs taken."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _say(command: Command, after: str = "") -> None:
    spoken = " ".join(part if part.replace("-", "").isalnum() else _quoted(part) for part in command)
    screen.print(f"\n[bold cyan]$ transferset {spoken}[/]{after}", highlight=False, soft_wrap=True)


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)))


def _build(plan: ArmsPlan, arm: str, retriever: str) -> Command:
    heldout = [part for split in plan.heldout for part in ("--heldout-split", split)]
    where = ["--index", plan.index, "--task", str(plan.task), "--split", "train", *heldout]
    return ["build", *where, "--name", f"{plan.prefix}-{arm}", "--retriever", retriever]


def _quoted(part: str) -> str:
    return f'"{part}"' if " " in part or "*" in part else part
