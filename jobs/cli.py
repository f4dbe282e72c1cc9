"""The command of the jobs' room: `worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from contract.console import ArtifactsOption, make_app, screen

app = make_app("jobs", "Work at the jobs the service takes in.")

DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="Of the jobs: a PostgreSQL URL (default: a SQLite file)")
]


@app.callback()
def commands() -> None:
    """Work at the jobs the service takes in."""


@app.command()
def worker(
    queues: Annotated[
        str | None, typer.Option("--queues", help="build, distill or both, by commas (default: what is installed)")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Transfer sets built at a time (default: 1)")] = None,
    database: DatabaseOption = None,
    exchange: Annotated[
        str | None,
        typer.Option(
            "--exchange",
            help="For distill without a shared volume: the API's address, or an fsspec URL of an artifacts folder.",
        ),
    ] = None,
    artifacts: ArtifactsOption = None,
    until_stdin_ends: Annotated[
        bool, typer.Option("--until-stdin-ends", hidden=True, help="Stop with the process that started this one.")
    ] = False,
) -> None:
    """Work at the jobs that `serve` takes in: build transfer sets, distil students."""
    from jobs.process import read_queues, read_worker_settings, work

    chosen = read_queues(queues)
    given = {"workers": workers, "database": database, "exchange": exchange, "artifacts": artifacts}
    work(read_worker_settings(**given), chosen, announce, until_stdin_ends=until_stdin_ends)


def announce(line: str) -> None:
    screen.print(line, markup=False, highlight=False, soft_wrap=True)
