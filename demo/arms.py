"""The comparison of arms as a list of `transferset` commands: what the demo and the experiments both run.

Every arm has the same task, teacher, student, updates and seeds; only the text the student is distilled on differs.
The commands are the ones a person would type, so each can be typed again, and each goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.commands import Command, name_of

NO_DISTILLATION = "no-distillation"  # in names; a run without a transfer set names its arm itself


@dataclass(frozen=True)
class ArmsPlan:
    """One task's comparison. Transfer sets are named `PREFIX-arm`, runs `PREFIX-arm-seed`.

    `student` stands in the runs' names, so that several students share the sets; `settings` are of every run, as
    `--set` takes them, and `build_options` of every set.
    """

    prefix: str
    index: str
    task: Path
    run_toml: Path  # teacher, student and updates, the same for every arm
    retriever: str
    k: int
    seeds: tuple[int, ...]
    shots: int | None = None  # labelled utterances a class; None takes all of the train split
    unlabelled: bool = False  # adds the ceiling: all train utterances of the task, without their labels
    most_unlabelled: int | None = None  # at most so many of them
    heldout: tuple[str, ...] = ("test",)
    student: str = ""
    settings: tuple[str, ...] = ()
    build_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArmRun:
    """One student of an arm, and the commands that make the transfer set it learns from, if any, in their order."""

    arm: str
    seed: int
    command: Command
    sets: tuple[Command, ...] = ()


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
        most = ["--budget-rows", str(plan.most_unlabelled)] if plan.most_unlabelled else []
        yield [*_build(plan, "all-unlabelled", "none"), *most]


def arm_runs(plan: ArmsPlan) -> Iterator[ArmRun]:
    """One run an arm and seed; the arm without a transfer set is the student without distillation."""
    builds = list(build_commands(plan))
    for seed in plan.seeds:
        yield _run(plan, NO_DISTILLATION, seed)
        for build in builds:
            yield _run(plan, name_of(build).removeprefix(f"{plan.prefix}-"), seed, build, *_sized_by(build, builds))


def compare_command(plan: ArmsPlan, page: Path) -> Command:
    """The table of all runs of the plan, and its page."""
    return ["compare", f"{plan.prefix}-*", "--html", str(page)]


def _run(plan: ArmsPlan, arm: str, seed: int, *builds: Command) -> ArmRun:
    settings = [f"seed={seed}", f"task.path={plan.task}"]
    settings += [f"arm={arm}", f"transfer_set.name={name_of(builds[0])}"] if builds else []
    settings += [f"task.shots={plan.shots}"] if plan.shots else []
    chosen = [part for setting in (*settings, *plan.settings) for part in ("--set", setting)]
    name = "-".join(part for part in (plan.prefix, plan.student, arm, str(seed)) if part)
    command = ["distill", str(plan.run_toml), "--name", name, *chosen]
    return ArmRun(arm, seed, command, tuple(reversed(builds)))


def _sized_by(build: Command, builds: Sequence[Command]) -> list[Command]:
    """The build of the set whose size it takes."""
    wanted = build[build.index("--size-of") + 1] if "--size-of" in build else None
    return [other for other in builds if name_of(other) == wanted]


def _build(plan: ArmsPlan, arm: str, retriever: str) -> Command:
    heldout = [part for split in plan.heldout for part in ("--heldout-split", split)]
    where = ["--index", plan.index, "--task", str(plan.task), "--split", "train", *heldout, *plan.build_options]
    return ["build", *where, "--name", f"{plan.prefix}-{arm}", "--retriever", retriever]
