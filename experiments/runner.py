"""The runner: makes the runs of an experiment that are not there yet, and says how many and how long beforehand.

Killed at any moment, the same command goes on: a finished run is skipped, a half-made one goes on at its checkpoint.
A run that fails is told in a sentence, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contract.console import plain, screen
from contract.errors import TransfersetError
from contract.manifest import Kind
from contract.store import Store
from demo.commands import name_of, run_command, say
from demo.workers import run_side_by_side
from distill.reporting.figures import duration
from experiments.experiment import Experiment, PlannedRun
from experiments.forecast import seconds_left
from experiments.guess import guessed_once, guessed_seconds
from experiments.ledger import Entry, commit_of
from experiments.results import is_finished, ledger_of

_MADE_ONCE: Mapping[str, Kind] = {"corpus": "corpus", "index": "index"}  # large, and known by their names


@dataclass(frozen=True)
class Standing:
    """Which runs are finished, left, and failed this time; and the seconds that finished ones took."""

    finished: tuple[PlannedRun, ...]
    left: tuple[PlannedRun, ...]
    took: Mapping[str, float]
    failed: Mapping[str, str]

    def after(self, entry: Entry) -> Standing:
        """The standing once one of the runs that were left has ended."""
        ended = tuple(run for run in self.left if run.name == entry.run)
        rest = replace(self, left=tuple(run for run in self.left if run.name != entry.run))
        if entry.error:
            return replace(rest, failed={**self.failed, entry.run: entry.error})
        return replace(rest, finished=self.finished + ended, took={**self.took, entry.run: entry.seconds})

    @property
    def seconds(self) -> float:
        """How long what is left will take one worker: by the finished runs, and before there are any by a guess."""
        guessed = seconds_left(self.left, self.finished, self.took, guessed_seconds)
        assert guessed is not None
        return guessed + guessed_once(self.left, self.finished)

    def of_part(self, part: str) -> Standing:
        """That of one part."""
        chosen = ([run for run in runs if run.part == part] for runs in (self.finished, self.left))
        finished, left = map(tuple, chosen)
        return replace(self, finished=finished, left=left)

    def text(self, workers: int) -> str:
        """'12 of 54 runs are finished; 42 left, about 1 h 10 min with 2 workers'."""
        total = len(self.finished) + len(self.left) + len(self.failed)
        said = f"{len(self.finished):,} of {total:,} runs are finished"
        if self.failed:
            said += f", {len(self.failed):,} failed"
        if not self.left:
            return said
        seconds = self.seconds
        shared = min(workers, len(self.left))
        many = f"{shared} workers" if shared > 1 else "one worker"
        return f"{said}; {len(self.left):,} left, about {duration(seconds / shared)} with {many}"


def standing_of(store: Store, experiment: Experiment) -> Standing:
    """How far the experiment is."""
    entries = ledger_of(store, experiment).entries().values()
    finished = tuple(run for run in experiment.runs if is_finished(store, run))
    done = {run.name for run in finished}
    left = tuple(run for run in experiment.runs if run.name not in done)
    return Standing(finished, left, {entry.run: entry.seconds for entry in entries if not entry.error}, {})


def run_experiment(store: Store, experiment: Experiment, *, workers: int) -> Standing:
    """Make every run that is not finished, and say how each ended."""
    standing, ledger = standing_of(store, experiment), ledger_of(store, experiment)
    commit = commit_of(Path(__file__).parent)
    _tell(f"{experiment.name}: {standing.text(workers)}.")
    _prepare(store, standing.left)
    before = {tuple(run.command): run.before for run in standing.left if run.before is not None}
    commands = [run.command for run in standing.left]
    for ended in run_side_by_side(commands, store.root, workers=workers, before=before):
        entry = Entry(name_of(ended.command), round(ended.seconds, 1), commit, ended.error)
        ledger.add(entry)
        standing = standing.after(entry)
        _tell(f"FAILED {entry.run}: {ended.error}" if ended.error else _scores(ended.said))
        _tell(f"  {duration(ended.seconds)}. {standing.text(workers)}.")
    return standing


def _prepare(store: Store, runs: Sequence[PlannedRun]) -> None:
    """Make what the runs stand on; where it cannot be made, those runs will fail in a sentence and the others go on."""
    for command in dict.fromkeys(need for run in runs for need in run.needs):
        kind = _MADE_ONCE.get(command[0])
        if kind is not None and name_of(command) in store.names(kind):
            continue
        say(command)
        try:
            run_command(command, store.root)
        except TransfersetError as error:
            _tell(f"FAILED {name_of(command)}: {error.message}")


def _scores(said: str) -> str:
    """What `distill` answers, on one line: the run with its scores, without where its report is."""
    return " ".join(said.partition("\nreport:")[0].split())


def _tell(text: str) -> None:
    screen.print(plain(text), markup=False, highlight=False, soft_wrap=True)
