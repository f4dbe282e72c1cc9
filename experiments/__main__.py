"""`python -m experiments NAME`: the papers' claims on real data, each a plan of commands that a person could type."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from contract.console import ArtifactsOption, answer, make_app, run, screen, store_at
from contract.errors import BadInput, NotFound, TransfersetError
from contract.manifest import write_whole
from contract.store import Store
from experiments import contextualized, glue, languages, objectives
from experiments.experiment import Experiment, quickened

Plan = Callable[[tuple[int, ...]], Experiment]
EXPERIMENTS: dict[str, Plan] = {
    "contextualized": contextualized.plan,
    "objectives": objectives.plan,
    "glue": glue.plan,
    "languages": languages.plan,
}

app = make_app("experiments", "The papers' claims on real data; finished runs are not made again.")

SeedsOption = Annotated[str, typer.Option(help="Of the students, as in 0,1,2.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Runs made at once, a thread each.")]
OnlyOption = Annotated[str | None, typer.Option(help="Runs whose names fit, as in 'snips-10-*'.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="As little as shows that it works.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Say what would be run, and run nothing.")]
TableOption = Annotated[bool, typer.Option("--table", help="The table of what is finished; run nothing.")]


@app.callback()
def _experiments() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


@app.command("recommend")
def recommend_command(quick: QuickOption = False, artifacts: ArtifactsOption = None) -> None:
    """Judge the recommender, leaving out one task after the other (paper C)."""
    from experiments.recommend import run_recommend

    run_recommend(store_at(artifacts).root / "experiments" / "recommend", quick=quick)


def _add_command(name: str, plan_of: Plan) -> None:
    """The command of an experiment that is a plan of runs; its help is what the plan's file opens with."""

    @app.command(name, help=(sys.modules[plan_of.__module__].__doc__ or "").split("\n\n")[0])
    def command(
        seeds: SeedsOption = "0,1,2",
        workers: WorkersOption = 2,
        only: OnlyOption = None,
        quick: QuickOption = False,
        plan: PlanOption = False,
        table: TableOption = False,
        artifacts: ArtifactsOption = None,
    ) -> None:
        store, experiment = store_at(artifacts), plan_of(_numbers(seeds))
        experiment = quickened(experiment) if quick else experiment
        chosen = experiment.only(only) if only else experiment
        if plan:
            _say_plan(store, chosen, workers)
            return
        failed: Mapping[str, str] = {} if table else _make(store, chosen, workers)
        _write(store, experiment)
        if failed:
            raise TransfersetError(
                f"{len(failed)} runs failed ({', '.join(failed)}); the same command tries them again"
            )


for _name, _plan in EXPERIMENTS.items():
    _add_command(_name, _plan)


def _make(store: Store, experiment: Experiment, workers: int) -> Mapping[str, str]:
    """Make what is not finished; what failed comes back, run -> why."""
    from experiments.runner import run_experiment

    return run_experiment(store, experiment, workers=workers).failed


def _say_plan(store: Store, experiment: Experiment, workers: int) -> None:
    from experiments.runner import standing_of

    standing = standing_of(store, experiment)
    for planned in standing.left:
        answer.print(planned.name, markup=False, highlight=False)
    answer.print(f"{experiment.name}: {standing.text(workers)}.", highlight=False, soft_wrap=True)


def _write(store: Store, experiment: Experiment) -> None:
    """The results, the table, and the page of the comparison by the metric that decides."""
    from distill.comparing.page import write_comparison_page
    from experiments.results import folder_of, keep_results, results_table
    from experiments.table import compare_results, table_of

    results = results_table(store, experiment)
    if not results.num_rows:
        raise NotFound(f"No run of {experiment.name} is finished yet: there is nothing to put in a table")
    compared = compare_results(store, experiment, results)
    text = table_of(compared)
    keep_results(store, experiment, results)
    folder = folder_of(store, experiment)
    write_whole(folder / "table.md", text.encode())
    write_comparison_page(compared.deciding, folder / "page.html")
    answer.print(text, markup=False, highlight=False, soft_wrap=True)
    screen.print(f"in {folder}: results.parquet, table.md, page.html", highlight=False, soft_wrap=True)


def _numbers(seeds: str) -> tuple[int, ...]:
    parts = [part.strip() for part in seeds.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise BadInput(f"--seeds expects whole numbers, each once, as in 0,1,2, found {seeds!r}")
    return tuple(map(int, parts))


if __name__ == "__main__":
    run(app)
