"""The finished runs of an experiment compared: part by part, every arm beside the others, by every metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from contract.store import Store
from distill.comparing.comparison import (
    RESAMPLES,
    ComparedRun,
    CompareOptions,
    Comparison,
    Group,
    compare_group,
    read_run,
)
from experiments.experiment import Experiment


@dataclass(frozen=True, eq=False)
class ComparedPart:
    """One task and student: its arms by each metric of the experiment that its kind of task has."""

    name: str
    by_metric: Mapping[str, Group]

    @property
    def deciding(self) -> Group:
        """By the first of the metrics."""
        return next(iter(self.by_metric.values()))


@dataclass(frozen=True, eq=False)
class Compared:
    """The finished runs of an experiment: a row each, and the comparisons they are of."""

    experiment: Experiment
    results: pa.Table
    parts: tuple[ComparedPart, ...]

    @property
    def deciding(self) -> Comparison:
        groups = tuple(part.deciding for part in self.parts)
        return Comparison(self.experiment.name, groups, (), RESAMPLES, 0)

    @property
    def commits(self) -> str:
        """Of the code that made the runs."""
        known = sorted({commit for commit in self.results["commit"].to_pylist() if commit})
        return ", ".join(known) or "not known"


def compare_results(store: Store, experiment: Experiment, results: pa.Table) -> Compared:
    """Compare them part by part, the differences being to the experiment's baseline."""
    rows = results.select(["run", "part", "arm", "report_arm"]).to_pylist()
    baseline = {row["arm"]: row["report_arm"] for row in rows}.get(experiment.baseline)
    runs: dict[str, list[ComparedRun]] = defaultdict(list)
    for row in rows:
        runs[row["part"]].append(read_run(store, row["run"]))
    parts = (ComparedPart(name, _by_metric(experiment, of_part, baseline)) for name, of_part in runs.items())
    return Compared(experiment, results, tuple(parts))


def _by_metric(experiment: Experiment, runs: Sequence[ComparedRun], baseline: str | None) -> dict[str, Group]:
    known = [metric for metric in experiment.metrics if metric in runs[0].predictions.metrics]
    is_there = any(run.arm == baseline for run in runs)
    options = CompareOptions(baseline=baseline if is_there else None, variants=False)
    return {metric: compare_group(runs, replace(options, metric=metric)) for metric in known}
