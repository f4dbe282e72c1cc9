"""The page: the question, an answer that the intervals bear, sweeps as lines, and how it was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.store import Store
from experiments.compared import Compared, compare_results
from experiments.experiment import Claim, Experiment, PlannedRun, Sweep
from experiments.ledger import Entry
from experiments.page import rendered
from experiments.results import ledger_of, results_table
from tests.distill.pages import Page, check_page
from tests.distill.runs import keep_arms

ARMS = {"no distillation": 0.70, "k-5": 0.80, "k-20": 0.8025}


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compared:
    store = Store(tmp_path / "artifacts")
    keep_arms(store, ARMS, seeds=2)
    monkeypatch.setattr("experiments.results.is_finished", lambda store, run: run.name in store.names("run"))
    runs = tuple(
        PlannedRun("c", arm, seed, ("distill", "RUN.toml", "--name", f"c-{arm.replace(' ', '-')}-{seed}"))
        for arm in ARMS
        for seed in range(2)
    )
    experiment = Experiment(
        "shown",
        "How many <neighbours>?",
        "no distillation",
        ("accuracy",),
        runs,
        claims=(Claim("k-20", ("k-5", "no distillation")),),
        sweeps=(Sweep("Neighbours", "c", {"k-5": "5", "k-20": "20"}), Sweep("Elsewhere", "d", {"k-5": "5"})),
        cut=("The corpus is small.",),
    )
    for run in runs:
        ledger_of(store, experiment).add(Entry(run.name, 1800.0, "abc1234"))
    return compare_results(store, experiment, results_table(store, experiment))


def text_of(page: Page) -> str:
    return " ".join(page.one("main").text.replace("\N{NO-BREAK SPACE}", " ").split())


def test_it_opens_with_the_question_and_the_answer(compared: Compared) -> None:
    page = check_page(rendered(compared))
    assert page.one("h1").text == "How many <neighbours>?"
    assert page.one("p", class_="lead").text == ("“k-20” is not told apart from k-5 and better than no distillation.")


def test_it_says_by_what_command_in_how_many_hours_of_which_code_and_what_was_cut(compared: Compared) -> None:
    told = text_of(check_page(rendered(compared)))
    assert "python -m experiments shown" in told
    assert "3 h 0 min" in told
    assert "abc1234" in told
    assert "The corpus is small." in told


def test_a_sweep_is_a_line_through_its_arms_and_is_left_out_where_its_runs_are(compared: Compared) -> None:
    page = check_page(rendered(compared))
    titles = [heading.text for heading in page.all("h2")]
    assert "Neighbours · c" in titles
    assert not any("Elsewhere" in title for title in titles)
    (plot,) = [svg for svg in page.all("svg") if svg.attributes.get("aria-label", "").startswith("Neighbours")]
    assert plot.attributes["aria-label"] == "Neighbours: 5 80.0 %; 20 80.2 %"


def test_without_a_claim_it_claims_nothing(compared: Compared) -> None:
    quiet = replace(compared, experiment=replace(compared.experiment, claims=()))
    assert "sets out to show nothing" in text_of(check_page(rendered(quiet)))
