"""The plots of our pages, as inline SVG that takes its colours from the page and its width from the reader's screen.

Across, everything is placed in per cent, so that text keeps its size on a phone; down, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from distill.reporting.figures import count, percent
from distill.reporting.page import Markup, joined, tag

Role = Literal["arm", "best", "plain", "teacher"]  # how a dot is coloured: see page.html
MarkRole = Role | Literal["seed"]
ThreadRole = Literal["arm", "good", "plain", "best"]  # from the one drawn first to the one on top
_ROW_PX = 48  # a row of the dot plot: its label, and below it its track
_LABEL_PX, _TRACK_PX = 16, 33  # where in a row they lie
_AXIS_PX = 26
_CURVE_PX, _TOP_PX = 196, 16
_MARGIN = 3.0  # per cent left free on both sides, so that no dot is cut
_TICKS = 5
_AXIS_ROW_PX = 68  # a row of the parallel plot: its label, its track, and what stands below it
_ABREAST = 4  # labels that stand side by side without touching


@dataclass(frozen=True)
class Dot:
    """A row of the dot plot: a share, the interval around it, the single seeds it is the mean of."""

    label: str
    value: float
    role: Role = "arm"
    interval: tuple[float, float] | None = None
    seeds: tuple[float, ...] = ()
    note: str = ""


def dot_plot(
    dots: Sequence[Dot], describe: str, *, references: Sequence[float] = (), text: Callable[[float], str] = percent
) -> Markup:
    """One row a dot, on one scale; `references` are dashed lines through all rows, `text` is how a value reads."""
    values = [x for dot in dots for x in (dot.value, *(dot.interval or ()), *dot.seeds)] + list(references)
    ticks = nice_ticks(min(values), max(values))
    height = len(dots) * _ROW_PX

    def across(value: float) -> str:
        return _per_cent(value, ticks[0], ticks[-1])

    grid = [_upright(across(tick), 0, height, "grid") for tick in ticks]
    dashes = [_upright(across(value), 0, height, "reference") for value in references]
    labels = [_text(across(tick), height + 18, _tick_label(tick, ticks, text), "quiet", "middle") for tick in ticks]
    rows = [_row(dot, number * _ROW_PX, across(dot.value), across, text) for number, dot in enumerate(dots)]
    return _svg(height + _AXIS_PX, describe, *grid, *dashes, *labels, *rows)


def curve_plot(points: Sequence[tuple[int, float]], describe: str) -> Markup:
    """A loss over updates, from zero up. Points that are not finite are left out."""
    shown = [(x, y) for x, y in points if math.isfinite(y)]
    if not shown:
        return tag("p", "No updates were made.", class_="quiet")
    last = max(x for x, _ in shown)
    ticks = nice_ticks(min(0.0, *(y for _, y in shown)), max(y for _, y in shown))
    span = ticks[-1] - ticks[0]

    def down(value: float) -> float:
        return round(_TOP_PX + (_CURVE_PX - _TOP_PX) * (1 - (value - ticks[0]) / span), 1)

    grid = [tag("line", x1="0", x2="100%", y1=down(tick), y2=down(tick), class_="grid") for tick in ticks]
    path = " ".join(f"{x / last:.5f},{1 - (y - ticks[0]) / span:.5f}" for x, y in shown)
    line = tag("polyline", points=path, class_="curve", vector_effect="non-scaling-stroke")
    stretched = tag(
        "svg", line, y=_TOP_PX, width="100%", height=_CURVE_PX - _TOP_PX, viewBox="0 0 1 1", preserveAspectRatio="none",
        overflow="visible",
    )  # fmt: skip
    end_x, end_y = shown[-1]
    labels = [
        *(_text("0", down(tick) - 4, f"{tick:g}", "quiet", "start") for tick in ticks[1:]),
        _text("0", _CURVE_PX + 18, "update 0", "quiet", "start"),
        _text("100%", _CURVE_PX + 18, count(last), "quiet", "end"),
        _text("100%", down(end_y) - 10, f"{end_y:.3g}", "strong", "end"),
    ]
    dot = tag("circle", cx=f"{100 * end_x / last:g}%", cy=down(end_y), r=4.5, class_="dot")
    return _svg(_CURVE_PX + _AXIS_PX, describe, *grid, stretched, dot, *labels)


@dataclass(frozen=True)
class Mark:
    """A point of a scatter plot; `x` is its share of the width, from 0 to 1."""

    x: float
    y: float
    role: MarkRole = "arm"


def scatter_plot(
    marks: Sequence[Mark],
    describe: str,
    *,
    below: Sequence[tuple[float, str]],
    line: Sequence[tuple[float, float]] = (),
    text: Callable[[float], str] = percent,
) -> Markup:
    """Points, the best on top; `below` are (x, label) of the axis, `line` is drawn through (x, y)."""
    if not marks:
        return tag("p", "There is nothing to show.", class_="quiet")
    values = [mark.y for mark in marks] + [y for _, y in line]
    ticks = nice_ticks(min(values), max(values))

    def down(value: float) -> float:
        return round(_TOP_PX + (_CURVE_PX - _TOP_PX) * (1 - (value - ticks[0]) / (ticks[-1] - ticks[0])), 1)

    def across(x: float) -> str:
        return _per_cent(x, 0.0, 1.0)

    grid = [tag("line", x1="0", x2="100%", y1=down(tick), y2=down(tick), class_="grid") for tick in ticks]
    steps = [
        tag("line", x1=across(x), y1=down(y), x2=across(next_x), y2=down(next_y), class_="curve")
        for (x, y), (next_x, next_y) in pairwise(line)
    ]
    sizes = {"seed": 3.5, "best": 6.5}
    dots = [
        tag("circle", cx=across(mark.x), cy=down(mark.y), r=sizes.get(mark.role, 4.5), class_=_class_of(mark))
        for mark in sorted(marks, key=lambda mark: ("seed", "arm", "plain", "teacher", "best").index(mark.role))
    ]
    labels = [_text("0", down(tick) - 4, _tick_label(tick, ticks, text), "quiet", "start") for tick in ticks]
    anchors = [(x, label, _anchor(x)) for x, label in below]
    lines = 2 if len(anchors) > _ABREAST else 1  # many labels stand by turns on two lines
    axis = [
        _text(across(x), _CURVE_PX + 18 + 16 * (number % lines), label, "quiet", anchor)
        for number, (x, label, anchor) in enumerate(anchors)
    ]
    return _svg(_CURVE_PX + _AXIS_PX + 16 * (lines - 1), describe, *grid, *steps, *dots, *labels, *axis)


@dataclass(frozen=True)
class Axis:
    """A row of the parallel plot; `below` are (x, label) along it, x from 0 to 1."""

    label: str
    below: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Thread:
    """A line down through all rows: where it meets each, from 0 to 1; None where it has no place on one."""

    places: tuple[float | None, ...]
    role: ThreadRole = "arm"


def parallel_plot(axes: Sequence[Axis], threads: Sequence[Thread], describe: str) -> Markup:
    """Parallel coordinates, with the axes lying one below the other: their names have room so, and phones too."""
    tracks = [number * _AXIS_ROW_PX + _TRACK_PX for number in range(len(axes))]
    height = len(axes) * _AXIS_ROW_PX
    rows = [
        joined(
            tag("line", x1="0", x2="100%", y1=track, y2=track, class_="axis"),
            _text("0", track - _TRACK_PX + _LABEL_PX, axis.label, "", "start"),
            *(_text(_per_cent(x, 0.0, 1.0), track + 18, label, "quiet", _anchor(x)) for x, label in axis.below),
        )
        for track, axis in zip(tracks, axes, strict=True)
    ]
    drawn = sorted(threads, key=lambda thread: ("arm", "good", "plain", "best").index(thread.role))
    lines = [
        tag("polyline", points=f"{x:.5f},{y} {next_x:.5f},{next_y}", class_=f"{thread.role} thread",
            vector_effect="non-scaling-stroke")
        for thread in drawn
        for (x, y), (next_x, next_y) in pairwise(zip(thread.places, tracks, strict=True))
        if x is not None and next_x is not None
    ]  # fmt: skip
    stretched = tag(
        "svg", *lines, x=f"{_MARGIN}%", width=f"{100 - 2 * _MARGIN}%", height=height, viewBox=f"0 0 1 {height}",
        preserveAspectRatio="none", overflow="visible",
    )  # fmt: skip
    dots = [
        tag(
            "circle", cx=_per_cent(x, 0.0, 1.0), cy=y, r=5 if thread.role == "best" else 3, class_=f"{thread.role} knot"
        )
        for thread in drawn
        for x, y in zip(thread.places, tracks, strict=True)
        if x is not None
    ]
    return _svg(height, describe, stretched, *dots, *rows)


def _anchor(x: float) -> str:
    return "start" if x < 0.1 else "end" if x > 0.9 else "middle"


def _class_of(mark: Mark) -> str:
    return "seed" if mark.role == "seed" else f"{mark.role} dot"


def nice_ticks(low: float, high: float) -> list[float]:
    """About five round numbers, evenly spaced, that enclose both ends."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):  # one value, but for rounding
        margin = abs(high) / 10 if abs(high) > 1e-9 else 0.1
        low, high = low - margin, high + margin
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _row(dot: Dot, top: int, x: str, across: Callable[[float], str], text: Callable[[float], str]) -> Markup:
    middle = top + _TRACK_PX
    parts = [
        tag("line", x1="0", x2="100%", y1=middle, y2=middle, class_="axis"),
        _text("0", top + _LABEL_PX, dot.label, "strong" if dot.role == "best" else "", "start"),
        _text("100%", top + _LABEL_PX, " ".join(filter(None, (text(dot.value), dot.note))), "", "end"),
    ]
    if dot.interval:
        low, high = map(across, dot.interval)
        parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"{dot.role} interval"))
    parts += [tag("circle", cx=across(seed), cy=middle, r=3, class_="seed") for seed in dot.seeds]
    parts.append(tag("circle", cx=x, cy=middle, r=6.5, class_=f"{dot.role} dot"))
    return joined(*parts)


def _tick_label(tick: float, ticks: Sequence[float], text: Callable[[float], str]) -> str:
    if text is not percent:
        return f"{tick:g}"
    whole = all(abs(100 * each - round(100 * each)) < 1e-6 for each in ticks)
    return f"{100 * tick:.0f} %" if whole else percent(tick)


def _per_cent(value: float, low: float, high: float) -> str:
    return f"{_MARGIN + (100 - 2 * _MARGIN) * (value - low) / (high - low):.3f}%"


def _upright(x: str, top: int, bottom: int, kind: str) -> Markup:
    return tag("line", x1=x, x2=x, y1=top, y2=bottom, class_=kind)


def _text(x: str, y: float, text: str, kind: str, anchor: str) -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=kind or None)


def _svg(height: int, describe: str, *content: Markup) -> Markup:
    return tag("svg", *content, height=height, role="img", aria_label=describe)
