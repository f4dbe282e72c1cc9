"""The page of a comparison: the same look and the same laws as the page of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import BadInput
from contract.store import Store
from distill.comparing.comparison import CompareOptions, Comparison, compare
from distill.comparing.page import render_comparison, write_comparison_page
from distill.reporting.report import render_report
from tests.distill.pages import Page, check_page
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report

ACCURACIES = {"no distillation": 0.70, "task-only": 0.80, "generic-random": 0.802, "retrieved": 0.83}
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    store = Store(tmp_path_factory.mktemp("store"))
    keep_arms(store, ACCURACIES)
    return compare(store, ["*"], CompareOptions(resamples=500))


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> Page:
    return check_page(render_comparison(comparison))


def test_the_page_says_who_won_first(page: Page) -> None:
    assert page.one("p", class_="lead").text.startswith("Winner: retrieved")


def test_the_table_has_a_row_an_arm_and_marks_the_winner_alone(page: Page) -> None:
    assert [row.text for row in page.all("th", scope="row")][:3] == list(ACCURACIES)[:3]
    (marked,) = page.all("tr", class_="marked")
    assert marked.text.startswith("retrieved ★")


def test_every_arm_has_a_dot_and_all_but_the_baseline_an_interval(page: Page) -> None:
    dots = [dot for dot in page.all("circle") if dot.attributes["class"].endswith("dot")]
    assert len(dots) == len(ACCURACIES) + 1  # and the teacher
    intervals = [line for line in page.all("line") if line.attributes["class"].endswith("interval")]
    assert len(intervals) == len(ACCURACIES) - 1
    assert len(page.all("circle", class_="seed")) == 3 * len(ACCURACIES)


def test_an_interval_touches_the_dashed_line_unless_its_arm_is_told_apart(page: Page, comparison: Comparison) -> None:
    dashed = float(page.one("line", class_="reference").attributes["x1"][:-1])
    intervals = [line for line in page.all("line") if line.attributes["class"].endswith("interval")]
    arms = [arm for arm in comparison.groups[0].arms if arm.difference]
    dots = [dot for dot in page.all("circle") if dot.attributes["class"] in ("arm dot", "best dot")]
    for line, dot, arm in zip(intervals, dots, arms, strict=True):
        assert arm.difference
        low, high = (float(line.attributes[end].removesuffix("%")) for end in ("x1", "x2"))
        assert (low > dashed) == arm.difference.told_apart
        assert low < float(dot.attributes["cx"].removesuffix("%")) < high


def test_without_a_baseline_the_intervals_are_those_of_the_arms_themselves(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_arms(store, {"task-only": 0.75, "retrieved": 0.8})
    page = check_page(render_comparison(compare(store, ["*"])))
    assert page.all("line", class_="reference") == []
    assert len([line for line in page.all("line") if line.attributes["class"].endswith("interval")]) == 2


def test_several_tasks_stand_in_sections_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1"))
    keep_run(store, make_report("r2"), make_predictions(rows=300))
    page = check_page(render_comparison(compare(store, ["*"])))
    assert len(page.all("section")) == 2
    assert any("2 comparisons" in note.text for note in page.all("li", class_="warning"))


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1", EVIL))
    keep_run(store, make_report("r2", "retrieved"))
    check_page(render_comparison(compare(store, ["*"], CompareOptions(EVIL, EVIL))))


def test_both_pages_have_one_look(page: Page) -> None:
    assert page.one("style").text == check_page(render_report(make_report())).one("style").text


def test_the_page_is_the_same_each_time(comparison: Comparison) -> None:
    assert render_comparison(comparison) == render_comparison(comparison)


def test_the_page_is_written_whole(comparison: Comparison, tmp_path: Path) -> None:
    write_comparison_page(comparison, tmp_path / "c.html")
    assert (tmp_path / "c.html").read_text(encoding="utf-8") == render_comparison(comparison)
    assert [path.name for path in tmp_path.iterdir()] == ["c.html"]


@pytest.mark.parametrize("place", ["no/such/folder/c.html", "."])
def test_a_page_that_cannot_be_written_is_a_sentence(comparison: Comparison, tmp_path: Path, place: str) -> None:
    with pytest.raises(BadInput, match="The page cannot be written"):
        write_comparison_page(comparison, tmp_path / place)
