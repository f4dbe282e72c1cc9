"""A comparison as one self-contained HTML page: the verdict, a dot and an interval an arm, the table, the notes."""

from __future__ import annotations

from pathlib import Path

from contract.errors import BadInput
from contract.manifest import write_whole
from distill.comparing.comparison import Arm, Comparison, Group
from distill.comparing.table import (
    COSTS,
    DIFFERENCE,
    NOT_TOLD_APART,
    arm_cells,
    columns_of,
    student_text,
    task_text,
    teacher_cells,
)
from distill.comparing.verdict import Note, about_selection, difference_text, notes, verdict
from distill.reporting.figures import points
from distill.reporting.page import Markup, heading, joined, page, section, table, tag
from distill.reporting.plots import Dot, Role, dot_plot


def write_comparison_page(comparison: Comparison, path: Path) -> None:
    """Write the page to `path`, whole or not at all; BadInput when nothing can be written there."""
    try:
        write_whole(path, render_comparison(comparison).encode())
    except OSError as error:
        raise BadInput(
            f"The page cannot be written to {path} ({error.strerror}); give --html a file in a folder that exists"
        ) from error


def render_comparison(comparison: Comparison) -> str:
    """The page."""
    alone = comparison.groups[0] if len(comparison.groups) == 1 else None
    lead = verdict(alone) if alone else f"{len(comparison.groups)} tasks or students, each compared by itself."
    return page(
        f"{comparison.name} · Transferset",
        heading("comparison", comparison.name, lead),
        _notes(about_selection(comparison)),
        *(group_section(group, comparison, lead_said=bool(alone)) for group in comparison.groups),
    )


def group_section(group: Group, comparison: Comparison, *, lead_said: bool = False) -> Markup:
    """A task and student: what is to be said of its arms, the plot, the table."""
    said = () if lead_said else (tag("p", verdict(group)),)
    subtitle = tag(
        "p", f"Student: {student_text(group.student)}. Teacher: {', '.join(group.teacher.models)}.", class_="quiet"
    )
    return section(task_text(group), subtitle, *said, _plot(group), _table(group), _notes(notes(group, comparison)))


def _plot(group: Group) -> Markup:
    """Every arm's score; around it the interval of its difference to the baseline, laid beside the baseline."""
    base = next((arm for arm in group.arms if arm.name == group.baseline), None)
    dots = [_dot(arm, base, group) for arm in group.arms]
    if group.teacher.score is not None:
        dots.append(Dot(teacher_cells(group)[0], group.teacher.score, "teacher"))
    references = [base.score.value] if base else []
    described = "; ".join(f"{dot.label} {group.metric.text(dot.value)} {dot.note}".strip() for dot in dots)
    named = group.metric.inline
    if base:
        caption = (
            f"Dots are mean {named}, rings single seeds. Bars are the 95 % interval of the paired difference to "
            f"{base.name} (dashed): a bar that touches the dashed line is no difference."
        )
    else:
        caption = f"Dots are mean {named}, rings single seeds. Bars are the 95 % interval over test rows."
    return tag(
        "figure",
        dot_plot(dots, f"{group.metric.title} by arm: {described}", references=references, text=group.metric.text),
        tag("figcaption", caption),
    )


def _dot(arm: Arm, base: Arm | None, group: Group) -> Dot:
    role: Role = "plain" if arm is base else "best" if arm is group.winner else "arm"
    interval = None if base else (arm.score.low, arm.score.high)
    note = ""
    if base and arm.difference:
        by, start = arm.difference.interval, base.score.value
        interval = (start + by.low, start + by.high)
        note = f"({points(by.value)})" if arm.difference.told_apart else f"({NOT_TOLD_APART})"
    seeds = arm.by_seed if len(arm.by_seed) > 1 else ()
    return Dot(arm.name, arm.score.value, role, interval, seeds, note)


def _table(group: Group) -> Markup:
    rows = [_cells(arm, group) for arm in group.arms] + [teacher_cells(group)]
    columns = [
        f"{column} to {group.baseline}" if column == "Difference" and group.baseline else column
        for column in columns_of(group)
    ]
    marked = len(group.arms) - 1 if group.winner else None
    scores = [row[:COSTS] for row in rows]
    costs = [(row[0], *row[COSTS:]) for row in rows[:-1]]
    return joined(
        table(
            f"Arms from the worst to the best {group.metric.inline}, and the teacher",
            columns[:COSTS],
            scores,
            marked=marked,
        ),
        tag("h3", "What they took"),
        table("The cost of each arm", [columns[0], *columns[COSTS:]], costs),
    )


def _cells(arm: Arm, group: Group) -> tuple[str, ...]:
    cells = list(arm_cells(arm, group))
    if arm is group.winner:
        cells[0] = joined(cells[0], tag("span", " ★", role="img", aria_label="winner"))
    if arm.difference:
        interval = difference_text(arm.difference).split(" ", 1)
        fault = "" if arm.difference.told_apart else f", {NOT_TOLD_APART}"
        cells[DIFFERENCE] = joined(interval[0], tag("small", interval[1] + fault))
    return tuple(cells)


def _notes(said: list[Note]) -> Markup:
    if not said:
        return Markup()
    return tag(
        "ul", *(tag("li", note.text, class_="warning" if note.is_warning else None) for note in said), class_="notes"
    )
