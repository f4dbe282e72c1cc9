"""The plots: what is drawn lies where the numbers say, and inside the frame."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.reporting.plots import (
    Axis,
    Dot,
    Mark,
    Thread,
    curve_plot,
    dot_plot,
    nice_ticks,
    parallel_plot,
    scatter_plot,
)
from tests.distill.pages import Element, Page

SHARES = st.floats(0, 1)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_enclose_both_ends_and_are_evenly_spaced(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks = nice_ticks(low, high)
    slack = 1e-6 * (ticks[-1] - ticks[0])
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 9
    steps = [after - before for before, after in pairwise(ticks)]
    assert max(steps) - min(steps) <= slack


def test_ticks_are_round_numbers() -> None:
    assert nice_ticks(0.70, 0.894) == [0.70, 0.75, 0.80, 0.85, 0.90]
    assert nice_ticks(0.0, 4.9) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@given(st.lists(SHARES, min_size=1, max_size=6))
def test_dots_keep_the_order_of_their_values_and_stay_inside(values: list[float]) -> None:
    plot = Page(dot_plot([Dot(str(number), value) for number, value in enumerate(values)], "described"))
    across = [_across(dot) for dot in plot.all("circle")]
    assert all(0 < x < 100 for x in across)
    for one, x in zip(values, across, strict=True):
        for other, y in zip(values, across, strict=True):
            assert one >= other or x <= y


@given(SHARES, SHARES, SHARES)
def test_an_interval_is_drawn_around_its_dot(one: float, two: float, three: float) -> None:
    low, middle, high = sorted((one, two, three))
    plot = Page(dot_plot([Dot("a", middle, "best", (low, high), (low, high))], "described"))
    bar = plot.one("line", class_="best interval")
    assert float(bar.attributes["x1"][:-1]) <= _across(plot.one("circle", class_="best dot"))
    assert float(bar.attributes["x2"][:-1]) >= _across(plot.one("circle", class_="best dot"))
    rings = [_across(ring) for ring in plot.all("circle", class_="seed")]
    assert rings == [float(bar.attributes["x1"][:-1]), float(bar.attributes["x2"][:-1])]


def test_a_reference_line_goes_through_the_dot_of_the_same_value() -> None:
    plot = Page(dot_plot([Dot("a", 0.7), Dot("b", 0.8)], "described", references=[0.7]))
    dashed = plot.one("line", class_="reference")
    assert dashed.attributes["x1"] == dashed.attributes["x2"] == plot.all("circle")[0].attributes["cx"]


def test_a_label_is_text_whatever_it_holds() -> None:
    plot = Page(dot_plot([Dot("<script>", 0.5, note="<b>")], "<i>"))
    assert {element.name for element in plot.elements} <= {"svg", "line", "text", "circle"}
    assert plot.all("svg")[0].attributes["aria-label"] == "<i>"


def test_a_curve_runs_from_left_to_right_and_falls_as_its_loss_falls() -> None:
    plot = Page(curve_plot([(10, 4.0), (20, 2.0), (40, 1.0)], "described"))
    points = [tuple(map(float, pair.split(","))) for pair in plot.one("polyline").attributes["points"].split()]
    assert points == [(0.25, 0.0), (0.5, 0.5), (1.0, 0.75)]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_a_curve_stays_inside_its_frame(losses: list[float]) -> None:
    plot = Page(curve_plot([(number + 1, loss) for number, loss in enumerate(losses)], "described"))
    for pair in plot.one("polyline").attributes["points"].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 1
        assert -1e-4 <= y <= 1 + 1e-4


def test_a_curve_with_a_single_point_is_still_a_plot() -> None:
    assert Page(curve_plot([(5, 1.0)], "described")).one("circle")


def test_points_that_are_not_finite_are_left_out() -> None:
    plot = Page(curve_plot([(1, 2.0), (2, math.inf), (3, math.nan), (4, 1.0)], "described"))
    assert len(plot.one("polyline").attributes["points"].split()) == 2


@pytest.mark.parametrize("points", [[], [(1, math.nan)]])
def test_without_points_there_is_a_sentence(points: list[tuple[int, float]]) -> None:
    assert curve_plot(points, "described").startswith("<p")


def _across(dot: Element) -> float:
    return float(dot.attributes["cx"].removesuffix("%"))


def test_a_scatter_plot_holds_every_mark_within_its_width_and_the_best_on_top() -> None:
    marks = [Mark(0.0, 0.2), Mark(1.0, 0.9, "best"), Mark(0.5, 0.4, "seed")]
    drawn = Page(f"<div>{scatter_plot(marks, 'Said', below=[(0.0, 'low'), (1.0, 'high')])}</div>")
    dots = drawn.all("circle")
    assert [dot.attributes["class"] for dot in dots] == ["seed", "arm dot", "best dot"]
    assert all(0 < float(dot.attributes["cx"].rstrip("%")) < 100 for dot in dots)
    heights = {dot.attributes["class"]: float(dot.attributes["cy"]) for dot in dots}
    assert heights["best dot"] < heights["seed"] < heights["arm dot"], "higher is higher"
    assert {"low", "high"} <= {text.text for text in drawn.all("text")}


def test_a_scatter_plot_of_nothing_says_so() -> None:
    assert "nothing to show" in scatter_plot([], "Said", below=[])


PLACES = st.lists(st.lists(SHARES | st.none(), min_size=3, max_size=3).map(tuple), min_size=1, max_size=5)
AXES = [Axis("rate", [(0.0, "1e-4"), (1.0, "1e-2")]), Axis("loss", [(0.5, "pkd")]), Axis("Accuracy", [])]


@given(PLACES)
def test_a_thread_meets_every_axis_where_it_has_a_place_and_breaks_where_it_has_none(places: list) -> None:
    plot = Page(parallel_plot(AXES, [Thread(each) for each in places], "described"))
    met = [_across(knot) for knot in plot.all("circle")]
    assert len(met) == sum(x is not None for each in places for x in each)
    assert all(0 < x < 100 for x in met)
    whole = [pair for each in places for pair in pairwise(each) if None not in pair]
    lines = [line.attributes["points"].split() for line in plot.all("polyline")]
    assert [tuple(float(end.split(",")[0]) for end in line) for line in lines] == [
        pytest.approx(pair, abs=1e-5) for pair in whole
    ]


def test_the_best_thread_lies_on_top() -> None:
    threads = [Thread((0.5, 0.5, 1.0), "best"), Thread((0.1, 0.2, 0.3)), Thread((0.1, 0.2, 0.5), "good")]
    plot = Page(parallel_plot(AXES, threads, "described"))
    assert plot.all("polyline")[-1].attributes["class"] == "best thread"
    assert plot.all("circle")[-1].attributes["class"] == "best knot"
