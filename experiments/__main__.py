"""`python -m experiments NAME`: the papers' claims on real data, each a plan of commands that a person could type."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.console import ArtifactsOption, answer, make_app, run, screen, store_at
from contract.errors import BadInput, NotFound, TransfersetError
from contract.manifest import write_whole
from contract.store import FOLDERS, Store
from experiments import contextualized, languages, mixing, objectives, retrieval
from experiments.experiment import Experiment, quickened

if TYPE_CHECKING:  # the libraries behind these load inside the commands, so that --help is quick
    from distill.reporting.page import Markup
    from experiments.compared import Compared

Plan = Callable[[tuple[int, ...]], Experiment]
EXPERIMENTS: dict[str, Plan] = {
    "contextualized": contextualized.plan,
    "retrieval": retrieval.plan,
    "mixing": mixing.plan,
    "objectives": objectives.plan,
    "languages": languages.plan,
}

app = make_app("experiments", "The papers' claims on real data; finished runs are not made again.")

SeedsOption = Annotated[str, typer.Option(help="Of the students, as in 0,1,2.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Runs made at once, a thread each.")]
OnlyOption = Annotated[str | None, typer.Option(help="Runs whose names fit, as in 'snips-10-*'.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="As little as shows that it works.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Say what would be run, and run nothing.")]
TableOption = Annotated[bool, typer.Option("--table", help="The table of what is finished; run nothing.")]
KeepOption = Annotated[bool, typer.Option("--keep", help="Keep results and table in experiments/kept, to commit.")]


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
        keep: KeepOption = False,
        artifacts: ArtifactsOption = None,
    ) -> None:
        if keep and quick:
            raise BadInput("--keep is of results in full, found --quick; leave one of them out")
        store, experiment = store_at(artifacts), plan_of(_numbers(seeds))
        experiment = (quickened(experiment) if quick else experiment).placed(store.root / FOLDERS["run"])
        chosen = experiment.only(only) if only else experiment
        if plan:
            _say_plan(store, chosen, workers)
            return
        failed: Mapping[str, str] = {} if table else _make(store, chosen, workers)
        _write(store, experiment, is_kept=keep)
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
    for part in dict.fromkeys(planned.part for planned in experiment.runs):
        answer.print(f"{part}: {standing.of_part(part).text(workers)}.", highlight=False, soft_wrap=True)
    answer.print(f"{experiment.name}: {standing.text(workers)}.", highlight=False, soft_wrap=True)


def _write(store: Store, experiment: Experiment, *, is_kept: bool = False) -> None:
    """The results, the table and the page, and what else an experiment writes of its runs."""
    from experiments.compared import compare_results
    from experiments.kept import keep
    from experiments.page import write_page
    from experiments.results import folder_of, keep_results, results_table
    from experiments.table import table_of

    results = results_table(store, experiment)
    if not results.num_rows:
        raise NotFound(f"No run of {experiment.name} is finished yet: there is nothing to put in a table")
    compared = compare_results(store, experiment, results)
    text, folder = table_of(compared), folder_of(store, experiment)
    keep_results(store, experiment, results)
    write_whole(folder / "table.md", text.encode())
    write_page(compared, folder / "page.html", _more(store, compared, folder))
    answer.print(text, markup=False, highlight=False, soft_wrap=True)
    screen.print(f"in {folder}: results.parquet, table.md, page.html", highlight=False, soft_wrap=True)
    if is_kept:
        screen.print(f"kept: {keep(experiment.name, results, text)}", highlight=False, soft_wrap=True)


def _more(store: Store, compared: Compared, folder: Path) -> list[Markup]:
    """The sections that an experiment has of its own."""
    if compared.experiment.name != "mixing":
        return []
    from experiments.domains import write_domains
    from indexer.encoder import open_encoder

    encoder = open_encoder()
    return [write_domains(store, compared, folder, lambda texts: encoder.encode(texts, kind="passage"))]


def _numbers(seeds: str) -> tuple[int, ...]:
    parts = [part.strip() for part in seeds.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise BadInput(f"--seeds expects whole numbers, each once, as in 0,1,2, found {seeds!r}")
    return tuple(map(int, parts))


if __name__ == "__main__":
    run(app)
