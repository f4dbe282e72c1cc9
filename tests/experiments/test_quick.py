"""`python -m experiments NAME --quick`: every experiment from its data to its page, on a small world."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contract.errors import BadInput
from contract.store import Store
from demo.commands import Command
from demo.workers import Ended, _run_quietly
from experiments import __main__ as commands
from experiments.__main__ import EXPERIMENTS
from experiments.experiment import Experiment, quickened
from experiments.results import SCHEMA
from tests.distill.pages import check_page
from tests.experiments.small_data import make_data, make_package


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of artifacts; the data and the encoder that commands find are small."""
    root = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSET_DATA", str(make_data(root / "data")))
        patch.syspath_prepend(make_package(root / "packages"))
        patch.setattr("experiments.runner.run_side_by_side", in_this_process)
        yield root / "artifacts"


def in_this_process(
    commands: Sequence[Command],
    artifacts: Path,
    *,
    workers: int | None = None,
    before: Mapping[tuple[str, ...], Command] | None = None,
) -> Iterator[Ended]:
    """What workers do, without the seconds in which a process starts."""
    for command in commands:
        began, said, error = time.monotonic(), "", None
        for each in ((before or {}).get(tuple(command)), command):
            if each is not None and error is None:
                said, error = _run_quietly(each, artifacts)
        yield Ended(command, said, time.monotonic() - began, error)


# One arm of each way to make a set, or to learn from it; all of them take a minute.
ARMS: Mapping[str, set[str]] = {
    "contextualized": {"no-distillation", "retrieved", "task-only", "two-stage"},
    "retrieval": {"retrieved", "dense-200k", "no-dialogues", "share-20"},
    "mixing": {"no-distillation", "taught-generic-100", "as-is-adapted-generic-0"},
    "objectives": {"soft", "hidden-mse"},
    "languages": {"no-distillation", "retrieved"},
}


@pytest.fixture(scope="module", params=EXPERIMENTS)
def quick(request: pytest.FixtureRequest, small: Path) -> Experiment:
    """An experiment of which some runs are finished, and its table and page written."""
    experiment = quickened(EXPERIMENTS[request.param]((0,)))
    runs = tuple(run for run in experiment.runs if run.arm in ARMS[experiment.name])
    experiment = replace(experiment, runs=runs).placed(small / "runs")
    assert commands._make(Store(small), experiment, 1) == {}
    commands._write(Store(small), experiment)
    return experiment


def test_every_experiment_runs_from_its_data_to_its_page(quick: Experiment, small: Path) -> None:
    results = results_of(quick.name, small)
    assert [row["arm"] for row in results] == [run.arm for run in quick.runs]
    folder = small / "experiments" / f"{quick.name}-quick"
    page = check_page((folder / "page.html").read_text(encoding="utf-8"))
    told = " ".join(element.text for element in page.all("main"))
    assert quick.question in told
    assert f"python -m experiments {quick.name} --quick" in told
    assert quick.question in (folder / "table.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_makes_the_first_part_whole(name: str, small: Path) -> None:
    result = CliRunner().invoke(commands.app, [name, "--quick", "--seeds", "0", "--artifacts", str(small)])
    assert result.exit_code == 0, result.output
    assert [row["arm"] for row in results_of(name, small)] == [
        run.arm for run in quickened(EXPERIMENTS[name]((0,))).runs
    ]


def test_quick_results_are_not_kept(small: Path) -> None:
    result = CliRunner().invoke(commands.app, ["mixing", "--quick", "--keep", "--artifacts", str(small)])
    assert isinstance(result.exception, BadInput)
    assert "--keep" in result.exception.message


def results_of(name: str, artifacts: Path) -> list[dict[str, Any]]:
    table = pq.read_table(artifacts / "experiments" / f"{name}-quick" / "results.parquet")
    assert table.schema.equals(SCHEMA)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@pytest.mark.parametrize("quick", ["contextualized"], indirect=True)
def test_what_a_student_learnt_from_is_inspected(quick: Experiment, small: Path) -> None:
    by_arm = {row["arm"]: row for row in results_of(quick.name, small)}
    assert by_arm["no-distillation"]["distinct_2"] is None
    assert 0 < by_arm["retrieved"]["vocabulary_overlap"] <= 1
    assert by_arm["task-only"]["vocabulary_overlap"] is None
    assert 0 < by_arm["task-only"]["distinct_2"] <= 1


@pytest.mark.parametrize("quick", ["contextualized"], indirect=True)
def test_the_second_stage_begins_with_the_student_of_the_first(quick: Experiment, small: Path) -> None:
    first = Store(small).path("run", "quick-clinc150-general-0")
    assert (first / "manifest.json").is_file()
    (row,) = [row for row in results_of(quick.name, small) if row["arm"] == "two-stage"]
    assert str(first / "student") in row["settings"]
