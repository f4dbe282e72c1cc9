"""The page of a study: what it says is what the study found, also when that is nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill.tuning.outcome import ArmOnTest, OnTest, StudyReport, Trial, read_study, trials_table, write_study
from distill.tuning.page import render_study, text_of, verdict
from distill.tuning.search_space import make_space
from tests.distill.pages import check_page

RAW: dict[str, Any] = {"task": {"path": "t.jsonl"}, "transfer_set": {"name": "near"}}
SPACE = make_space(
    {
        "space": {
            "distill.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "distill.batch_size": {"low": 8, "high": 64},
            "objective.intermediate": ["none", ["hidden-mse", "attention"]],
        }
    },
    RAW,
)


def trial(number: int, value: float | None, state: Any = "complete", **params: Any) -> Trial:
    tried = {"distill.learning_rate": 1e-3, "distill.batch_size": 8 + number, "objective.intermediate": "none"} | params
    metrics = {"accuracy": value} if state == "complete" else {}
    return Trial(number, state, value, tried, metrics, 2.5, 350 if state == "complete" else 40)


TRIALS = (
    trial(0, 0.80),
    trial(1, 0.85, **{"objective.intermediate": ["hidden-mse", "attention"]}),
    replace(trial(2, 0.4, "pruned"), pruned_at=40),
    replace(trial(3, None, "failed"), reason="the loss is <b>inf</b>"),
)
DEFAULT, BETTER = ArmOnTest(0.79, 0.75, 0.83, (0.78, 0.8)), ArmOnTest(0.86, 0.83, 0.89, (0.85, 0.87))
STUDY = StudyReport(
    study="clinc",
    task="clinc150",
    metric="accuracy",
    judged_on="split valid",
    judged_rows=100,
    sampler="tpe",
    pruner="asha",
    seed=0,
    wanted=4,
    space=SPACE.to_json(),
    trials=TRIALS,
    best=1,
    default_trial=0,
    importances={"distill.learning_rate": 0.7, "distill.batch_size": 0.2, "objective.intermediate": 0.1},
    on_test=OnTest("test", 700, (0, 1), BETTER, DEFAULT, (0.07, 0.03, 0.11), True),
    settings={"objective": {"intermediate": "none"}, "distill": {"learning_rate": 1e-3, "batch_size": 64}},
    best_toml='[objective]\nintermediate = ["hidden-mse", "attention"]\n',
)
UNDECIDED = replace(STUDY, on_test=replace(STUDY.on_test, difference=(0.01, -0.02, 0.04), told_apart=False))
WORSE = replace(STUDY, on_test=replace(STUDY.on_test, best=DEFAULT, default=BETTER, difference=(-0.07, -0.11, -0.03)))
NOTHING = replace(STUDY, best=0, on_test=OnTest("test", 700, (0, 1), DEFAULT, DEFAULT, (0.0, 0.0, 0.0), False))


@pytest.mark.parametrize("study", [STUDY, UNDECIDED, WORSE, NOTHING])
def test_the_page_is_whole_and_says_the_cost(study: StudyReport) -> None:
    page = check_page(render_study(study))
    assert "4 trials" in page.text
    assert "780" in page.text, "updates of all trials"
    assert "<b>inf</b>" in page.text, "a reason is text, not markup"
    assert len(page.all("svg", role="img")) == 4 + len(SPACE.parameters)


def test_the_verdict_says_what_the_test_supports() -> None:
    assert "is better than" in verdict(STUDY)
    assert "+7.0 (95 % interval +3.0 to +11.0)" in verdict(STUDY)
    assert "no better" in verdict(UNDECIDED)
    assert "is worse than" in verdict(WORSE)
    assert "No setting of 4 trials beat" in verdict(NOTHING)


def test_of_an_error_the_lower_is_the_better() -> None:
    difference = (-0.07, -0.11, -0.03)
    study = replace(STUDY, metric="sem_er", on_test=replace(STUDY.on_test, difference=difference))
    assert "is better than" in verdict(study)


def test_only_a_winner_that_is_told_apart_is_shown_as_one() -> None:
    def shown(study: StudyReport) -> str:
        return render_study(study).split("On the test, once")[1].split("</section>")[0]

    assert "best dot" in shown(STUDY)
    assert "best dot" not in shown(UNDECIDED)
    assert "best dot" not in shown(WORSE)


def test_few_trials_are_not_taken_for_knowledge() -> None:
    assert "mostly noise" in check_page(render_study(STUDY)).text
    none = check_page(render_study(replace(STUDY, importances=None))).text
    assert "too few, or too alike" in none


def test_settings_outside_the_space_and_time_that_ran_out_are_said() -> None:
    text = check_page(render_study(replace(STUDY, default_trial=None, wanted=50))).text
    assert "lie outside the space" in text
    assert "after 4 of 50 trials" in text


def test_the_report_read_is_the_report_written(tmp_path: Path) -> None:
    for study in (STUDY, NOTHING):
        write_study(study, tmp_path / "study.json")
        assert read_study(tmp_path) == study


def test_lists_among_the_choices_are_json_in_the_table() -> None:
    column = trials_table(TRIALS, SPACE)["objective.intermediate"].to_pylist()
    assert column == ["none", '["hidden-mse", "attention"]', "none", "none"]


def test_numbers_read_short() -> None:
    assert [text_of(value) for value in (0.00123456, 12000, "pkd", True, None, [1])] == [
        "0.00123", "12,000", "pkd", "true", "–", "[1]",
    ]  # fmt: skip
