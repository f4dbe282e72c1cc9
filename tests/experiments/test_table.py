"""The table: means and intervals over seeds, differences as `compare` gives them, no difference where there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from contract.errors import NotFound
from contract.store import Store
from distill.comparing.comparison import CompareOptions, compare
from experiments import __main__ as commands
from experiments.compared import compare_results
from experiments.experiment import Experiment, PlannedRun
from experiments.ledger import Entry
from experiments.results import SCHEMA, folder_of, keep_results, ledger_of, results_table
from experiments.table import table_of
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report

ARMS = {"no distillation": 0.70, "retrieved": 0.80, "generic-random": 0.7025}
METRICS = ("accuracy", "macro_f1")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Experiment]:
    """Finished runs of three arms, as if they had been trained."""
    store = Store(tmp_path / "artifacts")
    keep_arms(store, ARMS, seeds=3)
    runs = tuple(planned(arm, seed) for arm in ARMS for seed in range(3))
    monkeypatch.setattr("experiments.results.is_finished", is_there)
    return store, Experiment("shown", "Which is best?", "no distillation", METRICS, runs)


def planned(arm: str, seed: int) -> PlannedRun:
    name = f"c-{arm.replace(' ', '-')}-{seed}"
    return PlannedRun("clinc150-10", arm, seed, ("distill", "RUN.toml", "--name", name))


def is_there(store: Store, run: PlannedRun) -> bool:
    """These runs were never planned by settings."""
    return run.name in store.names("run")


def lines_of(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def shown(store: Store, experiment: Experiment) -> str:
    return table_of(compare_results(store, experiment, results_table(store, experiment)))


def test_arms_stand_best_first_and_the_teacher_last(world: tuple[Store, Experiment]) -> None:
    names = list(lines_of(shown(*world)))
    assert names == ["arm", "---", "retrieved", "generic-random", "no distillation", "teacher (minilm)"]


def test_a_difference_is_what_compare_says_of_it(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    said = lines_of(shown(store, experiment))["retrieved"][1]
    options = CompareOptions(baseline="no distillation", metric="accuracy")
    (group,) = compare(store, [run.name for run in experiment.runs], options).groups
    interval = group.best.difference.interval  # type: ignore[union-attr]
    numbers = [float(number.replace("\N{MINUS SIGN}", "-")) for number in re.findall(r"[\d.]+", said)]
    expected = (interval.value, interval.low, interval.high)
    assert numbers == pytest.approx([100 * each for each in expected], abs=0.051)


def test_only_what_is_told_apart_is_marked(world: tuple[Store, Experiment]) -> None:
    lines = lines_of(shown(*world))
    accuracy = lines["arm"].index("Accuracy")
    assert lines["retrieved"][accuracy].endswith("▲")
    assert lines["generic-random"][accuracy] == "70.2 ± 1.0"
    assert lines["no distillation"][1] == "baseline"


def test_with_the_best_as_baseline_the_others_are_worse(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    lines = lines_of(shown(store, replace(experiment, baseline="retrieved")))
    assert lines["no distillation"][lines["arm"].index("Accuracy")].endswith("▼")


def test_the_interval_over_seeds_is_students(world: tuple[Store, Experiment]) -> None:
    scores = [0.79, 0.80, 0.81]
    low, high = stats.t.interval(0.95, 2, loc=0.80, scale=stats.sem(scores))
    assert lines_of(shown(*world))["retrieved"][0] == f"80.0 [{100 * low:.1f}, {100 * high:.1f}]"


def test_one_seed_has_no_interval_and_no_spread(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    alone = replace(experiment, runs=tuple(run for run in experiment.runs if run.seed == 1))
    lines = lines_of(shown(store, alone))
    assert lines["retrieved"][0] == "80.0"
    assert lines["generic-random"][lines["arm"].index("Accuracy")] == "70.2"


def test_runs_that_are_not_finished_are_counted(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    more = replace(experiment, runs=(*experiment.runs, planned("augmented", 0)))
    assert "9 of 10 runs are finished" in shown(store, more)


def test_a_task_in_several_languages_has_a_score_for_each(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    table = make_predictions(0.8, rows=400)
    spoken = table.append_column("lang", pa.array(["en", "de"] * 200))
    right = (spoken["gold"].to_numpy() == spoken["predicted"].to_numpy())[1::2].mean()
    keep_run(store, make_report("c-spoken-0", "retrieved", 0), spoken)
    run = PlannedRun("xsid", "retrieved", 0, ("distill", "RUN.toml", "--name", "c-spoken-0"))
    text = shown(store, replace(experiment, runs=(run,)))
    assert "Accuracy by language:" in text
    assert f"| retrieved | {100 * right:.1f} |" in text


def test_the_results_come_back_from_disk_as_they_were(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    ledger_of(store, experiment).add(Entry(experiment.runs[0].name, 321.0, "abc1234"))
    table = results_table(store, experiment)
    path = keep_results(store, experiment, table)
    read = pq.read_table(path)
    assert read.schema.equals(SCHEMA)
    assert read.equals(table)
    assert (read["commit"][0].as_py(), read["seconds"][0].as_py()) == ("abc1234", 321.0)
    assert read["commit"][1].as_py() is None


def test_the_table_is_made_without_running_anything(
    world: tuple[Store, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, experiment = world
    commands._write(store, experiment)
    folder = folder_of(store, experiment)
    assert sorted(path.name for path in folder.iterdir()) == ["page.html", "results.parquet", "table.md"]
    assert (folder / "table.md").read_text().strip() in capsys.readouterr().out


def test_without_a_finished_run_there_is_no_table(world: tuple[Store, Experiment]) -> None:
    store, experiment = world
    nothing = replace(experiment, runs=(planned("augmented", 0),))
    with pytest.raises(NotFound, match="nothing to put in a table"):
        commands._write(store, nothing)
