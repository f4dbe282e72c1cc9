"""The command of advice: `recommend` names the recipes that are foretold to do best on a task, with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from contract.console import (
    ArtifactsOption,
    JsonOption,
    MapOption,
    answer,
    make_app,
    print_json,
    progress_shown,
    read_map,
    screen,
    store_at,
)
from contract.errors import BadInput
from contract.manifest import Json
from contract.store import Store
from contract.task import Target

if TYPE_CHECKING:
    from distill.recommending.own_table import Added
    from distill.recommending.recommendation import Advice, Asked

PLAIN_WIDTH = 160  # of tables that go to a file or a pipe

recommend_app = make_app("recommend", "Which recipe to run.")

KindName = Literal["classes", "regression", "slots", "joint", "out-of-scope"]


@recommend_app.command("recommend")
def recommend(
    task: Annotated[
        Path | None, typer.Option("--task", help="The task's file, or a directory with one file a split.")
    ] = None,
    columns: MapOption = None,
    kind: Annotated[KindName | None, typer.Option("--kind", help="As in task.kind (default: by the labels).")] = None,
    target: Annotated[Target | None, typer.Option("--target", help="intent, label or domain.")] = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="The training rows; repeatable.")] = None,
    shots: Annotated[int | None, typer.Option("--shots", min=1, help="Labelled rows of each class.")] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Look at the file's good rows.")] = False,
    places: Annotated[int, typer.Option("-n", min=1, max=100, help="How many recipes.")] = 5,
    student: Annotated[str | None, typer.Option("--student", help="Of those with whom recipes were tried.")] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="The same.")] = None,
    write: Annotated[Path | None, typer.Option("--write", help="Write a recipe as a RUN.toml to this file.")] = None,
    pick: Annotated[int, typer.Option("--pick", min=1, help="Which pipeline to write.")] = 1,
    pick_text: Annotated[int, typer.Option("--pick-text", min=1, help="Which transfer set to write.")] = 1,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--add-runs", help="Add finished runs to the evidence: a store, a folder of runs; repeatable."),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the recipes that are foretold to do best on a task, how sure that is, and the runs that say so."""
    if task is None and not runs:
        raise BadInput("recommend expects --task FILE, or --add-runs with finished runs to learn from")
    store = store_at(artifacts)
    added = _add(store, runs) if runs else None
    if task is None:
        if as_json:
            print_json(_added_to_json(added))
        return
    section: dict[str, Json] = {
        "path": str(task),
        "kind": kind,
        "target": target,
        "shots": shots,
        "train_split": split,
        "columns": read_map(columns),
        "skip_bad_rows": skip_bad_rows,
    }
    section = {key: value for key, value in section.items() if value}
    name, asked = _asked(section, student, teacher)
    advice = _advice(store, asked, max(places, pick, pick_text))
    if write is not None:
        _write(section, advice, pick, pick_text, write)
    _answer(name, asked, [_first(each, places) for each in advice], added, as_json)


def _add(store: Store, places: list[Path]) -> Added:
    from distill.recommending.own_runs import read_runs
    from distill.recommending.own_table import add_runs, table_of

    found = read_runs(places)
    for sentence in found.skipped:
        screen.print(f"left out: {sentence}", markup=False, highlight=False, soft_wrap=True)
    added = add_runs(store, found.runs)
    screen.print(
        f"{added.found} runs found, {added.new} of them new; {table_of(store)} has {added.own}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    return added


def _asked(section: dict[str, Json], student: str | None, teacher: str | None) -> tuple[str, Asked]:
    """The task's name, and what is asked: by the same reader and the same settings as a run's."""
    from contract.rows import refuse_bad_rows
    from contract.task import read_task
    from distill.recommending.recommendation import Asked
    from distill.recommending.task_features import features_of, pass_over
    from distill.settings.task import TaskConfig

    config = TaskConfig.model_validate(section)
    on_bad_row = pass_over if config.skip_bad_rows else refuse_bad_rows
    task = read_task(config.path, columns=config.columns, on_bad_row=on_bad_row)
    features = features_of(
        task, target=config.target, kind=config.kind, splits=config.train_splits, shots=config.shots, seed=config.seed
    )
    return task.name, Asked(features, task.id, config.shots, student, teacher)


def _advice(store: Store, asked: Asked, places: int) -> list[Advice]:
    from distill.recommending.own_table import all_evidence, judgements_of
    from distill.recommending.recommendation import recommend as recommended

    boards = all_evidence(store)
    with progress_shown() as progress:
        judgements = judgements_of(boards, store, progress=progress)
    return recommended(asked, boards, judgements, places)


def _write(section: dict[str, Json], advice: list[Advice], pick: int, pick_text: int, path: Path) -> None:
    from distill.recommending.recipe_toml import write_recipe, written_recipe

    boards = {each.board: each for each in advice}
    found = boards.get("distiller") or boards["transferset"]
    text = boards.get("transferset")
    for option, number, among in (("--pick", pick, found), ("--pick-text", pick_text, text)):
        if among is not None and number > len(among.recipes):
            raise BadInput(f"{option} {number}: there are {len(among.recipes)} recipes; choose one of them")
    recipe = written_recipe(
        found.recipes[pick - 1].recipe,
        text.recipes[pick_text - 1].recipe if text else None,
        section,
        context=found.context,
    )
    write_recipe(recipe, path)
    screen.print(f"recipe: {path}", markup=False, highlight=False, soft_wrap=True)


def _answer(name: str, asked: Asked, advice: list[Advice], added: Added | None, as_json: bool) -> None:
    from distill.recommending.answer import recommendation_renderables, recommendation_to_json

    if as_json:
        print_json(recommendation_to_json(name, asked, advice) | ({} if added is None else _added_to_json(added)))
        return
    wide = answer if answer.is_terminal else Console(width=PLAIN_WIDTH)
    for part in recommendation_renderables(name, asked, advice, wide.width):
        wide.print(part, highlight=False)


def _first(advice: Advice, places: int) -> Advice:
    from dataclasses import replace

    return replace(advice, recipes=advice.recipes[:places])


def _added_to_json(added: Added | None) -> dict[str, Json]:
    assert added is not None
    return {"added": {"found": added.found, "new": added.new, "own": added.own}}
