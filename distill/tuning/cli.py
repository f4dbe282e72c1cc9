"""The command of a search: `tune` tries settings of a RUN.toml, keeps the best, and shows how it went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from contract.console import (
    MACHINES,
    ArtifactsOption,
    JsonOption,
    RestartOption,
    answer,
    make_app,
    print_json,
    progress_shown,
    store_at,
)
from contract.errors import BadInput

if TYPE_CHECKING:
    from distill.tuning.outcome import StudyReport

tune_app = make_app("tune", "Search for settings.")


@tune_app.command("tune")
def tune(
    config: Annotated[Path | None, typer.Argument(metavar="[RUN.toml]", help="The settings to begin from.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    show: Annotated[str | None, typer.Option("--show", help="Show the finished study of that name.")] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many in all; more than before goes on.")] = 50,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds after which no trial begins; the study then ends.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="SPACE.toml: what to try (default: the space of Distiller).")
    ] = None,
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="How trials are chosen.")] = "tpe",
    pruner: Annotated[Literal["asha", "hyperband", "none"], typer.Option(help="How they are given up.")] = "asha",
    metric: Annotated[str | None, typer.Option(help="What decides (default: the task kind's own).")] = None,
    valid_split: Annotated[
        str | None, typer.Option("--valid-split", help="What trials are judged on (default: valid, validation or dev).")
    ] = None,
    hold_back: Annotated[
        float | None, typer.Option("--hold-back", help="Judge on this share of the training rows, as in 0.2.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampler.")] = 0,
    test_seeds: Annotated[int, typer.Option(min=1, help="Runs of best and default settings on the test, each.")] = 3,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over RUN.toml, as in distill.updates=500; repeatable.")
    ] = None,
    best_name: Annotated[
        str | None, typer.Option("--keep-best", metavar="RUN", help="Keep the run with the best settings as RUN.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Trials made at once.", rich_help_panel=MACHINES)
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="TRANSFERSET_STUDY_STORAGE",
            help="postgresql://USER@HOST/DATABASE, to search on several hosts with the same command.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    artifacts: ArtifactsOption = None,
    restart: RestartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for better settings of a run: trials are judged on the valid split, the best one once on the test."""
    store = store_at(artifacts)
    if show is not None:
        from contract.artifact import open_artifact
        from distill.tuning.outcome import STUDY_VERSION, read_study

        made = open_artifact(store.find("study", show), "study", version=STUDY_VERSION)
        _answer(read_study(made.directory), made.id, made.directory, as_json)
        return
    if config is None or name is None:
        raise BadInput("tune expects RUN.toml and --name, or --show with a finished study's name")
    from distill.config import read_config
    from distill.tuning.search_space import default_space, raw_settings, read_space

    settings = read_config(config, overrides or [])
    raw = raw_settings(settings)
    tried = default_space(raw) if space is None else read_space(space, raw)
    from distill.tuning.outcome import read_study
    from distill.tuning.study import StudyOptions, keep_best, run_study
    from distill.tuning.validation import choose_validation

    validation = choose_validation(settings, valid_split, hold_back)
    options = StudyOptions(trials, timeout, sampler, pruner, seed, metric, test_seeds, workers, storage, restart)
    with progress_shown() as progress:
        made = run_study(store, name, settings, tried, validation, options, progress=progress)
        study = read_study(made.directory)
        if best_name is not None:
            keep_best(store, study, best_name, progress=progress)
    _answer(study, made.id, made.directory, as_json)


def _answer(study: StudyReport, id_: str, directory: Path, as_json: bool) -> None:
    if as_json:
        from distill.tuning.outcome import study_to_json

        print_json({"name": study.study, "id": id_, "directory": str(directory), "study": study_to_json(study)})
        return
    from distill.judging.metrics import METRICS
    from distill.tuning.outcome import BEST, STUDY_PAGE
    from distill.tuning.page import text_of, verdict

    answer.print(verdict(study), markup=False, highlight=False)
    heading = Table(box=None, pad_edge=False)
    heading.add_column("setting")
    heading.add_column("best", justify="right")
    for key, value in study.best_trial.params.items():
        heading.add_row(key, text_of(value))
    answer.print(heading, highlight=False)
    complete, pruned, failed = (len(study.of(state)) for state in ("complete", "pruned", "failed"))
    answer.print(
        f"{complete} trials whole, {pruned} given up, {failed} failed; best on {study.judged_on}: "
        f"{METRICS[study.metric].inline} {METRICS[study.metric].text(study.best_trial.value)} in trial {study.best}",
        markup=False,
        highlight=False,
    )
    for what, file in (("settings", BEST), ("page", STUDY_PAGE)):
        answer.print(f"{what}: {directory / file}", markup=False, highlight=False, soft_wrap=True)
