"""The report of a run: report.json for programs, and report.html, one page that a busy person reads in a minute."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.judging.metrics import METRICS, METRICS_OF, Metric
from distill.reporting.figures import MISSING, count, duration, factor, milliseconds, percent, points, size
from distill.reporting.outcome import (
    AugmentationFacts,
    CurvePoint,
    RunReport,
    SelectionFacts,
    StudentFacts,
    TeacherFacts,
    ThresholdFacts,
    report_to_json,
)
from distill.reporting.page import Markup, facts, heading, joined, page, section, table, tag
from distill.reporting.plots import Dot, curve_plot, dot_plot

NO_ANSWERS = "its teacher has no answers of its own"


def write_report(report: RunReport, json_path: Path, page_path: Path) -> None:
    """Write both forms of the report; the paths are a draft's partial names."""
    written = json.dumps(report_to_json(report), ensure_ascii=False, indent=2, allow_nan=False)
    json_path.write_text(written + "\n", encoding="utf-8")
    page_path.write_text(render_report(report), encoding="utf-8")


def render_report(report: RunReport) -> str:
    """The page: what came out, from what, by what scores, with which curves and settings."""
    return page(
        f"{report.run} · Transferset",
        heading(f"run · arm {report.arm} · seed {report.seed}", report.run, *_verdict(report)),
        _tiles(report),
        _scores(report),
        _metrics(report),
        *_languages(report),
        _way(report),
        _curves(report),
        _transfer_set(report),
        _settings(report),
    )


def _verdict(report: RunReport) -> list[str]:
    """The report in one sentence."""
    task, kept = report.task, _kept(report)
    learned = (
        "distilled on a " + report.arm + " transfer set" if report.transfer_set else "trained without distillation"
    )
    name, metric = _decides(report)
    score = metric.text(report.metrics.finetuned[name])
    reached = [
        f"A student {learned} keeps ",
        tag("b", percent(kept)),
        f" of its teacher’s {metric.inline} on {task.name}",
    ]
    if kept is None:
        reached = [f"A student {learned} has ", tag("b", score), f" {metric.inline} on {task.name}"]
    return [
        *reached,
        ", is ",
        _compared(report.teacher.parameters / report.student.parameters, "smaller", "larger"),
        " and ",
        _compared(report.teacher.ms_per_utterance / report.ms_per_utterance, "faster", "slower")
        if report.ms_per_utterance and report.teacher.ms_per_utterance
        else "of unmeasured speed",
        ".",
    ]


def _tiles(report: RunReport) -> Markup:
    name, metric = _decides(report)
    teacher, final = report.teacher, report.metrics.finetuned[name]
    taught, kept = teacher.metrics.get(name), _kept(report)
    tiles = [
        (
            f"Student {metric.inline}",
            metric.text(final),
            NO_ANSWERS if taught is None else f"teacher {metric.text(taught)}",
        ),
        *(() if taught is None else [("Of the teacher kept", percent(kept), f"{points(final - taught)} points")]),
        (
            "Parameters",
            size(report.student.parameters),
            f"teacher {size(teacher.parameters)}",
        ),
        (
            "Time an utterance",
            milliseconds(report.ms_per_utterance),
            f"teacher {milliseconds(teacher.ms_per_utterance)}",
        ),
    ]
    shown = [tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note))) for name, value, note in tiles]
    return tag("dl", *shown, class_="tiles", aria_label="The run in four numbers")


def _scores(report: RunReport) -> Markup:
    """The two metrics that say most, after each phase and of the teacher."""
    task, teacher, student = report.task, report.teacher, report.student
    shown = METRICS_OF[task.kind][:2]
    name, metric = _decides(report)
    of_student = (count(student.parameters), milliseconds(report.ms_per_utterance))
    of_teacher = (count(teacher.parameters), milliseconds(teacher.ms_per_utterance))
    rows: list[tuple[str, ...]] = []
    dots: list[Dot] = []
    if report.metrics.distilled:
        rows.append(("Student, distilled", *_score_cells(report.metrics.distilled, shown), *of_student))
        dots.append(Dot("Student, distilled", report.metrics.distilled[name]))
    rows.append(("Student, finetuned", *_score_cells(report.metrics.finetuned, shown), *of_student))
    dots.append(Dot("Student, finetuned", report.metrics.finetuned[name], "best"))
    marked = len(rows) - 1
    for number, member in enumerate(teacher.members, 1):
        label = f"Teacher {number}, {member.model}"
        rows.append((label, *_score_cells(member.metrics, shown), count(member.parameters), MISSING))
        dots.append(Dot(label, member.metrics[name], "teacher"))
    together = "Teachers together" if teacher.members else "Teacher"
    rows.append((together, *_score_cells(teacher.metrics, shown), *of_teacher))
    if name in teacher.metrics:
        dots.append(Dot(together, teacher.metrics[name], "teacher"))

    columns = ("", *(METRICS[each].title for each in shown), "Agreement", "Parameters", "Time an utterance")
    where = f"{count(task.test_rows)} rows of split {task.test_split}, {_what(report)}"
    described = ", ".join(f"{dot.label} {metric.text(dot.value)}" for dot in dots)
    plot = dot_plot(dots, f"{metric.title}: {described}", text=metric.text)
    caption = f"{metric.title} on {where}. " + (
        f"Agreement is {_agreement(report)}."
        if teacher.metrics
        else "The teacher was not finetuned and has no answers of its own: the student learnt what it makes of texts."
    )
    if teacher.members:
        caption += " The teachers’ probabilities are averaged."
    if report.threshold:
        caption += " " + _threshold(report.threshold)
    if task.unseen_labels:
        caption += f" Labels that stand in the test only: {count(task.unseen_labels)}; their rows count as wrong."
    if task.unseen_slots:
        caption += f" Kinds of slots that stand in the test only: {count(task.unseen_slots)}; they count as missed."
    scores = table(f"Scores on {where}", columns, rows, marked=marked)
    return section("Scores", tag("figure", plot), scores, tag("p", caption, class_="quiet"))


