"""Paper A, domain by domain: does generic text help more where the task's text is more like it?

Of a task with many domains: how near each domain's utterances are to the generic text, what each mix gains on its test
rows, and how both go together. domains.parquet has a row a part and domain, correlations.parquet one a pair of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa

from contract.artifact import write_parquet
from contract.store import Store
from contract.task import Task, read_task
from distill.comparing.comparison import ComparedRun, Group
from distill.config import read_config
from distill.reporting.figures import count, signed
from distill.reporting.outcome import NO_DISTILLATION
from distill.reporting.page import Markup, section, table, tag
from distill.reporting.plots import Mark, scatter_plot
from experiments.compared import Compared, ComparedPart
from experiments.correlation import Correlation, correlate
from experiments.experiment import PlannedRun
from experiments.mixing import SHARES, arm_of
from experiments.similarity import MEASURES, Encode, Generic, Similarity
from service.plan import open_transfer_set

FEWEST_DOMAINS = 10  # below, a rank correlation says nothing
UTTERANCES = 150  # of each domain, so that no measure follows its size
GENERIC_TEXTS = 5000
OWN_TEXT = "own text for generic"  # the gain of task text over generic text alone
_GENERIC = arm_of("taught", 100)


@dataclass(frozen=True)
class Domain:
    """A domain of a part: its similarity to the generic text, and the gains by their names, in points."""

    part: str
    domain: str
    test_rows: int
    similarity: Similarity
    gains: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """How a measure goes with a gain."""

    part: str
    gain: str
    measure: str
    correlation: Correlation


def write_domains(
    store: Store, compared: Compared, folder: Path, encode: Encode, *, fewest: int = FEWEST_DOMAINS
) -> Markup:
    """Measure, write both tables, and give the section of the page; nothing where no part has the runs for it."""
    domains = list(domains_of(store, compared, encode, fewest=fewest))
    if not domains:
        return Markup()
    found = correlations_of(domains)
    write_parquet(pa.Table.from_pylist([_row(domain) for domain in domains]), folder / "domains.parquet")
    write_parquet(pa.Table.from_pylist([_pair(each) for each in found]), folder / "correlations.parquet")
    return _section(domains, found) if found else Markup()


def domains_of(store: Store, compared: Compared, encode: Encode, *, fewest: int) -> Iterator[Domain]:
    """Those of every part that has many, and runs with generic text alone and without distillation."""
    near: dict[str, Mapping[str, Similarity]] = {}
    planned = {run.name: run for run in compared.experiment.runs}
    for part in compared.parts:
        arms = {arm.name: arm for arm in part.deciding.arms}
        if not {_GENERIC, NO_DISTILLATION} <= arms.keys():
            continue
        run = planned[arms[_GENERIC].runs[0]]
        task = _task_of(run)
        tested = domains_of_rows(task, part.deciding.runs[0].predictions.ids)
        if len(tested) < fewest:
            continue
        if task.id not in near:
            near[task.id] = _similarities(store, run, task, encode)
        gains = _gains(part, tested)
        for domain, rows in tested.items():
            yield Domain(part.name, domain, len(rows), near[task.id][domain], gains[domain])


def domains_of_rows(task: Task, ids: Sequence[str]) -> dict[str, list[int]]:
    """Which of these rows are of each domain, by name; rows without one are of none."""
    known = dict(zip(task.table["id"].to_pylist(), task.table["domain"].to_pylist(), strict=True))
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(ids):
        if (domain := known.get(name)) is not None:
            rows[domain].append(row)
    return dict(sorted(rows.items()))


def correlations_of(domains: Sequence[Domain]) -> list[Found]:
    """Every measure with every gain, part by part."""
    by_part: dict[str, list[Domain]] = defaultdict(list)
    for domain in domains:
        by_part[domain.part].append(domain)
    return [
        Found(part, gain, measure, correlation)
        for part, of_part in by_part.items()
        for gain in of_part[0].gains
        for measure in MEASURES
        if (correlation := _correlation(of_part, gain, measure)) is not None
    ]


def _correlation(domains: Sequence[Domain], gain: str, measure: str) -> Correlation | None:
    nearness = [float(getattr(domain.similarity, measure)) for domain in domains]
    return correlate(nearness, [domain.gains[gain] for domain in domains])


def _similarities(store: Store, run: PlannedRun, task: Task, encode: Encode) -> dict[str, Similarity]:
    """Of each domain's training utterances to what the generic arm learnt from."""
    assert run.transfer_set is not None
    batches = open_transfer_set(store, run.transfer_set).batches(columns=["neighbours"])
    passages = [neighbour["text"] for batch in batches for row in batch.to_pylist() for neighbour in row["neighbours"]]
    draw = np.random.default_rng(0)
    generic = Generic(_some(passages, GENERIC_TEXTS, draw), encode)
    rows = task.split("train")
    texts: dict[str, list[str]] = defaultdict(list)
    for text, domain in zip(rows["text"].to_pylist(), rows["domain"].to_pylist(), strict=True):
        if domain is not None:
            texts[domain].append(text)
    return {domain: generic.similarity(_some(texts[domain], UTTERANCES, draw)) for domain in sorted(texts)}


