"""Runs in a browser: sorted, ticked, set side by side, and nothing called a win that is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.console.conftest import RUNS, House, Open, expect, picture, too_wide
from tests.service.console.gallery import report


def test_runs_are_listed_sorted_and_compared_by_arm(open_page: Open) -> None:
    page = open_page("#/runs")
    page.locator("table.runs").wait_for()
    scores = [RUNS[name]["metrics"]["finetuned"]["accuracy"] for name in names_in(page)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(RUNS)
    said = page.locator(".compared .lead").inner_text()
    assert said.startswith("No winner: retrieved scores highest")
    assert "augmented" in said
    assert "task-only" not in said
    assert "generic-random 21,906 texts and task-only 1,499 texts" in page.locator(".notes").inner_text()
    assert "transferset compare home-" in page.locator(".notes + pre").inner_text()
    described = page.locator(".compared svg[role=img]").get_attribute("aria-label")
    assert described.startswith("Accuracy by arm: retrieved 82.")
    assert "± 0." in described
    picture(page, "runs", of=".compared")


def names_in(page: Any) -> list[str]:
    return [name.strip() for name in page.locator("table.runs tbody th").all_inner_texts()]


def test_a_column_sorts_both_ways_and_keeps_the_focus(open_page: Open) -> None:
    page = open_page("#/runs")
    head = page.get_by_role("columnheader", name="Run", exact=True)
    head.get_by_role("button").press("Enter")
    assert names_in(page) == sorted(RUNS)
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert names_in(page) == sorted(RUNS, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"


def test_only_what_is_ticked_is_compared(open_page: Open) -> None:
    page = open_page("#/runs")
    page.get_by_label("Compare all of these").uncheck()
    assert page.locator(".compared .lead").inner_text() == "Tick some runs to compare them."
    page.get_by_label("Compare home-retrieved-0", exact=True).check()
    assert "There is one arm only, retrieved" in page.locator(".compared .lead").inner_text()
    page.get_by_label("Compare home-task-only-0", exact=True).check()
    assert "one seed only, which may be luck" in page.locator(".compared .lead").inner_text()


def test_a_metric_of_which_less_is_better_is_compared_that_way(open_page: Open) -> None:
    page = open_page("#/runs", width=360)
    page.get_by_label("Metric").select_option("ece")
    expect(page.locator(".compared .lead")).to_contain_text("lowest")
    assert too_wide(page) <= 0


def test_a_run_has_its_scores_its_way_and_its_model(open_page: Open) -> None:
    page = open_page("#/runs/of/home-retrieved-0")
    assert "of its teacher’s accuracy on home and is 5.2× smaller" in page.locator(".lead").inner_text()
    assert "905" not in page.locator("h1").inner_text()
    assert page.get_by_role("row", name="Accuracy").inner_text().endswith("90.5\u00a0% to 92.1\u00a0%")
    assert page.locator("svg[role=img]").count() == 2
    with page.expect_download() as fetched:
        page.get_by_role("button", name="Download the model").click()
    assert fetched.value.suggested_filename == "home-retrieved-0.zip"


def test_a_run_is_ordered_with_the_settings_of_its_form(open_page: Open) -> None:
    page = open_page("#/runs/new")
    sent: list[Any] = []

    def take(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(status=202, json={"name": "home-0", "state": "queued"})

    page.route("**/v1/runs", take)
    page.get_by_label("Name", exact=True).fill("home-0")
    page.get_by_label("Transfer set").select_option("")
    page.get_by_label("Student layers").fill("4")
    page.get_by_text("Teacher and training").click()
    page.get_by_label("Temperature").fill("1.5")
    page.get_by_role("button", name="Order it").click()
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
    assert sent == [
        {
            "name": "home-0", "task": {"name": "home"}, "seed": 0, "student": {"layers": 4, "width": 128},
            "objective": {"temperature": 1.5},
        }
    ]  # fmt: skip


def test_a_run_that_cannot_be_read_does_not_hide_the_others(open_page: Open) -> None:
    page = open_page("#/tasks", expect=("500",))
    page.route("**/v1/runs/home-retrieved-0/report", lambda route: route.fulfill(json={"run": "of another time"}))
    page.route(
        "**/v1/runs/home-retrieved-1/report", lambda route: route.fulfill(status=500, json={"detail": "It is damaged"})
    )
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    page.locator("table.runs").wait_for()
    assert len(names_in(page)) == len(RUNS) - 2
    page.get_by_text("2 runs cannot be shown").click()
    assert "It is damaged" in page.locator("details .notes").inner_text()
    assert "not one that this console reads" in page.locator("details .notes").inner_text()


# The comparison itself, module against claims


@pytest.fixture(scope="module")
def compared(house: House, browser: Any) -> Any:
    """Calls `verdict` of comparison.js in the browser with arms made of (arm, scores of its seeds)."""
    page = browser.new_page()
    page.goto(house.url)

    def verdict(*arms: tuple[str, list[float]], interval: float = 0.001, metric: str = "accuracy") -> Any:
        runs = []
        for arm, values in arms:
            for seed, value in enumerate(values):
                made = report(f"{arm}-{seed}", arm, seed, value)
                made["metrics"]["finetuned"][metric] = value
                made["metrics"]["intervals"] = {metric: [value - interval, value + interval]} if interval else {}
                runs.append({"name": made["run"], "report": made})
        return page.evaluate(
            """async ([runs, name]) => {
                const {armsOf, metricOf, verdict} = await import(new URL("console/comparison.js", document.baseURI));
                const metric = metricOf(name);
                return verdict(armsOf(runs, metric), metric);
            }""",
            [runs, metric],
        )

    yield verdict
    page.close()


def test_a_difference_beyond_seeds_and_rows_is_a_win(compared: Any) -> None:
    said = compared(("a", [0.80, 0.81, 0.80]), ("b", [0.70, 0.71, 0.70]))
    assert said.startswith("a is best: 80.3\u00a0% ± 0.6, 10.0 points above b")


@pytest.mark.parametrize(
    ("arms", "interval", "says"),
    [
        ((("a", [0.84, 0.76]), ("b", [0.78, 0.77])), 0.001, "b is no further away than the seeds spread"),
        ((("a", [0.80, 0.801]), ("b", [0.78, 0.781])), 0.02, "b has an interval over the test rows that overlaps"),
        ((("a", [0.80]), ("b", [0.70])), 0.001, "one seed only, which may be luck"),
        ((("a", [0.80]), ("b", [0.70])), 0, "one seed only, which may be luck"),
        ((("a", [0.8, 0.7]), ("b", [0.8, 0.7])), 0.001, "b scores the same"),
    ],
)
def test_any_other_difference_is_none(compared: Any, arms: Any, interval: float, says: str) -> None:
    said = compared(*arms, interval=interval)
    assert said.startswith("No winner: a scores highest")
    assert says in said


def test_of_an_error_the_least_is_best(compared: Any) -> None:
    said = compared(("a", [0.10, 0.101]), ("b", [0.20, 0.201]), metric="ece")
    assert said.startswith("a is best: 10.1\u00a0% ± 0.1, 10.0 points below b")
