"""The table and the JSON: the same numbers, at any width of terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from contract.store import Store
from distill.comparing.comparison import CompareOptions, Comparison, compare
from distill.comparing.table import columns_of, comparison_renderables, comparison_to_json, student_text
from distill.reporting.outcome import StudentFacts
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report

ACCURACIES = {"no distillation": 0.70, "task-only": 0.80, "generic-random": 0.801, "retrieved": 0.81}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    store = Store(tmp_path_factory.mktemp("store"))
    keep_arms(store, ACCURACIES, rows=1000)
    return compare(store, ["*"], CompareOptions("arms of clinc", "task-only", resamples=500))


def shown(comparison: Comparison, width: int) -> list[str]:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    with console.file:
        for part in comparison_renderables(comparison, width):
            console.print(part, highlight=False)
        return console.export_text().splitlines()


def test_a_wide_terminal_shows_every_column_and_every_arm_from_worst_to_best(comparison: Comparison) -> None:
    lines = shown(comparison, 200)
    head = next(number for number, line in enumerate(lines) if line.startswith("Arm"))
    assert all(column in lines[head] for column in columns_of(comparison.groups[0]))
    arms = [*ACCURACIES, "teacher (minilm)"]
    assert all(lines[head + 1 + number].startswith(arm) for number, arm in enumerate(arms))


def test_the_rows_say_what_was_measured(comparison: Comparison) -> None:
    (retrieved,) = [line for line in shown(comparison, 200) if line.startswith("retrieved")]
    assert retrieved.startswith("retrieved ★ ")
    assert "81.0 ± 1.0" in retrieved
    assert "+1.0 [+0." in retrieved
    assert "2,500 + 300" in retrieved
    (base,) = [line for line in shown(comparison, 200) if line.startswith("task-only")]
    assert "baseline" in base


def test_a_difference_the_interval_does_not_support_is_not_called_one(comparison: Comparison) -> None:
    (random,) = [line for line in shown(comparison, 200) if line.startswith("generic-random")]
    assert "not told apart" in random
    assert "★" not in random


@pytest.mark.parametrize("width", [70, 80, 100, 120, 160])
def test_a_narrow_terminal_loses_columns_and_never_digits(comparison: Comparison, width: int) -> None:
    lines = shown(comparison, width)
    assert all(len(line.rstrip()) <= width for line in lines)
    assert not any("…" in line for line in lines)
    (retrieved,) = [line for line in lines if line.startswith("retrieved")]
    assert "81.0 ± 1.0" in retrieved
    if "Updates" not in "".join(lines):
        assert any("a wider terminal, or --json, shows" in line for line in lines)


def test_an_arm_named_like_markup_is_shown_as_it_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1", "[bold]x[/bold] [/]"), make_predictions())
    assert any("[bold]x[/bold] [/]" in line for line in shown(compare(store, ["r1"]), 200))


def test_the_json_is_json_and_holds_what_the_table_shows(comparison: Comparison) -> None:
    document = json.loads(json.dumps(comparison_to_json(comparison), allow_nan=False))
    assert document["name"] == "arms of clinc"
    (group,) = document["groups"]
    assert group["baseline"] == "task-only"
    assert group["best"] == group["winner"] == "retrieved"
    assert group["student"]["from"] == "scratch"
    arms = {arm["arm"]: arm for arm in group["arms"]}
    assert list(arms) == list(ACCURACIES)
    assert arms["retrieved"]["score"]["mean"] == pytest.approx(0.81)
    assert arms["retrieved"]["score"]["by_seed"] == pytest.approx([0.80, 0.81, 0.82])
    assert arms["retrieved"]["difference"]["value"] == pytest.approx(0.01)
    assert arms["retrieved"]["difference"]["told_apart"] is True
    assert arms["generic-random"]["difference"]["told_apart"] is False
    assert arms["task-only"]["difference"] is None
    assert arms["retrieved"]["runs"] == [f"c-retrieved-{seed}" for seed in range(3)]


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("scratch", "2 layers × 128 from scratch"),
        ("skip", "2 layers × 128 from teacher layers (skip)"),
        ("pretrained", "2 layers × 128 pretrained"),
        ("static", "static embeddings of 128 numbers"),
    ],
)
def test_a_student_is_told_in_a_few_words(origin: str, said: str) -> None:
    assert student_text(StudentFacts(2, 128, 2, origin, 1_000)) == said
