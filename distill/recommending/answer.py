"""A recommendation for the terminal, as sentences and Rich tables, and for programs, as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from contract.manifest import Json
from distill.judging.bootstrap import DECISIVE_ROWS
from distill.recommending.evidence import TITLES
from distill.recommending.judgement import Difference, Judgement
from distill.recommending.leave_one_out import LEARNT, PICKS, RANDOM
from distill.recommending.ranking import AVERAGE
from distill.recommending.recommendation import Advice, Asked, Cost, Estimate, Evidence, Recommended
from distill.reporting.figures import count, duration

KEPT = "kept = student's score / teacher's score"
GAIN = "gain = points of kept above the middle one of all recipes tried"
RATIO = "distillation ratio = (student - plain student) / (teacher - plain student)"
COST = "cost = of distilling and finetuning, on the machines of those runs"
_WIDE = 120  # columns from which on all of the table fits


def recommendation_to_json(task: str, asked: Asked, advice: Sequence[Advice]) -> dict[str, Json]:
    """The whole recommendation; scores are shares, regrets in points."""
    return {
        "task": {"name": task, "id": asked.task_id, **asdict(asked.features)},
        "definitions": [KEPT, GAIN, RATIO, COST],
        "boards": [_advice_to_json(each) for each in advice],
    }


def recommendation_renderables(
    task: str, asked: Asked, advice: Sequence[Advice], width: int
) -> Iterator[RenderableType]:
    """What a terminal of that width shows, from top to bottom."""
    yield Text(task_line(task, asked))
    for each in advice:
        yield Text()
        yield Text(TITLES[each.board], style="bold")
        for sentence in verdict(each):
            yield Padding(Text(sentence), (0, 0, 0, 2))
        yield Padding(_table(each, is_wide=width >= _WIDE), (1, 0, 0, 2))
        near = "; ".join(map(_evidence_text, each.recipes[0].evidence))
        yield Padding(Text(f"Nearest runs of the first: {near}", "dim"), (1, 0, 0, 2))
    if width < _WIDE:
        yield Text("(a wider terminal, or --json, shows cost and tasks too)", style="dim")
    yield Text()
    yield Text(f"{KEPT}; {GAIN}; {RATIO}; {COST}.", style="dim")


def task_line(task: str, asked: Asked) -> str:
    """'snips: classes, 13,084 labelled rows, 7 classes, 9.1 words a text'."""
    found = asked.features
    said = [
        found.kind + (" of pairs" if found.pairs else ""),
        f"{count(found.rows)} labelled rows",
        *([f"{found.classes} classes"] if found.classes else []),
        *([f"{found.words:.1f} words a text"] if found.words is not None else []),
        *([f"balance {found.balance:.2f}"] if found.balance is not None else []),
    ]
    return f"{task}: {', '.join(said)}"


def verdict(advice: Advice) -> list[str]:
    """What is recommended by what, and how far that is to be trusted."""
    judgement = advice.judgement
    student, teacher = advice.context
    said = [
        _by_what(judgement),
        *_beside_chance(judgement),
        _margins(advice),
        f"Foretold for a student {student} taught by {teacher}: {advice.candidates} recipes were tried with these, "
        f"{count(advice.runs)} runs on {advice.tasks} tasks stand behind it; another student or teacher may differ.",
    ]
    if advice.context != judgement.context:
        said.append("It was judged with {}, taught by {}, not with these.".format(*judgement.context))
    if advice.other_shots:
        listed = ", ".join(map(str, advice.other_shots))
        said.append(f"Runs had {listed} labelled rows a class, unlike this task; --shots says how many it is to have.")
    if advice.knows_the_task:
        said.append("Runs on this very task are among the evidence.")
    return said


def _by_what(judgement: Judgement) -> str:
    if judgement.against_average is None:
        return (
            f"{judgement.judged} tasks have more than {PICKS} recipes to choose from, and judging a ranker takes "
            f"{DECISIVE_ROWS}. So these are the best on average."
        )
    learned, average = (judgement.mean("regret_of_five", name) for name in (LEARNT, AVERAGE))
    figures = (
        f"on tasks left out, the best of its five stays {learned:.2f} points behind the best recipe tried, that of the "
        f"five best on average {average:.2f}: a difference of {_with_interval(judgement.against_average)} over "
        f"{judgement.judged} tasks"
    )
    if judgement.uses == AVERAGE:
        return f"A learned ranker does not beat “best on average”: {figures}. So these are the best on average."
    return f"Ranked by “{judgement.uses}”, which beats “best on average”: {figures}."


def _beside_chance(judgement: Judgement) -> list[str]:
    found = judgement.against_random
    if found is None:
        return []
    told = "" if found.is_better else "; that is not told apart from chance"
    random = judgement.mean("regret_of_five", RANDOM)
    return [f"Five drawn at random stay {random:.2f} points behind: {_with_interval(found)} of these to them{told}."]


def _margins(advice: Advice) -> str:
    margins, level = advice.judgement.margins, advice.recipes[0].kept.means
    if margins.kept is None:
        return f"The figures in brackets are no intervals but a {level}."
    if margins.kept_coverage is None:
        return f"The figures in brackets are {level}s; how often they hold takes one more task to measure."
    gain = "" if margins.gain_coverage is None else f", of the gain {100 * margins.gain_coverage:.0f} %"
    return (
        f"The figures in brackets are {level}s; on tasks left out they held {100 * margins.kept_coverage:.0f} % of "
        f"what was kept{gain}."
    )


def _with_interval(found: Difference) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p {found.p:.2f},"


def _table(advice: Advice, *, is_wide: bool) -> Table:
    """On a narrow terminal without the last columns, and what is foretold on two lines."""
    ratios = any(each.distillation_ratio for each in advice.recipes)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("")
    shown.add_column("recipe", overflow="fold", ratio=1)
    for column in ("gain", "kept %", *(["ratio"] if ratios else []), *(["cost", "tasks"] if is_wide else [])):
        shown.add_column(column, justify="right", no_wrap=True)
    for each in advice.recipes:
        foretold = [_estimate(each.gain, 100, "+.1f"), _estimate(each.kept, 100, ".1f")]
        foretold += [_estimate(each.distillation_ratio, 1, ".2f")] if ratios else []
        cells = foretold if is_wide else [cell.replace(" (", "\n(") for cell in foretold]
        shown.add_row(
            str(each.place),
            Text(str(each.recipe)),
            *cells,
            *([cost_text(each.cost), str(each.tasks)] if is_wide else []),
        )
    return shown


def _estimate(found: Estimate | None, times: float, form: str) -> str:
    if found is None:
        return "unknown"
    return f"{times * found.value:{form}} ({times * found.low:{form}} to {times * found.high:{form}})"


def cost_text(cost: Cost) -> str:
    said = [f"{count(cost.updates)} updates"] if cost.updates is not None else []
    said += [duration(cost.seconds)] if cost.seconds is not None else []
    return ", ".join(said) or "unknown"


def _evidence_text(evidence: Evidence) -> str:
    run = evidence.run
    return (
        f"{run.task}{f' at {run.shots} a class' if run.shots else ''} ({evidence.unlikeness:.1f} unlike): kept "
        f"{100 * run.kept:.1f} % ({run.score:.3f} of {run.teacher_score:.3f})"
    )


def _advice_to_json(advice: Advice) -> dict[str, Json]:
    judgement, (student, teacher) = advice.judgement, advice.context
    return {
        "board": advice.board,
        "title": TITLES[advice.board],
        "verdict": verdict(advice),
        "ranked_by": judgement.uses,
        "beats_best_on_average": judgement.uses != AVERAGE,
        "judged_tasks": judgement.judged,
        "picks": PICKS,
        "regret_of_five": {
            "learned": judgement.mean("regret_of_five", LEARNT),
            "average": judgement.mean("regret_of_five", AVERAGE),
            "random": judgement.mean("regret_of_five", RANDOM),
            "learned_minus_average": _difference_to_json(judgement.against_average),
            "used_minus_random": _difference_to_json(judgement.against_random),
        },
        "coverage": asdict(judgement.margins),
        "student": student,
        "teacher": teacher,
        "runs": advice.runs,
        "tasks": advice.tasks,
        "candidates": advice.candidates,
        "knows_the_task": advice.knows_the_task,
        "recipes": [_recommended_to_json(each) for each in advice.recipes],
    }


def _recommended_to_json(found: Recommended) -> dict[str, Json]:
    return {
        "place": found.place,
        "words": str(found.recipe),
        "choices": {name: value for name, value in asdict(found.recipe).items() if value is not None},
        "kept": asdict(found.kept),
        "gain": asdict(found.gain),
        "distillation_ratio": None if found.distillation_ratio is None else asdict(found.distillation_ratio),
        "cost": asdict(found.cost),
        "tasks": found.tasks,
        "evidence": [_evidence_to_json(each) for each in found.evidence],
    }


def _evidence_to_json(evidence: Evidence) -> dict[str, Json]:
    run = evidence.run
    return {
        "run": run.run,
        "task": run.task,
        "shots": run.shots,
        "unlikeness": round(evidence.unlikeness, 4),
        "metric": run.metric,
        "score": run.score,
        "teacher_score": run.teacher_score,
        "plain_score": run.plain_score,
        "kept": run.kept,
        "distillation_ratio": run.distillation_ratio,
        "seed": run.seed,
    }


def _difference_to_json(found: Difference | None) -> Json:
    return None if found is None else asdict(found)