def _some(texts: Sequence[str], most: int, draw: np.random.Generator) -> list[str]:
    if len(texts) <= most:
        return list(texts)
    return [texts[at] for at in sorted(draw.choice(len(texts), most, replace=False).tolist())]


def _gains(part: ComparedPart, tested: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    """By domain: what each mix gains over no distillation, and what own text gains over generic text, in points."""
    group = part.deciding
    scores = {arm.name: partial(_score, group, arm.name) for arm in group.arms}
    gains: dict[str, dict[str, float]] = {}
    for domain, rows in tested.items():
        plain = scores[NO_DISTILLATION](rows)
        shares = {f"generic {share} %": arm_of("taught", share) for share in SHARES}
        gains[domain] = {gain: 100 * (scores[arm](rows) - plain) for gain, arm in shares.items() if arm in scores}
        if f"generic {SHARES[-1]} %" in gains[domain]:
            own, generic = (gains[domain][f"generic {share} %"] for share in (SHARES[-1], SHARES[0]))
            gains[domain][OWN_TEXT] = own - generic
    return gains


def _score(group: Group, arm: str, rows: Sequence[int]) -> float:
    """Of an arm on these rows, the mean over seeds; higher is better, whatever the metric."""
    sign = -1 if group.metric.is_error else 1
    return sign * fmean(_of_rows(group, run, rows) for run in group.runs if run.arm == arm)


def _of_rows(group: Group, run: ComparedRun, rows: Sequence[int]) -> float:
    weights = np.zeros((1, run.predictions.student.rows))
    weights[0, rows] = 1
    return float(group.metric.measure(run.predictions.student, weights)[0])


def _task_of(run: PlannedRun) -> Task:
    settings = read_config(*run.config).task
    if settings.skip_bad_rows:
        return read_task(settings.path, columns=settings.columns, on_bad_row=lambda _: None)
    return read_task(settings.path, columns=settings.columns)


def _row(domain: Domain) -> dict[str, object]:
    gains = {f"gain: {gain}": value for gain, value in domain.gains.items()}
    told = {"part": domain.part, "domain": domain.domain, "test_rows": domain.test_rows}
    return {**told, **asdict(domain.similarity), **gains}


def _pair(found: Found) -> dict[str, object]:
    return {"part": found.part, "gain": found.gain, "measure": found.measure, **asdict(found.correlation)}


def _cells(found: Found) -> tuple[str, ...]:
    tied = found.correlation
    said = (signed_hundredths(tied.rho), _interval(tied), f"{tied.p:.3f}", "yes" if tied.is_shown else "no")
    return (f"{found.part}: {found.gain}", found.measure, *said)


def _section(domains: Sequence[Domain], found: Sequence[Found]) -> Markup:
    """What was found in a sentence, one plot, and all correlations."""
    parts = list(dict.fromkeys(domain.part for domain in domains))
    columns = ("Gain", "Measure", "Spearman", "95 %", "p", "Shown")
    return section(
        "Is the gain larger where the texts are alike?",
        tag("p", _sentence(found)),
        *(_plot([domain for domain in domains if domain.part == part], part) for part in parts),
        table("Rank correlations of similarity and gain over domains", columns, [_cells(each) for each in found]),
    )


def _sentence(found: Sequence[Found]) -> str:
    shown = [each for each in found if each.correlation.is_shown]
    said = f"{len(shown)} of {len(found)} correlations over {count(found[0].correlation.points)} domains are shown"
    by_luck = f"at 5 % about {len(found) / 20:.0f} of them would be by luck alone"
    if not shown:
        return f"{said}: on these domains similarity does not tell the gain. ({by_luck[0].upper()}{by_luck[1:]}.)"
    most = max(shown, key=lambda each: abs(each.correlation.rho))
    return (
        f"{said}; {by_luck}. The strongest: {most.measure} with “{most.gain}” on {most.part}, "
        f"{signed_hundredths(most.correlation.rho)} {_interval(most.correlation)}."
    )


def _plot(domains: Sequence[Domain], part: str) -> Markup:
    """Nearness across, what generic text alone gains upwards."""
    gain = next(iter(domains[0].gains))
    near = [domain.similarity.nearest for domain in domains]
    low, high = min(near), max(near)
    marks = [Mark((x - low) / ((high - low) or 1), domain.gains[gain]) for x, domain in zip(near, domains, strict=True)]
    below = [(0.0, f"cosine {low:.2f}"), (1.0, f"{high:.2f}")]
    plot = scatter_plot(marks, f"Gain of {gain} by nearness, {part}", below=below, text=signed)
    caption = (
        f"{part}: a dot is a domain. Across, the cosine of its utterances to the generic text nearest to each; "
        f"upwards, the points that {gain} gains over no distillation."
    )
    return tag("figure", plot, tag("figcaption", caption))


def signed_hundredths(number: float) -> str:
    """-0.214 -> '−0.21'."""
    return f"{number:+.2f}".replace("-", "\N{MINUS SIGN}")


def _interval(correlation: Correlation) -> str:
    return f"[{signed_hundredths(correlation.low)}, {signed_hundredths(correlation.high)}]"