def _threshold(found: ThresholdFacts) -> str:
    return (
        f"A text whose highest probability is below {found.value:.4f}, chosen on split {found.split}, is out of scope: "
        f"{percent(found.in_scope)} of the rows in scope stay, {percent(found.out_of_scope)} of the others are caught."
    )


def _what(report: RunReport) -> str:
    task = report.task
    classes = f"{count(task.classes)} classes of {task.target}"
    said = {"regression": f"amounts of {task.target}", "slots": "slots", "joint": f"{classes} and slots"}
    return said.get(task.kind, classes)


def _agreement(report: RunReport) -> str:
    if report.task.kind == "regression":
        return "Pearson’s correlation of what the student and the teacher say"
    return "how often the student says what the teacher says"


def _metrics(report: RunReport) -> Markup:
    """Every metric with its interval and its formula."""
    of_teacher, found = report.teacher.metrics, report.metrics
    rows = [
        (
            joined(METRICS[name].title, tag("small", METRICS[name].formula)),
            _with_interval(METRICS[name], found.finetuned.get(name), found.intervals.get(name)),
            _with_interval(METRICS[name], of_teacher.get(name), found.teacher_intervals.get(name)),
        )
        for name in METRICS_OF[report.task.kind]
        if name in found.finetuned
    ]
    caption = (
        f"Below each the 95 % interval of a bootstrap over the test rows: how far other rows would move the score. "
        f"{_decides(report)[1].title} decides a comparison."
    )
    columns = ("Metric", "Student, finetuned", "Teacher")
    return section("Metrics", table("Metrics and their formulas", columns, rows), tag("p", caption, class_="quiet"))


