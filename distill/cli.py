"""The commands of distill: `distill` makes a run, `compare` sets runs side by side, and those of its other CLIs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from contract.console import (
    ArtifactsOption,
    JsonOption,
    NameOption,
    RestartOption,
    answer,
    make_app,
    print_json,
    progress_shown,
    store_at,
)
from distill.recommending.cli import recommend_app
from distill.shipping.cli import shipping_app
from distill.tuning.cli import tune_app

app = make_app("distill", "Distil and finetune students on transfer sets, and compare them.")

PLAIN_WIDTH = 160  # of tables that go to a file or a pipe

SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE over the file, as in distill.updates=500; repeatable.")
]


@app.callback()
def commands() -> None:
    """Distil and finetune students on transfer sets, and compare them."""


@app.command("distill")
def distill(
    config: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run's settings.")],
    name: NameOption,
    overrides: SetOption = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, max=64, help="That share every batch; as --set processes=2.")
    ] = None,
    artifacts: ArtifactsOption = None,
    restart: RestartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Distil a student on a transfer set, finetune it on the gold labels, measure it, write its report."""
    from distill.config import read_config

    settings = read_config(config, [*(overrides or []), *([f"processes={processes}"] if processes else [])])
    from distill.judging.metrics import METRICS, METRICS_OF
    from distill.pipeline import run_distillation
    from distill.reporting.outcome import read_report, report_to_json

    with progress_shown() as progress:
        run = run_distillation(store_at(artifacts), name, settings, progress=progress, restart=restart)
    report = read_report(run.directory)
    if as_json:
        print_json({"name": name, "id": run.id, "directory": str(run.directory), "report": report_to_json(report)})
        return
    final, (first, second, *_) = report.metrics.finetuned, METRICS_OF[report.task.kind]
    answer.print(
        f"{name}  arm {report.arm}, seed {report.seed}: "
        + ", ".join(f"{METRICS[metric].inline} {METRICS[metric].text(final[metric])}" for metric in (first, second))
        + (
            f", agreement {final['agreement']:.1%} (teacher {METRICS[first].text(report.teacher.metrics[first])})"
            if report.teacher.metrics
            else " (its teacher has no answers of its own)"
        ),
        markup=False,
        highlight=False,
    )
    answer.print(f"report: {run.directory / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@app.command("compare")
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs, or quoted patterns: 'clinc-*'.")],
    name: Annotated[str, typer.Option("--name", help="The comparison's title (default: the tasks)")] = "",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The arm that differences are to (default: no distillation)")
    ] = None,
    arms: Annotated[
        list[str] | None, typer.Option("--arm", help="NAME=PATTERN: runs to be taken as one arm; repeatable.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="What decides, as in macro_f1 (default: the task kind's own)")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=100, max=1_000_000, help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the comparison as a page to this file.")] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set runs side by side, arm by arm over their seeds, and say which differences the test rows support."""
    from distill.comparing import comparison
    from distill.comparing import page as comparison_page
    from distill.comparing import table as comparison_table

    options = comparison.CompareOptions(name, baseline, comparison.read_arms(arms or []), resamples, seed, metric)
    compared = comparison.compare(store_at(artifacts), runs, options)
    if html:
        comparison_page.write_comparison_page(compared, html)
    if as_json:
        print_json(comparison_table.comparison_to_json(compared))
        return
    wide = answer if answer.is_terminal else Console(width=PLAIN_WIDTH)
    for part in comparison_table.comparison_renderables(compared, wide.width):
        wide.print(part, highlight=False)
    if html:
        answer.print(f"page: {html}", markup=False, highlight=False, soft_wrap=True)


app.registered_commands += shipping_app.registered_commands + tune_app.registered_commands
app.registered_commands += recommend_app.registered_commands
