"""The table of an experiment in Markdown: for each task and student its arms, beside the arm that is the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from distill.comparing.comparison import Arm, Group
from distill.comparing.table import BASELINE, group_title
from distill.comparing.verdict import difference_text
from distill.judging.bootstrap import CONFIDENCE, Difference
from distill.judging.metrics import METRICS, Metric
from distill.reporting.figures import MISSING, count, duration, hundredths
from experiments.answer import answers_of, sentence_of
from experiments.compared import Compared, ComparedPart

Row = Mapping[str, Any]
_FEW = 2  # arms of a group, below which there is nothing to compare


def table_of(compared: Compared) -> str:
    """The whole page."""
    experiment, results = compared.experiment, compared.results
    head = [
        f"# {experiment.name}: {experiment.question}",
        *(sentence_of(answered) for answered in answers_of(compared)),
        f"{results.num_rows:,} of {len(experiment.runs):,} runs are finished. "
        f"`{experiment.command}` makes the rest. Commits: {compared.commits}.",
        *([f"What was cut: {' '.join(experiment.cut)}"] if experiment.cut else []),
        _legend(compared),
    ]
    groups = [_group(compared, part) for part in compared.parts]
    return "\n\n".join([*head, *groups]) + "\n"


def _legend(compared: Compared) -> str:
    decides = " or ".join(dict.fromkeys(part.deciding.metric.title for part in compared.parts))
    return (
        f"{decides} decides. ± is the standard deviation over seeds; “mean, 95 %” is Student's interval of the "
        f"mean over seeds. Differences are to `{compared.experiment.baseline}`, in points, with the 95 % interval of a "
        "paired bootstrap over test rows; ▲ better and ▼ worse where that interval, in the metric's own column, does "
        "not hold zero. Distinct-2 is the share of pairs of words that are new in the set’s generic text (where it has "
        "none, in the task’s), overlap the share of the task’s frequent words that are frequent there. Time is what a "
        "student's training took by the clock, on one thread of a machine that others used too."
    )


def _group(compared: Compared, part: ComparedPart) -> str:
    """One task and student: the table of its arms, best first, then the teacher."""
    group = part.deciding
    runs = {run.name for run in group.runs}
    rows = {row["run"]: row for row in compared.results.to_pylist() if row["run"] in runs}
    told = ["mean, 95 %", "difference", *(_heading(METRICS[metric]) for metric in part.by_metric)]
    columns = ["arm", *told, "texts", "distinct-2", "overlap", "updates", "time", "seeds"]
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)]]
    for arm in reversed(group.arms):
        of_arm = [rows[run] for run in arm.runs]
        scores = [_score(METRICS[metric], _named(other, arm.name)) for metric, other in part.by_metric.items()]
        lines.append([*_first_cells(group, arm), *scores, *_last_cells(arm, of_arm)])
    lines += [[*cells, *[""] * (len(columns) - len(cells))] for cells in _teachers(list(rows.values()), part)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {group_title(group)}", table, *_languages(part, rows)])


def _first_cells(group: Group, arm: Arm) -> list[str]:
    difference = BASELINE if arm.name == group.baseline else difference_text(arm.difference) or MISSING
    return [arm.name, _over_seeds(arm.by_seed), difference]


def _last_cells(arm: Arm, rows: Sequence[Row]) -> list[str]:
    inspected = [_mean([row[column] for row in rows]) for column in ("distinct_2", "vocabulary_overlap")]
    updates = f"{count(arm.distill_updates)} + {count(arm.finetune_updates)}"
    seconds = duration(fmean(row["training_seconds"] for row in rows))
    shares = [MISSING if share is None else f"{share:.2f}" for share in inspected]
    return [count(arm.texts), *shares, updates, seconds, str(len(arm.seeds))]


def _teachers(rows: Sequence[Row], part: ComparedPart) -> Iterator[list[str]]:
    """The scores of each teacher that has answers; where there are several, by the arms they taught."""
    taught: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["teacher"]:
            taught[row["teacher_id"]].append(row)
    for of_teacher in taught.values():
        arms = list(dict.fromkeys(row["arm"] for row in of_teacher))
        of = "" if len(taught) == 1 else f" of {arms[0]}{f' and {len(arms) - 1} more' if len(arms) > 1 else ''}"
        scores = dict(of_teacher[0]["teacher"])
        told = [hundredths(scores.get(metric)) for metric in part.by_metric]
        yield [f"teacher{of} ({of_teacher[0]['teacher_model']})", "", "", *told]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


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


def _languages(part: ComparedPart, rows: Mapping[str, Row]) -> Iterator[str]:
    """For each metric, the arms by language, means over seeds; nothing where all rows are of one."""
    spoken = {run: row for run, row in rows.items() if row["languages"]}
    if len(spoken) < len(rows):
        return
    for metric in part.by_metric:
        arms = reversed(part.deciding.arms)
        told = {arm.name: [_by_language(spoken[run], "student", metric) for run in arm.runs] for arm in arms}
        taught = [said for row in spoken.values() if (said := _by_language(row, "teacher", metric))]
        told |= {"teacher": taught} if taught else {}
        langs = [each["lang"] for each in next(iter(spoken.values()))["languages"]]
        lines = [["arm", *langs], ["---", *["--:"] * len(langs)]]
        for name, of_arm in told.items():
            lines.append([name, *(hundredths(fmean(scores[lang] for scores in of_arm)) for lang in langs)])
        yield f"{_heading(METRICS[metric])} by language:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_language(row: Row, who: str, metric: str) -> dict[str, float]:
    return {each["lang"]: dict(each[who])[metric] for each in row["languages"] if each[who]}
