"""The experiment: a question, and the runs that answer it as commands one could type, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from contract.errors import BadInput
from demo.arms import ArmRun, ArmsPlan, arm_runs
from demo.commands import Command, name_of
from experiments.data import real_data

ENGLISH = "en-lex"  # the lexical index of all English passages
_QUICK = {"distill.updates": 20, "teacher.updates": 20, "finetune.updates": 10}


@dataclass(frozen=True)
class PlannedRun:
    """One run. `part` is the comparison it belongs to (a task and a student); `needs` are made before it, in order."""

    part: str
    arm: str
    seed: int
    command: Command
    needs: tuple[Command, ...] = ()

    @property
    def name(self) -> str:
        return name_of(self.command)

    @property
    def config(self) -> tuple[Path, list[str]]:
        """Its RUN.toml, and what is set over it."""
        settings = [value for key, value in zip(self.command, self.command[1:], strict=False) if key == "--set"]
        return Path(self.command[1]), settings


@dataclass(frozen=True)
class Experiment:
    """`baseline` is the arm that differences are to; `metrics` are shown side by side, the first decides."""

    name: str
    question: str
    baseline: str
    metrics: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    is_quick: bool = False

    @property
    def command(self) -> str:
        """What makes it."""
        return f"python -m experiments {self.name}{' --quick' if self.is_quick else ''}"

    def only(self, pattern: str) -> Experiment:
        """The same with the runs whose names fit; BadInput when none does."""
        runs = tuple(run for run in self.runs if fnmatchcase(run.name, pattern))
        if not runs:
            raise BadInput(f"No run of {self.name} fits {pattern!r}; expected one such as {self.runs[0].name}")
        return replace(self, runs=runs)


def quickened(experiment: Experiment) -> Experiment:
    """The first part with its first seed and a handful of updates: whether it works, not what comes out."""
    first = experiment.runs[0]
    chosen = [run for run in experiment.runs if (run.part, run.seed) == (first.part, first.seed)]
    changes = [part for key, value in _QUICK.items() for part in ("--set", f"{key}={value}")]
    runs = [replace(run, command=(*_renamed(run.command, f"quick-{run.name}"), *changes)) for run in chosen]
    return replace(experiment, runs=tuple(runs), is_quick=True)


def runs_of_arms(plan: ArmsPlan) -> Iterable[PlannedRun]:
    """The runs of a comparison of arms, with what they stand on."""
    part = "-".join(part for part in (plan.prefix, plan.student) if part)
    for run in arm_runs(plan):
        yield _on_the_index(run, part)


def distilled(
    name: str, part: str, toml: Path, settings: Mapping[str, object], *, arm: str, seed: int, build: Command | None
) -> PlannedRun:
    """A run of these settings on the transfer set that `build` makes; without one, of no distillation."""
    told = {**settings, "seed": seed}
    if build is not None:
        told |= {"arm": arm, "transfer_set.name": name_of(build)}
    chosen = [part for key, value in told.items() for part in ("--set", f"{key}={value}")]
    command = ["distill", str(toml), "--name", name, *chosen]
    return _on_the_index(ArmRun(arm, seed, command, (build,) if build is not None else ()), part)


def index_commands() -> tuple[Command, ...]:
    """The English corpus and its lexical index."""
    parts = [str(part) for part in sorted(real_data("generic", "en").glob("part-*.parquet"))]
    return (
        ("corpus", "build", *parts, "--name", "en"),
        ("index", "build", "--corpus", "en", "--name", ENGLISH, "--retrievers", "lexical"),
    )


def _on_the_index(run: ArmRun, part: str) -> PlannedRun:
    needs = (*index_commands(), *run.sets) if run.sets else ()
    return PlannedRun(part, run.arm, run.seed, tuple(run.command), tuple(tuple(need) for need in needs))


def _renamed(command: Command, name: str) -> Command:
    at = command.index("--name") + 1
    return (*command[:at], name, *command[at + 1 :])
