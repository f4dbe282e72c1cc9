"""The experiment: a question, and the runs that answer it as commands one could type, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from contract.errors import BadInput
from demo.arms import ArmRun, ArmsPlan, arm_runs
from demo.commands import Command, name_of
from experiments.indexes import ENGLISH as ENGLISH
from experiments.indexes import index_commands

RUNS = "{runs}"  # in a command: the folder of runs, which the plan does not know
_QUICK = {"distill.updates": 5, "teacher.updates": 5, "finetune.updates": 5, "teacher.adapt.updates": 5}
_ALWAYS = ("distill.updates", "teacher.updates", "finetune.updates")  # the others where a run sets them


@dataclass(frozen=True)
class PlannedRun:
    """One run. `part` is the comparison it belongs to (a task and a student); `needs` are made before it, in order.

    `before` is the run whose student it begins with, made by the same worker right before it.
    """

    part: str
    arm: str
    seed: int
    command: Command
    needs: tuple[Command, ...] = ()
    before: Command | None = None

    @property
    def name(self) -> str:
        return name_of(self.command)

    @property
    def config(self) -> tuple[Path, list[str]]:
        """Its RUN.toml, and what is set over it."""
        return _config_of(self.command)

    @property
    def transfer_set(self) -> str | None:
        """The name of the set it learns from."""
        return next((told.partition("=")[2] for told in self.config[1] if told.startswith("transfer_set.name=")), None)

    def placed(self, runs: Path) -> PlannedRun:
        """The same, knowing where the runs lie."""
        before = None if self.before is None else _placed(self.before, runs)
        return replace(self, command=_placed(self.command, runs), before=before)


@dataclass(frozen=True)
class Claim:
    """What an experiment sets out to show: that an arm is better than each of the others."""

    arm: str
    than: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """One thing that was varied: in a part, the arms along it, each with how it is labelled."""

    title: str
    part: str
    arms: Mapping[str, str]  # arm -> label, in their order


@dataclass(frozen=True)
class Experiment:
    """`baseline` is the arm that differences are to; `metrics` are shown side by side, the first decides.

    `claims` are answered in a sentence each. `cut` says in sentences what was made smaller to fit, or left out.
    """

    name: str
    question: str
    baseline: str
    metrics: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    is_quick: bool = False
    claims: tuple[Claim, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    cut: tuple[str, ...] = ()

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

    def placed(self, runs: Path) -> Experiment:
        """The same, knowing where the runs lie."""
        return replace(self, runs=tuple(run.placed(runs) for run in self.runs))


def quickened(experiment: Experiment) -> Experiment:
    """The first part with its first seed and a handful of updates: whether it works, not what comes out."""
    first = experiment.runs[0]
    chosen = [run for run in experiment.runs if (run.part, run.seed) == (first.part, first.seed)]
    return replace(experiment, runs=tuple(map(_quick, chosen)), is_quick=True)


def runs_of_arms(plan: ArmsPlan) -> Iterable[PlannedRun]:
    """The runs of a comparison of arms, with what they stand on."""
    part = "-".join(part for part in (plan.prefix, plan.student) if part)
    for run in arm_runs(plan):
        yield planned(run, part)


def distilled(
    name: str, part: str, toml: Path, settings: Mapping[str, object], *, arm: str, seed: int, build: Command | None
) -> PlannedRun:
    """A run of these settings on the transfer set that `build` makes; without one, of no distillation."""
    told = {**settings, "seed": seed}
    if build is not None:
        told |= {"arm": arm, "transfer_set.name": name_of(build)}
    chosen = [part for key, value in told.items() for part in ("--set", f"{key}={value}")]
    command = ["distill", str(toml), "--name", name, *chosen]
    return planned(ArmRun(arm, seed, command, (build,) if build is not None else ()), part)


def planned(run: ArmRun, part: str) -> PlannedRun:
    """A run of an arm, with the corpora and indexes that its sets are made from."""
    builds = tuple(tuple(build) for build in run.sets)
    indexes = dict.fromkeys(build[build.index("--index") + 1] for build in builds if "--index" in build)
    needs = dict.fromkeys(tuple(command) for index in indexes for command in index_commands(index))
    return PlannedRun(part, run.arm, run.seed, tuple(run.command), (*needs, *builds))


def _quick(run: PlannedRun) -> PlannedRun:
    if run.before is None:
        return replace(run, command=_shortened(run.command))
    before = _shortened(run.before)
    begun = [part.replace(f"{RUNS}/{name_of(run.before)}/", f"{RUNS}/{name_of(before)}/") for part in run.command]
    return replace(run, command=_shortened(begun), before=before)


def _shortened(command: Command) -> Command:
    """A run of its own name and a handful of updates; those it is not to make stay none."""
    at = command.index("--name") + 1
    settings = _config_of(command)[1]
    told = dict(setting.split("=", 1) for setting in settings)
    chosen = {key: value for key, value in _QUICK.items() if told.get(key) != "0" and (key in told or key in _ALWAYS)}
    changes = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    return (*command[:at], f"quick-{command[at]}", *command[at + 1 :], *changes)


def _config_of(command: Command) -> tuple[Path, list[str]]:
    settings = [value for key, value in pairwise(command) if key == "--set"]
    return Path(command[1]), settings


def _placed(command: Command, runs: Path) -> Command:
    return tuple(part.replace(RUNS, str(runs)) for part in command)
