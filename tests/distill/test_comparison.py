"""The comparison: which runs belong together, and what their numbers say of the arms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contract.draft import Plan, drafting
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.run import RUN_VERSION
from contract.store import Store
from distill.comparing.comparison import Arm, CompareOptions, Comparison, Group, compare, read_arms, select_runs
from distill.comparing.verdict import verdict
from distill.reporting.outcome import Metrics, StudentFacts, Updates
from tests.distill.runs import keep_arms, keep_run, make_predictions, make_report, make_settings

ACCURACIES = {"no distillation": 0.70, "task-only": 0.75, "generic-random": 0.77, "retrieved": 0.81}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def only(comparison: Comparison) -> Group:
    (group,) = comparison.groups
    return group


def arm(comparison: Comparison, name: str) -> Arm:
    return next(found for found in only(comparison).arms if found.name == name)


def compared(store: Store, *patterns: str, **options: Any) -> Comparison:
    return compare(store, patterns or ["*"], CompareOptions(resamples=500, **options))


def test_arms_stand_from_the_worst_to_the_best_and_the_best_wins(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    group = only(compared(store))
    assert [found.name for found in group.arms] == list(ACCURACIES)
    assert group.winner is group.arms[-1]


def test_an_arms_accuracy_is_the_mean_over_its_seeds_and_its_spread_their_deviation(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    found = arm(compared(store), "retrieved")
    assert found.seeds == (0, 1, 2)
    assert found.by_seed == pytest.approx((0.80, 0.81, 0.82))
    assert found.score.value == pytest.approx(0.81)
    assert found.spread == pytest.approx(np.std([0.80, 0.81, 0.82], ddof=1))
    assert found.beside.mean == pytest.approx(0.81, abs=0.02)


def test_the_difference_is_to_no_distillation_and_the_ratio_is_its_share_of_what_the_teacher_is_ahead(
    store: Store,
) -> None:
    keep_arms(store, ACCURACIES)
    found = arm(compared(store), "retrieved")
    assert found.difference
    assert found.difference.interval.value == pytest.approx(0.11)
    assert found.ratio == pytest.approx((0.81 - 0.70) / (0.90 - 0.70))
    plain = arm(compared(store), "no distillation")
    assert (plain.difference, plain.ratio) == (None, None)


def test_another_baseline_moves_the_differences_but_not_the_ratio(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    found = arm(compared(store, baseline="task-only"), "retrieved")
    assert found.difference
    assert found.difference.interval.value == pytest.approx(0.06)
    assert found.ratio == pytest.approx(0.55)


def test_rows_are_paired_by_id_and_not_by_place(tmp_path: Path) -> None:
    in_order, shuffled = Store(tmp_path / "a"), Store(tmp_path / "b")
    keep_arms(in_order, ACCURACIES)
    keep_arms(shuffled, ACCURACIES, shuffled=True)
    assert only(compared(in_order)).arms == only(compared(shuffled)).arms


def test_the_same_runs_in_another_order_compare_the_same(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    names = store.names("run")
    assert only(compared(store, *names)).arms == only(compared(store, *reversed(names))).arms


def test_a_ratio_needs_a_teacher_that_is_better_than_the_plain_student(store: Store) -> None:
    keep_arms(store, {"no distillation": 0.8, "retrieved": 0.85}, teacher=0.6)
    assert arm(compared(store), "retrieved").ratio is None


def test_one_seed_has_no_spread(store: Store) -> None:
    keep_arms(store, ACCURACIES, seeds=1)
    found = arm(compared(store), "retrieved")
    assert found.spread is None
    assert found.beside.deviation is None


def test_arms_that_answer_alike_have_no_winner(store: Store) -> None:
    keep_arms(store, {"no distillation": 0.7, "task-only": 0.80, "retrieved": 0.802})
    group = only(compared(store))
    assert group.winner is None
    assert [found.name for found in group.not_told_apart] == ["task-only"]


def test_a_single_arm_has_won_nothing(store: Store) -> None:
    keep_arms(store, {"retrieved": 0.8})
    group = only(compared(store))
    assert group.winner is None
    assert group.baseline is None
    assert group.best.difference is None


CHANGES: list[tuple[str, Callable[..., object]]] = [
    ("task", lambda report: replace(report, task=replace(report.task, name="snips", id="f0" * 16))),
    ("target", lambda report: replace(report, task=replace(report.task, target="domain"))),
    ("shots", lambda report: replace(report, task=replace(report.task, shots=None))),
    ("student", lambda report: replace(report, student=StudentFacts(4, 256, 4, "scratch", 9_000_000))),
    ("origin", lambda report: replace(report, student=replace(report.student, origin="skip"))),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_runs_that_must_not_be_compared_stand_in_groups_of_their_own(
    store: Store, change: Callable[..., object]
) -> None:
    keep_run(store, make_report("r1"))
    keep_run(store, change(make_report("r2")))  # type: ignore[arg-type]
    assert [len(group.runs) for group in compared(store).groups] == [1, 1]


def test_runs_with_other_test_rows_stand_in_groups_of_their_own(store: Store) -> None:
    keep_run(store, make_report("r1"), make_predictions(rows=300))
    keep_run(store, make_report("r2", "task-only"), make_predictions(rows=301))
    assert len(compared(store).groups) == 2


def test_an_arm_run_with_two_retrievers_is_two_arms(store: Store) -> None:
    for name, retriever in (("r1", "lexical"), ("r2", "dense")):
        report = make_report(name)
        assert report.transfer_set
        keep_run(store, replace(report, transfer_set=replace(report.transfer_set, retriever=retriever)))
    assert {found.name for found in only(compared(store)).arms} == {"retrieved (lexical)", "retrieved (dense)"}


def test_an_arm_run_with_two_settings_is_two_arms_named_after_what_differs(store: Store) -> None:
    keep_run(store, make_report("r1"))
    keep_run(store, make_report("r2", settings=make_settings(temperature=4.0)))
    keep_run(store, make_report("r3", seed=1))
    arms = only(compared(store)).arms
    assert {found.name: found.runs for found in arms} == {
        "retrieved (distill.temperature 1.0)": ("r1", "r3"),
        "retrieved (distill.temperature 4.0)": ("r2",),
    }


def test_an_arm_run_with_other_updates_is_another_arm(store: Store) -> None:
    keep_run(store, make_report("r1"))
    keep_run(store, make_report("r2", updates=Updates(500, 300)))
    names = {found.name for found in only(compared(store)).arms}
    assert names == {"retrieved (distill.updates 2500)", "retrieved (distill.updates 500)"}


def test_how_a_run_that_does_not_distil_would_have_distilled_does_not_matter(store: Store) -> None:
    keep_run(store, make_report("r1", "no distillation"))
    keep_run(store, make_report("r2", "no distillation", 1, settings=make_settings(1, temperature=4.0)))
    assert arm(compared(store), "no distillation").seeds == (0, 1)


def test_two_runs_of_one_arm_and_seed_are_a_sentence_that_says_what_to_do(store: Store) -> None:
    keep_run(store, make_report("r1"))
    keep_run(store, make_report("r2"))
    with pytest.raises(BadInput, match=r"Runs r1 and r2 are both arm 'retrieved' with seed 0.*--arm NAME=PATTERN"):
        compared(store)


def test_arms_can_be_named_by_hand(store: Store) -> None:
    keep_run(store, make_report("k10-0"))
    keep_run(store, make_report("k20-0"), make_predictions(0.85))
    keep_run(store, make_report("k20-1", seed=1), make_predictions(0.85))
    found = only(compared(store, arms={"ten": "k10-*", "twenty": "k20-*"}, baseline="ten"))
    assert {each.name: each.runs for each in found.arms} == {"ten": ("k10-0",), "twenty": ("k20-0", "k20-1")}
    assert found.baseline == "ten"


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ({"a": "r*", "b": "r1"}, "Run r1 fits the arms a and b"),
        ({"a": "nope*"}, "--arm a=nope.* fits none of the runs r1"),
    ],
)
def test_arms_named_badly_are_a_sentence(store: Store, arms: dict[str, str], sentence: str) -> None:
    keep_run(store, make_report("r1"))
    with pytest.raises(BadInput, match=sentence):
        compared(store, arms=arms)


@pytest.mark.parametrize("pairs", [["ten"], ["=k*"], ["ten="], ["ten=a*", "ten=b*"]])
def test_an_arm_option_that_is_no_pair_is_a_sentence(pairs: list[str]) -> None:
    with pytest.raises(BadInput, match="--arm expects NAME=PATTERN"):
        read_arms(pairs)


def test_an_arm_option_is_a_name_and_a_pattern() -> None:
    assert read_arms(["ten=k10-*", "odd=a=b"]) == {"ten": "k10-*", "odd": "a=b"}


def test_a_run_named_twice_counts_once(store: Store) -> None:
    keep_arms(store, ACCURACIES, seeds=1)
    assert len(only(compared(store, "c-*", "c-retrieved-0", "c-retrieved-?")).runs) == 4


def test_names_and_patterns_select_in_the_order_given_and_say_what_is_not_finished(store: Store) -> None:
    for name in ("b1", "b2", "a1"):
        keep_run(store, make_report(name))
    with drafting(store.path("run", "b3"), Plan("run", RUN_VERSION, {})):
        pass
    assert select_runs(store, ["b*", "a1"]) == (["b1", "b2", "a1"], ["b3"])
    assert select_runs(store, ["a*"]) == (["a1"], [])


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("z-*", "No finished run matches 'z-.*there are r1"),
        ("r2", "There is no run at .*; there are: r1"),
        ("half", "is not finished"),
        ("../r1", "cannot name a run"),
    ],
)
def test_what_is_not_there_is_a_sentence(store: Store, pattern: str, sentence: str) -> None:
    keep_run(store, make_report("r1"))
    with drafting(store.path("run", "half"), Plan("run", RUN_VERSION, {})):
        pass
    with pytest.raises((NotFound, BadInput), match=sentence):
        compared(store, pattern)


def test_an_empty_store_is_a_sentence(store: Store) -> None:
    with pytest.raises(NotFound, match="there are no finished runs at all"):
        compared(store, "*")


def test_a_baseline_that_is_no_arm_is_a_sentence(store: Store) -> None:
    keep_arms(store, ACCURACIES, seeds=1)
    with pytest.raises(
        BadInput, match="no arm 'nothing' to serve as baseline; these runs have generic-random, no dist"
    ):
        compared(store, baseline="nothing")


def test_a_run_whose_report_lacks_its_teacher_is_a_sentence(store: Store) -> None:
    report = keep_run(store, make_report("r1")) / "report.json"
    report.write_text(report.read_text().replace('"teacher": {', '"tutor": {', 1))
    with pytest.raises(CorruptArtifact, match=r"report\.json"):
        compared(store)


def test_a_comparison_is_the_same_each_time_and_moves_with_its_seed(store: Store) -> None:
    keep_arms(store, ACCURACIES)
    one, same, other = compared(store), compared(store), compared(store, seed=1)
    assert only(one).arms == only(same).arms
    assert arm(one, "retrieved").score.low != arm(other, "retrieved").score.low


def test_columns_of_another_string_type_are_read_the_same(store: Store) -> None:
    table = make_predictions(0.8)
    keep_run(store, make_report("r1"), table)
    keep_run(
        store, make_report("r2", seed=1), table.cast(pa.schema([(n, pa.large_string()) for n in table.column_names]))
    )
    assert arm(compared(store), "retrieved").by_seed == (0.8, 0.8)


def test_fifteen_runs_of_4500_rows_compare_in_seconds(store: Store) -> None:
    keep_arms(store, {**ACCURACIES, "augmented": 0.78}, rows=4500)
    start = time.process_time()
    compare(store, ["*"])
    assert time.process_time() - start < 10  # about 1 s on an idle core


def slotted(wrong: int, *, teacher: int = 1, rows: int = 60) -> pa.Table:
    """A joint task of one slot a row, where the student misses the slot of the first `wrong` rows."""
    gold = [["B-x", "I-x", "O"]] * rows

    def said(wrong_rows: int) -> list[list[str]]:
        return [["O", "O", "O"] if row < wrong_rows else tags for row, tags in enumerate(gold)]

    labels = ["a", "b"] * (rows // 2)
    return pa.table(
        {
            "id": [f"test-{row:03}" for row in range(rows)],
            **dict.fromkeys(("gold", "predicted", "teacher"), labels),
            "gold_slots": gold,
            "predicted_slots": said(wrong),
            "teacher_slots": said(teacher),
        }
    )


@pytest.fixture
def slots(store: Store) -> Store:
    for arm_name, wrong in (("no distillation", 30), ("task-only", 20), ("retrieved", 10)):
        report = make_report(arm_name.replace(" ", "-"), arm_name)
        scores = {"exact_match": 0.9, "span_f1": 0.9, "agreement": 0.9}
        changes = {"teacher": replace(report.teacher, metrics=scores), "metrics": Metrics(scores, scores)}
        keep_run(store, replace(report, task=replace(report.task, kind="joint"), **changes), slotted(wrong))
    return store


def test_each_kind_of_task_is_decided_by_its_own_metric(slots: Store) -> None:
    group = only(compared(slots))
    assert (group.metric.title, group.beside.title) == ("Exact match", "Span F1")
    assert [found.score.value for found in group.arms] == pytest.approx([30 / 60, 40 / 60, 50 / 60])
    assert group.best.beside.mean == pytest.approx(2 * 50 / 110)
    assert group.winner is group.best


def test_of_errors_the_lowest_wins(slots: Store) -> None:
    by_share, by_error = (only(compared(slots, metric=metric)) for metric in ("exact_match", "sem_er"))
    assert [found.name for found in by_error.arms] == [found.name for found in by_share.arms]
    assert [found.score.value for found in by_error.arms] == pytest.approx([30 / 120, 20 / 120, 10 / 120])
    assert by_error.winner is by_error.best
    best = by_error.best
    assert best.difference
    assert best.difference.interval.high < 0
    assert best.ratio == pytest.approx((10 - 30) / (1 - 30))
    assert best.ratio == pytest.approx(by_share.best.ratio)
    lead = verdict(by_error)
    assert lead.startswith(
        "Winner on one seed: retrieved, with 8.3 %, 16.7 points below no distillation (95 % interval"
    )


def test_a_metric_the_task_has_not_is_a_sentence(slots: Store) -> None:
    with pytest.raises(BadInput, match="cannot be compared by 'spearman'; expected exact_match, span_f1, accuracy"):
        compared(slots, metric="spearman")


def test_a_score_over_seeds_is_the_mean_of_theirs_and_so_is_that_of_every_resample(store: Store) -> None:
    keep_arms(store, {"no distillation": 0.7, "retrieved": 0.8})
    found = arm(compared(store, metric="macro_f1"), "retrieved")
    assert found.score.value == pytest.approx(np.mean(found.by_seed))
    assert found.score.low < min(found.by_seed) < max(found.by_seed) < found.score.high
