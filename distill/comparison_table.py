"""A comparison for the terminal, as a Rich table and sentences, and for programs, as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console, RenderableType
from rich.console import Group as RichGroup
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from contract.manifest import Json
from distill.bootstrap import CONFIDENCE, Difference
from distill.comparison import Arm, Comparison, Group
from distill.figures import MISSING, count, hundredths, listed
from distill.outcome import StudentFacts
from distill.verdict import Note, about_selection, difference_text, notes, verdict

# From the most to the least telling: a narrow terminal leaves out the last ones, a phone scrolls to them.
COLUMNS = ("Arm", "Accuracy %", "Difference", "Ratio", "Macro F1 %", "Agreement %", "Seeds", "Texts", "Updates")
DIFFERENCE = COLUMNS.index("Difference")
NOT_TOLD_APART = "not told apart"
BASELINE = "baseline"


def comparison_to_json(comparison: Comparison) -> dict[str, Json]:
    """The whole comparison; scores are shares, differences too."""
    return {
        "name": comparison.name,
        "confidence": CONFIDENCE,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "unfinished": list(comparison.unfinished),
        "notes": [asdict(note) for note in about_selection(comparison)],
        "groups": [_group_to_json(group, comparison) for group in comparison.groups],
    }


def comparison_renderables(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """What a terminal of that width shows, from top to bottom."""
    for note in about_selection(comparison):
        yield _note(note)
    for group in comparison.groups:
        yield Text()
        yield Text(group_title(group), style="bold")
        yield Text(verdict(group), style="green" if group.winner else "")
        yield Text()
        yield _fitting_table(group, width)
        yield Text()
        yield from map(_note, notes(group, comparison))
    yield Text()


def group_title(group: Group) -> str:
    """'clinc150, 10 shots · student 2 × 128 from scratch'."""
    return f"{task_text(group)} · student {student_text(group.student)}"


def task_text(group: Group) -> str:
    shots = f", {group.task.shots} labelled rows a class" if group.task.shots else ""
    return f"{group.task.name} ({group.task.target}{shots})"


def student_text(student: StudentFacts) -> str:
    origin = "from scratch" if student.origin == "scratch" else f"from teacher layers ({student.origin})"
    return f"{student.layers} layers × {student.width} {origin}"


def arm_cells(arm: Arm, group: Group) -> tuple[str, ...]:
    """The cells of an arm's row, below COLUMNS."""
    return (
        arm.name,
        f"{hundredths(arm.accuracy.value)} ± {hundredths(arm.spread)}",
        BASELINE if arm.name == group.baseline else difference_text(arm.difference) or MISSING,
        MISSING if arm.ratio is None else f"{arm.ratio:.2f}",
        hundredths(arm.macro_f1.mean),
        hundredths(arm.agreement.mean),
        str(len(arm.seeds)),
        count(arm.texts),
        f"{count(arm.distill_updates)} + {count(arm.finetune_updates)}",
    )


def teacher_cells(group: Group) -> tuple[str, ...]:
    """The cells of the teacher's row, below COLUMNS."""
    teacher = group.teacher
    name = f"teacher ({', '.join(teacher.models)})"
    return (name, hundredths(teacher.accuracy), "", "", hundredths(teacher.macro_f1), "", "", "", "")


def _fitting_table(group: Group, width: int) -> RenderableType:
    """The table with as many columns as fit, at least those to the ratio."""
    measuring = Console(width=10_000)
    for columns in range(len(COLUMNS), DIFFERENCE + 1, -1):
        table = _table(group, columns)
        if measuring.measure(table).maximum <= width:
            break
    if columns == len(COLUMNS):
        return table
    hidden = listed([column.removesuffix(" %").lower() for column in COLUMNS[columns:]])
    return RichGroup(table, Text(f"(a wider terminal, or --json, shows {hidden} too)", style="dim"))


def _table(group: Group, columns: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(COLUMNS[:columns]):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for arm in group.arms:
        cells = [Text(cell) for cell in arm_cells(arm, group)]
        if arm is group.winner:
            cells[0].append(" ★")
        if arm.difference and not arm.difference.told_apart:
            cells[DIFFERENCE] = Text(f"{NOT_TOLD_APART}  ", style="italic") + cells[DIFFERENCE]
        table.add_row(*cells[:columns], style="bold green" if arm is group.winner else "")
    table.add_row(*map(Text, teacher_cells(group)[:columns]), style="dim")
    return table


def _note(note: Note) -> RenderableType:
    mark, style = ("! ", "yellow") if note.is_warning else ("· ", "dim")
    line = Table.grid(padding=0)
    line.add_row(Text(mark), Text(note.text))
    return Styled(line, style)


def _group_to_json(group: Group, comparison: Comparison) -> dict[str, Json]:
    student = asdict(group.student)
    student["from"] = student.pop("origin")
    return {
        "task": asdict(group.task),
        "student": student,
        "teacher": {**asdict(group.teacher), "models": list(group.teacher.models)},
        "baseline": group.baseline,
        "best": group.best.name,
        "winner": group.winner.name if group.winner else None,
        "not_told_apart_from_best": [arm.name for arm in group.not_told_apart],
        "verdict": verdict(group),
        "arms": [_arm_to_json(arm) for arm in group.arms],
        "notes": [asdict(note) for note in notes(group, comparison)],
    }


def _arm_to_json(arm: Arm) -> dict[str, Json]:
    accuracy = {"mean": arm.accuracy.value, "low": arm.accuracy.low, "high": arm.accuracy.high}
    return {
        "arm": arm.name,
        "runs": list(arm.runs),
        "seeds": list(arm.seeds),
        "texts": arm.texts,
        "updates": {"distill": arm.distill_updates, "finetune": arm.finetune_updates},
        "accuracy": {**accuracy, "deviation": arm.spread, "by_seed": list(arm.by_seed)},
        "macro_f1": asdict(arm.macro_f1),
        "agreement": asdict(arm.agreement),
        "difference": _difference_to_json(arm.difference),
        "difference_to_best": _difference_to_json(arm.behind),
        "distillation_ratio": arm.ratio,
    }


def _difference_to_json(difference: Difference | None) -> Json:
    if difference is None:
        return None
    return {
        **asdict(difference.interval),
        "rows_that_differ": difference.rows,
        "told_apart": difference.told_apart,
    }
