"""What came out of a study: study.json for programs and the page, trials.parquet with one row a trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from contract.errors import CorruptArtifact
from contract.manifest import Json
from distill.tuning.search_space import Parameter, Space

STUDY_REPORT, STUDY_PAGE, TRIALS, BEST = "study.json", "study.html", "trials.parquet", "best.toml"
HISTORY = "history.jsonl"  # Optuna's journal, from which a study goes on to more trials
STUDY_VERSION = 1

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial that is over. `value` is the metric that decides, on the validation rows; of a pruned one the last seen.

    `params` are the settings it tried, `pruned_at` the update at which it was given up, `reason` why it failed.
    """

    number: int
    state: State
    value: float | None
    params: Mapping[str, Json]
    metrics: Mapping[str, float | None]
    seconds: float
    updates: int
    run_id: str | None = None
    pruned_at: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ArmOnTest:
    """The best settings, or RUN.toml's own, on the test: the mean over seeds and its 95 % interval over test rows."""

    score: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class OnTest:
    """The one look at the test, at the same seeds. `difference` is best minus default, with its paired interval.

    Where the best settings are RUN.toml's own the two are one.
    """

    split: str
    rows: int
    seeds: tuple[int, ...]
    best: ArmOnTest
    default: ArmOnTest
    difference: tuple[float, float, float]  # value, low, high
    told_apart: bool


@dataclass(frozen=True)
class StudyReport:
    """A study, whole. `importances` are shares of the variance over the space; None with too few trials to say.

    `default_trial` is the trial with RUN.toml's own settings; None where they lie outside the space.
    """

    study: str
    task: str
    metric: str
    judged_on: str
    judged_rows: int
    sampler: str
    pruner: str
    seed: int
    wanted: int
    space: Json
    trials: tuple[Trial, ...]
    best: int
    default_trial: int | None
    importances: Mapping[str, float] | None
    on_test: OnTest
    settings: Mapping[str, Json]  # of RUN.toml
    best_toml: str

    @property
    def gained_nothing(self) -> bool:
        """Whether no trial was better than RUN.toml's own settings."""
        return self.best == self.default_trial

    def of(self, state: State) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state]

    @property
    def best_trial(self) -> Trial:
        return self.trials[self.best]

    @property
    def updates(self) -> int:
        return sum(trial.updates for trial in self.trials)

    @property
    def seconds(self) -> float:
        return sum(trial.seconds for trial in self.trials)


def trials_table(trials: Sequence[Trial], space: Space) -> pa.Table:
    """One row a trial; a column a setting and a metric, null where a trial has none of it."""
    metrics = sorted({name for trial in trials for name in trial.metrics})
    columns: dict[str, pa.Array] = {
        "trial": pa.array([t.number for t in trials], pa.int32()),
        "state": pa.array([t.state for t in trials], pa.string()),
        "value": pa.array([t.value for t in trials], pa.float64()),
    }
    for parameter in space.parameters:
        columns[parameter.key] = _column(parameter, [t.params.get(parameter.key) for t in trials])
    for name in metrics:
        columns[f"metrics.{name}"] = pa.array([t.metrics.get(name) for t in trials], pa.float64())
    columns["seconds"] = pa.array([t.seconds for t in trials], pa.float64())
    columns["updates"] = pa.array([t.updates for t in trials], pa.int64())
    columns["run_id"] = pa.array([t.run_id for t in trials], pa.string())
    columns["pruned_at"] = pa.array([t.pruned_at for t in trials], pa.int64())
    columns["reason"] = pa.array([t.reason for t in trials], pa.string())
    return pa.table(columns)


def without_seconds(trials: Sequence[Trial]) -> list[Json]:
    """What of the trials is the same on every machine."""
    return [{name: value for name, value in asdict(trial).items() if name != "seconds"} for trial in trials]


def study_to_json(report: StudyReport) -> dict[str, Json]:
    return asdict(report)


def write_study(report: StudyReport, path: Path) -> None:
    written = json.dumps(study_to_json(report), ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(written + "\n", encoding="utf-8")


def read_study(directory: Path) -> StudyReport:
    """The report of a finished study; CorruptArtifact when it is not one this version reads."""
    path = directory / STUDY_REPORT
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        raw["trials"] = tuple(Trial(**trial) for trial in raw["trials"])
        raw["on_test"] = _on_test(raw["on_test"])
        return StudyReport(**raw)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(
            f"{path} is not a study this version reads ({type(error).__name__}: {error}); run the same command again "
            "under another name"
        ) from error


def _on_test(raw: dict[str, Any]) -> OnTest:
    arms = {name: ArmOnTest(**{**raw[name], "by_seed": tuple(raw[name]["by_seed"])}) for name in ("best", "default")}
    low = {name: tuple(raw[name]) for name in ("seeds", "difference")}
    return OnTest(**{**raw, **low, **arms})


def _column(parameter: Parameter, values: Sequence[Json]) -> pa.Array:
    """Numbers where all are, else text, lists as JSON."""
    if not parameter.choices:
        return pa.array(values, pa.int64() if parameter.is_whole else pa.float64())
    try:
        return pa.array(list(values), pa.array(list(parameter.choices)).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        texts = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
        return pa.array(texts, pa.string())
