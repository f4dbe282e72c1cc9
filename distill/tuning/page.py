"""A study as one self-contained HTML page: what the test says of the best settings, and how the search went."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from contract.manifest import Json
from distill.judging.metrics import METRICS, Metric
from distill.reporting.figures import MISSING, count, duration, percent, points
from distill.reporting.page import Markup, facts, heading, page, section, table, tag
from distill.reporting.plots import (
    Axis,
    Dot,
    Mark,
    MarkRole,
    Role,
    Thread,
    ThreadRole,
    dot_plot,
    nice_ticks,
    parallel_plot,
    scatter_plot,
)
from distill.tuning.outcome import ArmOnTest, StudyReport, Trial

SHOWN = 10  # trials in the table
FEW = 30  # complete trials, below which importances are mostly noise


def render_study(study: StudyReport) -> str:
    """The page."""
    return page(
        f"{study.study} · Transferset",
        heading(f"study · task {study.task}", study.study, verdict(study)),
        _tiles(study),
        _on_test(study),
        _history(study),
        _best_settings(study),
        _importances(study),
        _parallel(study),
        _slices(study),
        _trials(study),
        _notes(study),
        section("RUN.toml with the best settings", tag("pre", study.best_toml)),
    )


def verdict(study: StudyReport) -> str:
    """The study in a sentence or two; a search that gained nothing says so."""
    metric, found = METRICS[study.metric], study.on_test
    searched = f"{len(study.trials)} trials"
    if study.gained_nothing:
        return (
            f"No setting of {searched} beat RUN.toml’s own settings on the validation rows. Their {metric.inline} is "
            f"{metric.text(found.best.score)} on the test."
        )
    both = f"{metric.text(found.best.score)} on the test, RUN.toml’s own {metric.text(found.default.score)}"
    by, low, high = (_difference(metric, value) for value in found.difference)
    interval = f"{by} (95 % interval {low} to {high})"
    if not found.told_apart:
        return (
            f"The best of {searched} is no better than RUN.toml’s own settings as far as the test can tell: "
            f"{metric.inline} {both}, a difference of {interval}."
        )
    gained = (found.difference[0] < 0) == metric.is_error
    word = "better" if gained else "worse"
    return f"The best of {searched} is {word} than RUN.toml’s own settings: {metric.inline} {both}, {interval}."


def _difference(metric: Metric, value: float) -> str:
    return points(value) if metric.is_share else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _tiles(study: StudyReport) -> Markup:
    metric = METRICS[study.metric]
    pruned, failed = len(study.of("pruned")), len(study.of("failed"))
    tiles = [
        (f"Best {metric.inline}", metric.text(study.best_trial.value), f"on {study.judged_on}, trial {study.best}"),
        ("Trials", count(len(study.trials)), f"{pruned} given up early, {failed} failed"),
        ("Updates, all trials", count(study.updates), f"{count(_updates_of_one(study))} in one whole run"),
        ("Time, all trials", duration(study.seconds), "teacher and labels not counted"),
    ]
    shown = [tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note))) for name, value, note in tiles]
    return tag("dl", *shown, class_="tiles", aria_label="The study in four numbers")


def _updates_of_one(study: StudyReport) -> int:
    return max((trial.updates for trial in study.of("complete")), default=0)


def _on_test(study: StudyReport) -> Markup:
    metric, found = METRICS[study.metric], study.on_test
    role: Role = "best" if found.told_apart and _is_better(metric, found.best.score, found.default.score) else "arm"
    arms: list[tuple[str, ArmOnTest, Role]] = [("RUN.toml’s own settings", found.default, "plain")]
    if not study.gained_nothing:
        arms.append(("The best of the study", found.best, role))
    dots = [Dot(name, arm.score, role, (arm.low, arm.high), arm.by_seed) for name, arm, role in arms]
    described = f"{metric.title}: " + ", ".join(f"{dot.label} {metric.text(dot.value)}" for dot in dots)
    caption = (
        f"{metric.title} on {count(found.rows)} rows of split {found.split}, which no trial saw. Dots are means over "
        f"the seeds {', '.join(map(str, found.seeds))}, rings single ones, bars 95 % intervals over test rows."
    )
    return section(
        "On the test, once",
        tag("figure", dot_plot(dots, described, text=metric.text), tag("figcaption", caption)),
        tag(
            "p",
            f"Both were trained alike here, but the search took {len(study.trials)} trials, {count(study.updates)} "
            f"updates and {duration(study.seconds)}; RUN.toml’s own settings took none.",
        ),
    )


def _history(study: StudyReport) -> Markup:
    metric = METRICS[study.metric]
    last = max(1, len(study.trials) - 1)
    marks = [
        Mark(trial.number / last, trial.value, _role(trial, study)) for trial in study.trials if trial.value is not None
    ]
    line, best = [], None
    for trial in study.of("complete"):
        if trial.value is not None and (best is None or _is_better(metric, trial.value, best)):
            if best is not None:
                line.append((trial.number / last, best))
            line.append((trial.number / last, trial.value))
            best = trial.value
    if best is not None:
        line.append((1.0, best))
    described = f"{metric.title} by trial, best {metric.text(best)} in trial {study.best}"
    plot = scatter_plot(marks, described, below=[(0.0, "trial 0"), (1.0, str(last))], line=line, text=metric.text)
    caption = (
        f"{metric.title} on {study.judged_on} ({count(study.judged_rows)} rows). Dots are whole trials, rings trials "
        "that were given up, at the last value seen; the line is the best so far."
    )
    return section("How the search went", tag("figure", plot, tag("figcaption", caption)))


def _role(trial: Trial, study: StudyReport) -> MarkRole:
    if trial.number == study.best:
        return "best"
    return "seed" if trial.state == "pruned" else "plain" if trial.number == study.default_trial else "arm"


def _is_better(metric: Metric, one: float, other: float) -> bool:
    return one < other if metric.is_error else one > other


def _best_settings(study: StudyReport) -> Markup:
    rows = [
        (key, text_of(study.best_trial.params[key]) if key in study.best_trial.params else MISSING,
         text_of(_setting(study.settings, key)))
        for key in sorted(study.space)
    ]  # fmt: skip
    return section(
        "The best settings",
        table("The best settings beside RUN.toml's own", ("Setting", "Best", "RUN.toml"), rows),
        tag(
            "p",
            f"{MISSING}: left at its default; in the best trial, where it means nothing beside the others.",
            class_="quiet",
        ),
    )


def _setting(settings: Mapping[str, Json], key: str) -> Json:
    value: Json = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _importances(study: StudyReport) -> Markup:
    complete = len(study.of("complete"))
    title = "What mattered"
    if study.importances is None:
        said = f"{complete} whole trials are too few, or too alike, to say which settings mattered."
        return section(title, tag("p", said, class_="quiet"))
    dots = [Dot(key, share) for key, share in study.importances.items()]
    described = "Importance: " + ", ".join(f"{dot.label} {percent(dot.value)}" for dot in dots)
    caption = "The share of the value’s variance over the space that each setting explains (fANOVA)."
    caveat = f" Of {complete} whole trials this is mostly noise: take it as a hint." if complete < FEW else ""
    given_up = " Trials given up do not count, so that bad regions weigh little." if study.of("pruned") else ""
    return section(
        title,
        tag("figure", dot_plot(dots, described, references=[0.0]), tag("figcaption", caption + caveat + given_up)),
    )


def _parallel(study: StudyReport) -> Markup:
    """Every whole trial as a line through all its settings, down to what it reached."""
    metric, complete = METRICS[study.metric], [trial for trial in study.of("complete") if trial.value is not None]
    keys = [*(study.importances or {})]
    keys += sorted(set(study.space) - set(keys))
    scales = {key: _scale(study.space[key]) for key in keys}
    values = [trial.value for trial in complete if trial.value is not None]
    ticks = nice_ticks(min(values), max(values))
    span = ticks[-1] - ticks[0]
    axes = [Axis(key, below) for key, (_, below) in scales.items()]
    axes.append(Axis(metric.title, [((tick - ticks[0]) / span, metric.text(tick)) for tick in ticks]))
    good = _good(complete, metric)
    threads = [
        Thread(
            (*(place(trial.params[key]) if key in trial.params else None for key, (place, _) in scales.items()),
             ((trial.value or 0.0) - ticks[0]) / span),
            _thread_role(trial, study, good),
        )
        for trial in complete
    ]  # fmt: skip
    caption = (
        f"A line a whole trial, from setting to setting down to its {metric.inline}; a gap is a setting that means "
        "nothing there. Strong lines are the best quarter, the thick one is the best; RUN.toml’s own settings are "
        "dashed."
    )
    described = f"{len(complete)} whole trials through {len(keys)} settings to their {metric.inline}"
    plot = parallel_plot(axes, threads, described)
    return section("All settings at once", tag("figure", plot, tag("figcaption", caption)))


def _good(trials: Sequence[Trial], metric: Metric) -> set[int]:
    """The best quarter, by number."""
    sign = 1 if metric.is_error else -1
    ranked = sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    return {trial.number for trial in ranked[: -(-len(ranked) // 4)]}


def _thread_role(trial: Trial, study: StudyReport, good: set[int]) -> ThreadRole:
    if trial.number == study.best:
        return "best"
    if trial.number == study.default_trial:
        return "plain"
    return "good" if trial.number in good else "arm"


def _slices(study: StudyReport) -> Markup:
    parts = [_slice(study, key, spec) for key, spec in study.space.items()]
    return section(
        "Setting by setting",
        tag("div", *parts, class_="pair"),
        tag("p", "Every whole trial, and as rings those that were given up.", class_="quiet"),
    )


def _slice(study: StudyReport, key: str, spec: Mapping[str, Json]) -> Markup:
    metric = METRICS[study.metric]
    place, below = _scale(spec)
    marks = [
        Mark(place(trial.params[key]), trial.value, _role(trial, study))
        for trial in study.trials
        if trial.value is not None and key in trial.params
    ]
    if not marks:
        return tag("figure", tag("h3", key), tag("p", "Never tried.", class_="quiet"))
    described = f"{metric.title} by {key}, {len(marks)} trials"
    return tag("figure", tag("h3", key), scatter_plot(marks, described, below=below, text=metric.text))


def _scale(spec: Mapping[str, Json]) -> tuple[Callable[[Json], float], Sequence[tuple[float, str]]]:
    """Where a value stands across, from 0 to 1, and what is written below."""
    if "choices" in spec:
        names = [text_of(choice) for choice in spec["choices"]]
        width = max(1, len(names))
        return (
            lambda value: (names.index(text_of(value)) + 0.5) / width,
            [((number + 0.5) / width, name) for number, name in enumerate(names)],
        )
    low, high = float(spec["low"]), float(spec["high"])
    ends = [(0.0, text_of(spec["low"])), (1.0, text_of(spec["high"]))]
    if spec.get("log"):
        return lambda value: math.log(value / low) / math.log(high / low), ends
    return lambda value: (value - low) / (high - low), ends


def _trials(study: StudyReport) -> Markup:
    metric = METRICS[study.metric]
    sign = 1 if metric.is_error else -1
    complete = sorted(study.of("complete"), key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    keys = sorted(study.space)
    rows = [
        (
            f"{trial.number}" + (" (RUN.toml’s own)" if trial.number == study.default_trial else ""),
            metric.text(trial.value),
            count(trial.updates),
            duration(trial.seconds),
            *(text_of(trial.params[key]) if key in trial.params else MISSING for key in keys),
        )
        for trial in complete[:SHOWN]
    ]
    columns = ("Trial", metric.title, "Updates", "Time", *(key.split(".")[-1] for key in keys))
    shown = f"The {len(rows)} best whole trials"
    return section(shown, table(shown, columns, rows, marked=0 if rows else None))


def _notes(study: StudyReport) -> Markup:
    failed = study.of("failed")
    notes = [
        f"The best value on {study.judged_on} is the highest of many, so that it flatters; the test’s does not.",
        f"Sampler {study.sampler} (seed {study.seed}; the first ten trials are drawn at random), "
        f"pruner {study.pruner}.",
    ]
    if study.default_trial is None:
        notes.append("RUN.toml’s own settings lie outside the space, so that no trial tried them.")
    if len(study.trials) < study.wanted:
        notes.append(f"The time ran out after {len(study.trials)} of {study.wanted} trials.")
    notes += [f"Trial {trial.number} failed: {trial.reason}" for trial in failed[:5]]
    pairs = [("Judged on", study.judged_on), ("Rows to judge by", count(study.judged_rows)),
             ("Trials", count(len(study.trials))), ("Updates, all trials", count(study.updates)),
             ("Time, all trials", duration(study.seconds))]  # fmt: skip
    return section("Cost and conditions", facts(pairs), tag("ul", *(tag("li", n) for n in notes), class_="notes"))


def text_of(value: Json) -> str:
    """A setting as people read it: numbers to three digits."""
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
