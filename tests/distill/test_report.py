"""The report of a run: both files say what the run found, on a page that stands alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill.reporting.outcome import (
    CurvePoint,
    Curves,
    Metrics,
    Seconds,
    StudentFacts,
    TeacherFacts,
    read_report,
    report_from_json,
    report_to_json,
)
from distill.reporting.report import render_report, write_report
from tests.distill.pages import Page, check_page
from tests.distill.runs import make_report, make_settings

EVIL = "<script>alert(1)</script>"


def test_the_json_comes_back_as_the_report_that_was_written(tmp_path: Path) -> None:
    report = make_report(seed=3)
    write_report(report, tmp_path / "report.json", tmp_path / "report.html")
    assert read_report(tmp_path) == report


def test_the_page_that_is_written_is_the_one_that_is_rendered(tmp_path: Path) -> None:
    report = make_report()
    write_report(report, tmp_path / "report.json", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(report)


def test_the_same_report_gives_the_same_page() -> None:
    assert render_report(make_report()) == render_report(make_report())


@pytest.mark.parametrize("arm", ["retrieved", "no distillation"])
def test_the_page_stands_alone_and_can_be_read_without_seeing_it(arm: str) -> None:
    check_page(render_report(make_report("r1", arm)))


def test_the_head_says_how_much_is_kept_and_how_much_smaller_and_faster() -> None:
    lead = page_of().one("p", class_="lead").text.replace("\N{NO-BREAK SPACE}", " ")
    assert "keeps 90.3 % of its teacher’s accuracy on clinc150" in lead
    assert "5.1× smaller" in lead
    assert "9.6× faster" in lead


def test_a_student_that_is_larger_and_slower_than_its_teacher_is_called_so() -> None:
    report = make_report(student=StudentFacts(12, 768, 12, "scratch", 90_852_864), ms_per_utterance=5.82)
    lead = check_page(render_report(report)).one("p", class_="lead").text
    assert "4.0× larger" in lead
    assert "2.0× slower" in lead


def test_a_teacher_that_is_never_right_divides_nothing() -> None:
    teacher = TeacherFacts("minilm", "c3" * 16, 100, {"accuracy": 0.0, "macro_f1": 0.0}, 0.0)
    check_page(render_report(make_report(teacher=teacher)))


def test_the_scores_stand_below_their_headings() -> None:
    scores = page_of().all("table")[0].text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Student, distilled77.7 %77.3 %83.0 %4,416,0000.304 ms" in scores
    assert "Student, finetuned80.7 %80.3 %86.2 %4,416,0000.304 ms" in scores
    assert "Teacher89.4 %89.2 %–22,713,2162.91 ms" in scores


def test_a_run_without_a_transfer_set_shows_none_and_no_row_for_distilling() -> None:
    text = check_page(render_report(make_report("r1", "no distillation"))).text
    assert "trained without distillation" in text
    assert "learned from the task’s gold labels alone" in text
    assert "Student, distilled" not in text
    assert "Distilling" not in text


def test_the_lineage_goes_from_the_run_to_the_transfer_set_to_the_task_with_their_ids() -> None:
    way = page_of().one("ol", class_="way")
    places = [way.text.index(name) for name in ("r1", "set-0", "b2" * 16, "clinc150", "a1" * 16)]
    assert places == sorted(places)
    assert "00" * 16 in way.text  # the teacher's id


def test_the_whole_configuration_is_on_the_page() -> None:
    assert json.loads(page_of().one("pre").text) == make_settings()


def test_nothing_from_outside_becomes_markup() -> None:
    report = make_report(EVIL, EVIL, settings={EVIL: [EVIL, {"deep": EVIL}]})
    assert report.transfer_set
    report = replace(
        report,
        task=replace(report.task, name=EVIL, target=EVIL, test_split=EVIL),
        transfer_set=replace(report.transfer_set, name=EVIL, retriever=EVIL, id=EVIL),
        teacher=replace(report.teacher, model=EVIL),
        student=replace(report.student, origin=EVIL),
    )
    assert check_page(render_report(report)).text.count(EVIL) >= 8


def test_curves_that_are_empty_or_broken_off_are_no_fault_of_the_page() -> None:
    curves = Curves((), (CurvePoint(7, 0.0),))
    check_page(render_report(make_report(curves=curves)))


def test_work_that_was_there_already_is_not_given_a_time() -> None:
    text = check_page(render_report(make_report(seconds=Seconds(0.0, 0.0, 61.0, 2.0)))).text
    assert text.count("was there already") == 2
    assert "1 min 1 s" in text


def test_labels_that_training_never_showed_are_mentioned() -> None:
    report = make_report()
    assert "in the test only" not in check_page(render_report(report)).text
    told = check_page(render_report(replace(report, task=replace(report.task, unseen_labels=17)))).text
    assert "Labels that stand in the test only: 17; their rows count as wrong." in told


def test_every_metric_stands_beside_its_interval_and_its_formula() -> None:
    report = make_report()
    metrics = replace(report.metrics, intervals={"accuracy": (0.79, 0.82)}, teacher_intervals={"accuracy": (0.88, 0.9)})
    text = check_page(render_report(replace(report, metrics=metrics))).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Accuracyrows with the right label / rows80.7 %79.0 % to 82.0 %89.4 %88.0 % to 90.0 %" in text
    assert "Macro F1mean over classes of 2 · right / (gold + said)80.3 %89.2 %" in text
    assert "Accuracy decides a comparison." in text


def test_a_report_without_intervals_kinds_and_languages_is_read(tmp_path: Path) -> None:
    """As the first version wrote it."""
    written = report_to_json(make_report())
    for section, keys in (
        ("task", ("kind", "unseen_slots")),
        ("metrics", ("intervals", "teacher_intervals", "by_language")),
    ):
        for key in keys:
            del written[section][key]
    assert report_from_json(written) == make_report()


def test_a_perfect_student_and_a_hopeless_one_have_a_page_too() -> None:
    for share in (0.0, 1.0):
        scores = {"accuracy": share, "macro_f1": share, "agreement": share}
        check_page(render_report(make_report(metrics=Metrics(scores, scores))))


def page_of() -> Page:
    return check_page(render_report(make_report()))
