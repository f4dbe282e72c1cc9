"""The page of an experiment: its question, the answer, the plots that show it, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from contract.manifest import write_whole
from distill.comparing.comparison import Arm
from distill.comparing.page import group_section
from distill.reporting.figures import count, duration, signed
from distill.reporting.page import Markup, facts, heading, page, section, tag
from distill.reporting.plots import Dot, Mark, Role, dot_plot, scatter_plot
from experiments.answer import Answered, Duel, answers_of, sentence_of
from experiments.compared import Compared, ComparedPart
from experiments.experiment import Sweep

_FEW = 2  # points of a sweep, below which there is no line
_ROLES: dict[str, Role] = {"better": "best", "worse": "plain", "not told apart": "arm"}


def write_page(compared: Compared, path: Path, more: Sequence[Markup] = ()) -> None:
    """Write it whole or not at all; `more` are sections of the experiment's own."""
    write_whole(path, rendered(compared, more).encode())


def rendered(compared: Compared, more: Sequence[Markup] = ()) -> str:
    """The page as HTML."""
    experiment, answered = compared.experiment, answers_of(compared)
    lead, *others = [sentence_of(each) for each in answered] or ["It describes; it sets out to show nothing."]
    return page(
        f"{experiment.name} · Transferset",
        heading(f"experiment · {experiment.name}", experiment.question, lead),
        *([tag("ul", *(tag("li", other) for other in others))] if others else []),
        *(_duels(each) for each in answered if each.duels),
        *_sweeps(compared),
        *more,
        _made(compared),
        *(group_section(part.deciding, compared.deciding) for part in compared.parts),
    )


def _duels(answered: Answered) -> Markup:
    """A row a rival and part: the difference with its interval."""
    arm = answered.claim.arm
    dots = [
        Dot(
            f"{duel.part}: {arm} beside {duel.than}",
            _points(duel, duel.interval.value),
            _ROLES[duel.verdict],
            (_points(duel, duel.interval.low), _points(duel, duel.interval.high)),
            note=f"({duel.verdict})",
        )
        for duel in answered.duels
    ]
    described = "; ".join(f"{dot.label} {signed(dot.value)} {dot.note}" for dot in dots)
    caption = (
        f"Points that {arm} gains, with the 95 % interval over test rows. Right of the dashed line it is better. "
        "Coloured green only where the interval does not touch the line and the seeds agree."
    )
    plot = dot_plot(dots, described, references=[0.0], text=signed)
    return section(f"Is {arm} better?", tag("figure", plot, tag("figcaption", caption)))


def _points(duel: Duel, value: float) -> float:
    """Higher is better, whatever the metric; never a zero with a sign."""
    return round(100 * (-value if duel.metric.is_error else value), 3) + 0.0


def _sweeps(compared: Compared) -> Iterator[Markup]:
    by_name = {part.name: part for part in compared.parts}
    shown = [_sweep(sweep, by_name[sweep.part]) for sweep in compared.experiment.sweeps if sweep.part in by_name]
    drawn = [each for each in shown if each]
    if drawn:
        yield tag("div", *drawn, class_="pair")


def _sweep(sweep: Sweep, part: ComparedPart) -> Markup:
    """A line through the means of its arms; rings are seeds."""
    arms = {arm.name: arm for arm in part.deciding.arms}
    there = [(label, arms[name]) for name, label in sweep.arms.items() if name in arms]
    if len(there) < _FEW:
        return Markup()
    places = [number / (len(there) - 1) for number in range(len(there))]
    means = [(x, fmean(arm.by_seed)) for x, (_, arm) in zip(places, there, strict=True)]
    marks = [Mark(x, y) for x, y in means]
    marks += [Mark(x, score, "seed") for x, (_, arm) in zip(places, there, strict=True) for score in _seeds(arm)]
    below = [(x, label) for x, (label, _) in zip(places, there, strict=True)]
    metric = part.deciding.metric
    described = "; ".join(f"{label} {metric.text(fmean(arm.by_seed))}" for label, arm in there)
    plot = scatter_plot(marks, f"{sweep.title}: {described}", below=below, line=means, text=metric.text)
    caption = f"{metric.title}; the line goes through means, rings are seeds."
    return section(f"{sweep.title} · {part.name}", tag("figure", plot, tag("figcaption", caption)))


def _seeds(arm: Arm) -> tuple[float, ...]:
    return arm.by_seed if len(arm.by_seed) > 1 else ()


def _made(compared: Compared) -> Markup:
    """The command, the hours, the commits, and what was cut."""
    experiment, results = compared.experiment, compared.results
    seconds = [took for took in results["seconds"].to_pylist() if took is not None]
    told = [
        ("Runs", f"{count(results.num_rows)} of {count(len(experiment.runs))}"),
        ("Time of all runs, one core each", duration(sum(seconds)) if seconds else "not known"),
        ("Commits", compared.commits),
    ]
    cut = [tag("h3", "What was cut"), tag("ul", *(tag("li", sentence) for sentence in experiment.cut))]
    return section("How it was made", tag("pre", experiment.command), facts(told), *(cut if experiment.cut else ()))
