"""`python -m experiments NAME`: the papers' claims on real data, each as the commands a person would type."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from contract.console import ArtifactsOption, make_app, run, store_at
from experiments import contextualized

app = make_app("experiments", "The papers' claims on real data; finished parts are not run again.")


@app.callback()
def _experiments() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


@app.command("contextualized")
def contextualized_command(
    task: Annotated[list[str] | None, typer.Option(help="A task of tasks/; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="How many students an arm.")] = 3,
    artifacts: ArtifactsOption = None,
) -> None:
    """Retrieved text against random, augmented and bare task text, ten labels a class (paper B)."""
    root = store_at(artifacts).root
    tasks = tuple(task) if task else contextualized.TASKS
    contextualized.run_experiment(tasks, tuple(range(seeds)), root)


if __name__ == "__main__":
    run(app)
