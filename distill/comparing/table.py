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
from distill.comparing.comparison import Arm, Comparison, Group
from distill.comparing.verdict import Note, about_selection, difference_text, notes, verdict
from distill.judging.bootstrap import CONFIDENCE, Difference
from distill.reporting.figures import MISSING, count, duration, hundredths, listed, points, signed, size
from distill.reporting.outcome import StudentFacts

# From the most to the least telling: a narrow terminal leaves out the last ones, a phone scrolls to them.
# The two metrics are the group's, in hundredths.
_COLUMNS = (
    *("Arm", "{metric}", "Difference", "Ratio", "Errors removed %", "Effect g", "{beside}", "Agreement %", "Seeds"),
    *("Texts", "Updates", "Training", "Teacher", "Parameters"),
)
DIFFERENCE = _COLUMNS.index("Difference")
COSTS = _COLUMNS.index("Texts")  # from here on columns say what an arm took
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
    also = {"joint": " and slots", "out-of-scope": " and what is out of scope"}.get(group.task.kind, "")
    return f"{group.task.name} ({group.task.target}{also}{shots})"


def student_text(student: StudentFacts) -> str:
    if student.origin == "static":
        return f"static embeddings of {student.width} numbers"
    named = {"scratch": "from scratch", "pretrained": "pretrained"}
    origin = named.get(student.origin, f"from teacher layers ({student.origin})")
    return f"{student.layers} layers × {student.width} {origin}"


def columns_of(group: Group) -> tuple[str, ...]:
    """The headings: 'Accuracy %', and of a correlation 'Spearman × 100'."""
    metric, beside = (f"{each.title} {'%' if each.is_share else '× 100'}" for each in (group.metric, group.beside))
    return tuple(column.format(metric=metric, beside=beside) for column in _COLUMNS)


def arm_cells(arm: Arm, group: Group) -> tuple[str, ...]:
    """The cells of an arm's row, below `columns_of`."""
    return (
        arm.name,
        f"{hundredths(arm.score.value)} ± {hundredths(arm.spread)}",
        BASELINE if arm.name == group.baseline else difference_text(arm.difference) or MISSING,
        MISSING if arm.ratio is None else f"{arm.ratio:.2f}",
        *_effect_cells(arm),
        hundredths(arm.beside.mean),
        hundredths(arm.agreement.mean if arm.agreement else None),
        str(len(arm.seeds)),
        count(arm.texts),
        f"{count(arm.distill_updates)} + {count(arm.finetune_updates)}",
        duration(arm.cost.seconds),
        MISSING if arm.cost.teacher_seconds is None else duration(arm.cost.teacher_seconds),
        size(round(arm.cost.parameters)),
    )


def _effect_cells(arm: Arm) -> tuple[str, str]:
    """How large the difference is: nothing of one that is none."""
    if arm.effect is None or arm.difference is None or not arm.difference.told_apart:
        return MISSING, MISSING
    return points(arm.effect.errors_removed), signed(arm.effect.by_seeds)


def teacher_cells(group: Group) -> tuple[str, ...]:
    """The cells of the teacher's row, below `columns_of`."""
    teacher = group.teacher
    name = f"teacher ({', '.join(teacher.models)})"
    said = {"{metric}": hundredths(teacher.score), "{beside}": hundredths(teacher.beside), "Arm": name}
    return tuple(said.get(column, "") for column in _COLUMNS)


def _fitting_table(group: Group, width: int) -> RenderableType:
    """The table with as many columns as fit, at least those to the ratio."""
    measuring, names = Console(width=10_000), columns_of(group)
    for columns in range(len(names), DIFFERENCE + 1, -1):
        table = _table(group, columns)
        if measuring.measure(table).maximum <= width:
            break
    if columns == len(names):
        return table
    hidden = listed([column.removesuffix(" %").lower() for column in names[columns:]])
    return RichGroup(table, Text(f"(a wider terminal, or --json, shows {hidden} too)", style="dim"))


def _table(group: Group, columns: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns_of(group)[:columns]):
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
        "metric": {"title": group.metric.title, "formula": group.metric.formula, "is_error": group.metric.is_error},
        "beside": {"title": group.beside.title, "formula": group.beside.formula, "is_error": group.beside.is_error},
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
    score = {"mean": arm.score.value, "low": arm.score.low, "high": arm.score.high}
    return {
        "arm": arm.name,
        "runs": list(arm.runs),
        "seeds": list(arm.seeds),
        "texts": arm.texts,
        "updates": {"distill": arm.distill_updates, "finetune": arm.finetune_updates},
        "score": {**score, "deviation": arm.spread, "by_seed": list(arm.by_seed)},
        "beside": asdict(arm.beside),
        "agreement": asdict(arm.agreement) if arm.agreement else None,
        "difference": _difference_to_json(arm.difference),
        "difference_to_best": _difference_to_json(arm.behind),
        "distillation_ratio": arm.ratio,
        "effect": asdict(arm.effect) if arm.effect else None,
        "cost": asdict(arm.cost),
    }


def _difference_to_json(difference: Difference | None) -> Json:
    if difference is None:
        return None
    return {
        **asdict(difference.interval),
        "rows_that_differ": difference.rows,
        "told_apart": difference.told_apart,
    }
