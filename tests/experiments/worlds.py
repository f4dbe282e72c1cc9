"""A small experiment on the tiny world: a RUN.toml, and runs of two arms that are over in a moment."""

from __future__ import annotations

from pathlib import Path

from contract.store import Store
from demo.commands import Command
from experiments.experiment import Experiment, PlannedRun
from tests.distill.tiny import make_world

METRICS = ("accuracy", "macro_f1")


def make_experiment(root: Path, *, seeds: int = 2, updates: int = 2) -> tuple[Store, Experiment]:
    """A store with a transfer set, and an experiment of two arms on it of which nothing is made yet."""
    store, config = make_world(root)
    toml = root / "RUN.toml"
    toml.write_text(
        f'precision = "float32"\n[task]\npath = "{config.task.path}"\nshots = 15\n'
        f'[teacher]\nmodel = "{config.teacher.model}"\nupdates = 2\nmax_length = 32\n'
        f"[student]\nlayers = 1\nwidth = 16\n[distill]\nupdates = {updates}\n[finetune]\nupdates = 2\n"
    )
    return store, experiment_of(toml, seeds=seeds)


def experiment_of(toml: Path, *, seeds: int) -> Experiment:
    """Two arms of that RUN.toml, seed by seed."""
    runs = [planned(toml, arm, seed) for seed in range(seeds) for arm in ("plain", "near")]
    return Experiment("tiny", "Does it help?", "plain", METRICS, tuple(runs))


def planned(toml: Path, arm: str, seed: int, *settings: str) -> PlannedRun:
    """A run of that arm; `plain` is without a transfer set."""
    of_arm = [] if arm == "plain" else [f"arm={arm}", "transfer_set.name=near"]
    chosen = [part for setting in (*of_arm, f"seed={seed}", *settings) for part in ("--set", setting)]
    command: Command = ("distill", str(toml), "--name", f"tiny-{arm}-{seed}", *chosen)
    return PlannedRun("tiny", arm, seed, command)
