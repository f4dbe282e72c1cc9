"""The verdict: no sentence says more than the numbers do, and none that matters is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.draft import Plan, drafting
from contract.run import RUN_VERSION
from contract.store import Store
from distill.comparing.comparison import CompareOptions, Comparison, compare
from distill.comparing.verdict import about_selection, difference_text, notes, verdict
from distill.reporting.outcome import RunReport, Updates
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report, make_settings

ACCURACIES = {"no distillation": 0.70, "task-only": 0.75, "retrieved": 0.81}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def compared(store: Store, **options: Any) -> Comparison:
    return compare(store, ["*"], CompareOptions(resamples=1000, **options))


def said(store: Store, **options: Any) -> str:
    comparison = compared(store, **options)
    return " ".join(note.text for note in notes(comparison.groups[0], comparison))


def warned(store: Store) -> list[str]:
    comparison = compared(store)
    return [note.text for note in notes(comparison.groups[0], comparison) if note.is_warning]


def with_texts(report: RunReport, texts: int) -> RunReport:
    assert report.transfer_set
    return replace(report, transfer_set=replace(report.transfer_set, texts=texts))


def test_the_winner_is_named_with_its_lead_and_the_interval_of_it(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    sentence = verdict(compared(store).groups[0])
    assert sentence.startswith("Winner: retrieved, with 81.0 %, 11.0 points above no distillation (95 % interval ")


def test_a_winner_on_one_seed_is_called_no_more_than_that(store: Store) -> None:
    keep_arms(store, ACCURACIES, seeds=1)
    assert verdict(compared(store).groups[0]).startswith("Winner on one seed: retrieved, with 81.0 %")


def test_arms_that_are_not_told_apart_have_no_winner(store: Store) -> None:
    keep_arms(store, {"no distillation": 0.7, "task-only": 0.80, "generic-random": 0.80, "retrieved": 0.802})
    sentence = verdict(compared(store).groups[0])
    assert sentence.startswith("No winner: retrieved scores highest (80.2 %)")
    assert sentence.endswith("do not tell it apart from generic-random and task-only.")


def test_a_single_arm_is_compared_with_nothing(store: Store) -> None:
    keep_arms(store, {"retrieved": 0.8})
    assert "nothing to compare it with" in verdict(compared(store).groups[0])


def test_a_winner_that_is_the_baseline_itself_leads_over_nothing(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    assert verdict(compared(store, baseline="retrieved").groups[0]) == "Winner: retrieved, with 81.0 %."


def test_arms_that_are_comparable_are_not_warned_about(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    assert warned(store) == []
    assert "same number of texts, 31,020" in said(store)


def test_arms_of_unequal_size_are_said_to_be_so_and_by_how_much(store: Store) -> None:
    keep_run(store, with_texts(make_report("r1", "task-only"), 1500))
    keep_run(store, with_texts(make_report("r2", "retrieved"), 30_000))
    keep_run(store, with_texts(make_report("r3", "generic-random"), 29_700))
    assert (
        "Arms differ in size: retrieved has 30,000 texts, generic-random 29,700 (−1.0 %) and task-only 1,500 (−95.0 %)."
        in warned(store)
    )


def test_arms_that_train_longer_in_all_are_named(store: Store) -> None:
    keep_run(store, make_report("r1", "no distillation", updates=Updates(0, 300)))
    keep_run(store, make_report("r2", "retrieved"))
    assert any("no distillation 0 + 300" in note and "retrieved 2,500 + 300" in note for note in warned(store))


def test_arms_that_part_the_same_updates_otherwise_are_named(store: Store) -> None:
    keep_run(store, make_report("r1", "task-only", updates=Updates(2000, 800)))
    keep_run(store, make_report("r2", "retrieved"))
    assert any("task-only 2,000 + 800" in note for note in warned(store))


def test_an_arm_without_distillation_that_trains_as_long_is_not_warned_about(store: Store) -> None:
    keep_run(store, make_report("r1", "no distillation"))
    keep_run(store, make_report("r2", "retrieved"))
    assert not any("pdates differ" in note for note in warned(store))


def test_settings_that_differ_between_arms_are_named(store: Store) -> None:
    keep_run(store, make_report("r1", "task-only", settings=make_settings(temperature=4.0)))
    keep_run(store, make_report("r2", "retrieved"))
    assert "Runs differ in settings besides their transfer set: distill.temperature." in warned(store)


def test_other_seeds_and_single_seeds_are_named(store: Store) -> None:
    keep_run(store, make_report("r1", "task-only", 0))
    keep_run(store, make_report("r2", "retrieved", 1), make_predictions(0.82))
    keep_run(store, make_report("r3", "retrieved", 2), make_predictions(0.83))
    assert "Seeds differ: task-only 0; retrieved 1, 2." in warned(store)
    assert any(note.startswith("One seed only: task-only.") for note in warned(store))


def test_seeds_that_disagree_on_the_better_arm_are_named(store: Store) -> None:
    for seed, (plain, distilled) in enumerate([(0.70, 0.86), (0.78, 0.77)]):
        keep_run(store, make_report(f"p{seed}", "no distillation", seed), make_predictions(plain, seed=seed))
        keep_run(store, make_report(f"r{seed}", "retrieved", seed), make_predictions(distilled, seed=seed))
    assert "Seeds do not agree whether retrieved is better than no distillation: run more seeds." in warned(store)


def test_other_teachers_are_named(store: Store) -> None:
    report = make_report("r1", "task-only")
    keep_run(store, replace(report, teacher=replace(report.teacher, model="e5-small", id="e5" * 16)))
    keep_run(store, make_report("r2", "retrieved"))
    assert "The runs had different teachers: e5-small and minilm." in warned(store)


def test_a_missing_baseline_is_said_and_so_is_how_the_numbers_were_made(store: Store) -> None:
    keep_arms(store, {"task-only": 0.75, "retrieved": 0.8})
    text = said(store)
    assert "no run without distillation" in text
    assert "paired bootstrap over the 400 test rows (1,000 resamples, seed 0)" in text
    assert "(arm − plain) / (teacher − plain)" in text


def test_labels_that_no_arm_could_learn_are_said(store: Store) -> None:
    report = make_report("r1")
    keep_run(store, replace(report, task=replace(report.task, unseen_labels=3)))
    assert "Labels that stand in the test only: 3; their rows count as wrong." in said(store)


def test_what_was_left_out_and_what_must_not_be_mixed_is_said_first(store: Store) -> None:
    keep_run(store, make_report("r1"))
    keep_run(store, make_report("r2"), make_predictions(rows=300))
    with drafting(store.path("run", "r3"), Plan("run", RUN_VERSION, {})):
        pass
    first, second = (note.text for note in about_selection(compared(store)))
    assert first == "Left out, because they are not finished: r3."
    assert "2 comparisons" in second


def test_no_difference_reads_as_nothing() -> None:
    assert difference_text(None) == ""