def _with_interval(metric: Metric, value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or not interval:
        return metric.text(value)
    low, high = map(metric.text, interval)
    return joined(metric.text(value), tag("small", f"{low} to {high}"))


def _languages(report: RunReport) -> list[Markup]:
    """The metric that decides, by language, where the test has several."""
    if not report.metrics.by_language:
        return []
    metric = _decides(report)[1]
    rows = [
        (each.lang or "not said", count(each.rows), metric.text(each.student), metric.text(each.teacher))
        for each in report.metrics.by_language
    ]
    columns = ("Language", "Rows", f"Student, {metric.inline}", "Teacher")
    return [section("By language", table(f"{metric.title} by language", columns, rows))]


def _way(report: RunReport) -> Markup:
    """The lineage, from the run back to the task; what stands on one step was used side by side."""
    task, student, teacher, chosen = report.task, report.student, report.teacher, report.transfer_set
    shots = f"{task.shots} labelled rows a class" if task.shots else "all labelled rows"
    run = _stop("Run", report.run, f"{_student(student)}, seed {report.seed}")
    source = _stop("Transfer set", chosen.name, f"retriever {chosen.retriever}", chosen.id) if chosen else ""
    teaching = _stop("Teacher", teacher.model, _teacher(teacher), teacher.id)
    gold = _stop("Task", task.name, f"{shots}, {count(task.train_rows)} to train", task.id)
    steps = [tag("li", run), tag("li", source, teaching), tag("li", gold)]
    return section("Where it comes from", tag("ol", *steps, class_="way"))


def _teacher(teacher: TeacherFacts) -> str:
    """How large it is, whether it has learnt the task, and what it was adapted on before."""
    said = [f"{size(teacher.parameters)} parameters", *([] if teacher.metrics else ["not finetuned"])]
    adapted = teacher.adapted
    if adapted is not None:
        said.append(
            f"adapted on {count(adapted.texts)} texts in {count(adapted.updates)} updates (its head for masked tokens "
            f"was {adapted.head}; {count(adapted.held_out)} held-out texts were left out)"
        )
    return ", ".join(said)


def _student(student: StudentFacts) -> str:
    """What it is, in a few words, and how much is left of its vocabulary."""
    shape = f"{student.layers} layers × {student.width}"
    what = {
        "scratch": f"{shape}, from scratch",
        "pretrained": f"{shape}, pretrained",
        "static": f"static embeddings of {student.width} numbers",
    }.get(student.origin, f"{shape}, from the teacher’s layers ({student.origin})")
    trimmed = student.vocabulary
    if trimmed is None:
        return what
    return (
        f"{what}, {count(trimmed.pieces)} of {count(trimmed.of)} pieces ({size(trimmed.parameters_saved)} "
        f"parameters saved, {percent(trimmed.changed)} of the test’s tokens cut otherwise)"
    )


def _stop(kind: str, name: str, note: str, id_: str = "") -> Markup:
    return tag("div", tag("span", kind), tag("b", name), tag("span", note), tag("code", id_) if id_ else "")


def _curves(report: RunReport) -> Markup:
    adapted = report.teacher.adapted
    plots = [
        _curve("Adapting the teacher", adapted.updates, adapted.curve) if adapted else None,
        _curve("Distilling", report.updates.distill, report.curves.distill),
        _curve("Finetuning", report.updates.finetune, report.curves.finetune),
    ]
    return section("Loss", tag("div", *(plot for plot in plots if plot), class_="pair"))


def _curve(name: str, updates: int, curve: tuple[CurvePoint, ...]) -> Markup | None:
    if not updates:
        return None
    pairs = [(point.update, point.loss) for point in curve]
    ends = f" from {pairs[0][1]:.3g} to {pairs[-1][1]:.3g}" if pairs else ""
    plot = curve_plot(pairs, f"Loss while {name.lower()}, {count(updates)} updates{ends}")
    return tag("figure", tag("h3", f"{name}, {count(updates)} updates"), plot)


def _transfer_set(report: RunReport) -> Markup:
    chosen, spent = report.transfer_set, report.seconds
    if chosen:
        of_set = facts(
            [
                ("Texts", count(chosen.texts)),
                ("Utterances", count(chosen.utterances)),
                ("Neighbours", count(chosen.neighbours)),
                ("Generic share", percent(chosen.generic_share)),
                *_copies(chosen.augmentation),
                *_selected(chosen.selection),
            ]
        )
    else:
        of_set = tag("p", "None: this student learned from the task’s gold labels alone. Arms are measured against it.")
    times = [("Train the teacher", spent.teacher), ("Label the texts", spent.labels), ("Distil", spent.distill)]
    spent_on = [*(times if chosen else times[:1]), ("Finetune", spent.finetune)]
    shown = facts([(what, duration(seconds) if seconds else "was there already") for what, seconds in spent_on])
    return tag("div", section("Transfer set", of_set), section("Time", shown), class_="pair")


def _copies(made: AugmentationFacts | None) -> list[tuple[str, str]]:
    """What augmentation made, and why the rest is not there."""
    if made is None:
        return []
    rest = [(f"Not made: {reason.replace('_', ' ')}", count(rows)) for reason, rows in made.dropped.items()]
    return [("Copies", count(made.texts)), ("Generations of copies", count(made.generations)), *rest]


def _selected(chosen: SelectionFacts | None) -> list[tuple[str, str]]:
    """How many of the texts are learnt, and why the others are not, in one line."""
    if chosen is None:
        return []
    said = [f"{reason.replace('_', ' ')}: {count(rows)}" for reason, rows in chosen.dropped.items()]
    if chosen.anew:
        anew = chosen.anew
        said.append(
            f"chosen anew {count(anew.choices)} times in {duration(anew.seconds)}, looking at {count(anew.texts)}"
        )
    return [("Learnt", f"{count(chosen.texts)} of {count(chosen.asked)} ({'; '.join(said) or 'all'})")]


def _settings(report: RunReport) -> Markup:
    written = json.dumps(report_to_json(report)["settings"], ensure_ascii=False, indent=2)
    return section(
        "Settings", tag("details", tag("summary", "The whole configuration of this run"), tag("pre", written))
    )


def _score_cells(scores: Mapping[str, float], shown: Sequence[str]) -> tuple[str, ...]:
    """The metrics shown, and the agreement, which a teacher has not."""
    return (*(METRICS[name].text(scores.get(name)) for name in shown), percent(scores.get("agreement")))


def _decides(report: RunReport) -> tuple[str, Metric]:
    """The metric that decides."""
    name = METRICS_OF[report.task.kind][0]
    return name, METRICS[name]


def _kept(report: RunReport) -> float | None:
    name, _ = _decides(report)
    teacher = report.teacher.metrics.get(name, 0.0)
    return report.metrics.finetuned[name] / teacher if teacher > 0 else None


def _compared(ratio: float, more: str, less: str) -> Markup:
    """52 -> '52× smaller', 0.5 -> '2.0× larger'."""
    return joined(tag("b", factor(ratio)), " ", more) if ratio >= 1 else joined(factor(1 / ratio), " ", less)
