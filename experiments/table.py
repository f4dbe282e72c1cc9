"""The table of an experiment in Markdown: for each task and student its arms, beside the arm that is the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
from scipy import stats

from contract.store import Store
from distill.comparing.comparison import Arm, CompareOptions, Comparison, Group, compare
from distill.comparing.table import BASELINE, group_title
from distill.comparing.verdict import difference_text
from distill.judging.bootstrap import CONFIDENCE, Difference
from distill.judging.metrics import METRICS, Metric
from distill.reporting.figures import MISSING, count, duration, hundredths
from experiments.experiment import Experiment

Row = Mapping[str, Any]
_FEW = 2  # arms of a group, below which there is nothing to compare


@dataclass(frozen=True, eq=False)
class Compared:
    """The finished runs of an experiment: a row each, and their comparison by each of its metrics."""

    experiment: Experiment
    results: pa.Table
    by_metric: Mapping[str, Comparison]

    @property
    def deciding(self) -> Comparison:
        return self.by_metric[self.experiment.metrics[0]]


def compare_results(store: Store, experiment: Experiment, results: pa.Table) -> Compared:
    """Compare them, the differences being to the experiment's baseline."""
    runs = results["run"].to_pylist()
    arms = {row["arm"]: row["report_arm"] for row in results.select(["arm", "report_arm"]).to_pylist()}
    baseline = arms.get(experiment.baseline)
    return Compared(
        experiment,
        results,
        {
            metric: compare(store, runs, CompareOptions(experiment.name, baseline, metric=metric))
            for metric in experiment.metrics
        },
    )


def table_of(compared: Compared) -> str:
    """The whole page."""
    experiment, results = compared.experiment, compared.results
    commits = sorted({commit for commit in results["commit"].to_pylist() if commit})
    head = [
        f"# {experiment.name}: {experiment.question}",
        f"{results.num_rows:,} of {len(experiment.runs):,} runs are finished. "
        f"`{experiment.command}` makes the rest. Commits: {', '.join(commits) or 'not known'}.",
        _legend(compared),
    ]
    groups = [_group(compared, number) for number in range(len(compared.deciding.groups))]
    return "\n\n".join([*head, *groups]) + "\n"


def _legend(compared: Compared) -> str:
    decides = METRICS[compared.experiment.metrics[0]]
    return (
        f"{decides.title} decides. ± is the standard deviation over seeds; “mean, 95 %” is Student's interval of the "
        f"mean over seeds. Differences are to `{compared.experiment.baseline}`, in points, with the 95 % interval of a "
        "paired bootstrap over test rows; ▲ better and ▼ worse where that interval, in the metric's own column, does "
        "not hold zero. Time is what a student's training took by the clock, on one thread of a machine that others "
        "used too."
    )


def _group(compared: Compared, number: int) -> str:
    """One task and student: the table of its arms, best first, then the teacher."""
    group, metrics = compared.deciding.groups[number], compared.experiment.metrics
    rows = {row["run"]: row for row in compared.results.to_pylist()}
    columns = ["arm", "mean, 95 %", "difference", *(_heading(METRICS[metric]) for metric in metrics)]
    lines = [[*columns, "updates", "time", "seeds"], ["---", *["--:"] * (len(columns) + 2)]]
    for arm in reversed(group.arms):
        of_arm = [rows[run] for run in arm.runs]
        others = [_named(compared.by_metric[metric].groups[number], arm.name) for metric in metrics]
        scores = [_score(METRICS[metric], other) for metric, other in zip(metrics, others, strict=True)]
        lines.append([*_first_cells(group, arm), *scores, *_last_cells(arm, of_arm)])
    lines.append([*_teacher_cells(group, list(rows.values()), metrics), "", "", ""])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {group_title(group)}", table, *_languages(compared, group)])


def _first_cells(group: Group, arm: Arm) -> list[str]:
    difference = BASELINE if arm.name == group.baseline else difference_text(arm.difference) or MISSING
    return [arm.name, _over_seeds(arm.by_seed), difference]


def _last_cells(arm: Arm, rows: Sequence[Row]) -> list[str]:
    updates = f"{count(arm.distill_updates)} + {count(arm.finetune_updates)}"
    return [updates, duration(fmean(row["training_seconds"] for row in rows)), str(len(arm.seeds))]


def _teacher_cells(group: Group, rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """The teacher's scores: the mean of the teachers of these runs, which is one."""
    runs = {run.name for run in group.runs}
    own = [row for row in rows if row["run"] in runs]
    told = [hundredths(fmean(dict(row["teacher"])[metric] for row in own)) for metric in metrics]
    return [f"teacher ({', '.join(sorted({row['teacher_model'] for row in own}))})", "", "", *told]


def _heading(metric: Metric) -> str:
    return f"{metric.title}{' ↓' if metric.is_error else ''}"


def _score(metric: Metric, arm: Arm) -> str:
    spread = "" if arm.spread is None else f" ± {hundredths(arm.spread)}"
    return f"{hundredths(arm.score.value)}{spread}{_mark(metric, arm.difference)}"


def _mark(metric: Metric, difference: Difference | None) -> str:
    """Whether it is told apart from the baseline, and to which side."""
    if difference is None or not difference.told_apart:
        return ""
    return " ▲" if (difference.interval.value > 0) != metric.is_error else " ▼"


def _over_seeds(scores: Sequence[float]) -> str:
    """'82.1 [80.9, 83.3]', and the mean alone where there is one seed."""
    mean = fmean(scores)
    if len(scores) < _FEW:
        return hundredths(mean)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1)) * stdev(scores) / len(scores) ** 0.5
    return f"{hundredths(mean)} [{hundredths(mean - half)}, {hundredths(mean + half)}]"


def _named(group: Group, arm: str) -> Arm:
    return next(each for each in group.arms if each.name == arm)


def _languages(compared: Compared, group: Group) -> Iterator[str]:
    """For each metric that reads well alone, the arms by language, means over seeds."""
    rows = {row["run"]: row for row in compared.results.to_pylist() if row["languages"]}
    if not rows:
        return
    for metric in compared.experiment.metrics:
        told = {arm.name: [_by_language(rows[run], "student", metric) for run in arm.runs] for arm in group.arms}
        teachers = [_by_language(rows[run.name], "teacher", metric) for run in group.runs]
        langs = list(teachers[0])
        lines = [["arm", *langs], ["---", *["--:"] * len(langs)]]
        for name, scores in (*reversed(told.items()), ("teacher", teachers)):
            lines.append([name, *(hundredths(fmean(score[lang] for score in scores)) for lang in langs)])
        yield f"{_heading(METRICS[metric])} by language:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_language(row: Row, who: str, metric: str) -> dict[str, float]:
    return {each["lang"]: dict(each[who])[metric] for each in row["languages"]}
