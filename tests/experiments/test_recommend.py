"""The recommender's experiment: raw results with a row a figure, and a page that says what is used and why."""

from __future__ import annotations

import pytest

from distill.recommending.judgement import Judgement
from distill.recommending.leave_one_out import LEARNT, RANDOM, judge
from distill.recommending.ranking import AVERAGE, average, choices
from experiments.recommend import MEASURES, OF_RATIOS, raw_results, rendered, said
from tests.distill.evidence_for_tests import world
from tests.distill.pages import check_page


@pytest.fixture(scope="module")
def judged() -> Judgement:
    return judge(
        world(6, noise=0.02), progress=lambda *told: None, learned={"choices": choices}, beside={OF_RATIOS: average}
    )


def test_raw_results_have_every_figure_behind_a_mean(judged: Judgement) -> None:
    rows = raw_results({"distiller": judged}).to_pylist()
    for measure in MEASURES:
        for ranker in (AVERAGE, LEARNT, RANDOM):
            values = [r["value"] for r in rows if (r["measure"], r["ranker"]) == (measure, ranker)]
            found = [value for value in values if value is not None]
            mean = judged.mean(measure, ranker)
            assert (mean is None) == (not found)
            assert mean is None or mean == pytest.approx(sum(found) / len(found))


def test_the_page_names_what_is_used(judged: Judgement) -> None:
    lead = check_page(rendered(judged)).one("h1").text
    assert lead == "Which recipe for a new task?"
    assert any(line == f"recommend uses: {judged.uses}" for line in said(judged))
    assert any("not judged" in line for line in said(judged))
