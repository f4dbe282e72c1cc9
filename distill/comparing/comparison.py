"""The comparison: runs grouped by task and student, within them by arm, every arm measured over its seeds.

The metric that decides is the first of the task's kind (distill.judging.metrics), or the one asked for. Scores
come from the runs' predictions, paired by row id; sizes, updates and settings from their reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from contract.artifact import open_artifact
from contract.errors import BadInput, NotFound
from contract.run import REPORT, RUN_VERSION
from contract.store import FOLDERS, Store
from distill.comparing.cost import Cost, cost_of
from distill.comparing.effect import Effect, effect_of
from distill.comparing.variants import arm_settings, differing_settings
from distill.judging.bootstrap import Difference, Interval, resample
from distill.judging.metrics import METRICS, Metric
from distill.judging.predictions import Predictions, column_of, read_predictions
from distill.reporting.figures import listed
from distill.reporting.outcome import RunReport, StudentFacts, TaskFacts, read_report

RESAMPLES = 10_000
_WILDCARDS = "*?["


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A finished run. `arm` is the one its report names, or the one the user gave it."""

    name: str
    id: str
    arm: str
    report: RunReport
    predictions: Predictions

    @property
    def seed(self) -> int:
        return self.report.seed


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and their standard deviation; None with one seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Arm:
    """One arm, over its seeds. Scores are shares; `texts` and the updates are means over seeds.

    `score` is in the metric that decides, `beside` in another one of the task's kind.
    `difference` and `effect` are to the baseline, `behind` to the best arm; None for those two themselves.
    `ratio` is (distilled - plain) / (teacher - plain). It and `agreement` are of teachers that have answers.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    texts: float | None
    distill_updates: float
    finetune_updates: float
    score: Interval
    by_seed: tuple[float, ...]
    spread: float | None
    beside: Spread
    agreement: Spread | None
    difference: Difference | None
    behind: Difference | None
    ratio: float | None
    effect: Effect | None
    cost: Cost


@dataclass(frozen=True)
class TeacherLine:
    """The teacher, as the mean of the teachers of these runs; None where not one of them has answers of its own."""

    models: tuple[str, ...]
    score: float | None
    beside: float | None


@dataclass(frozen=True, eq=False)
class Group:
    """Arms that may be compared: one task, one set of test rows, one student. Worst arm first, best last.

    `metric` decides, `beside` is shown beside it.
    """

    metric: Metric
    beside: Metric
    task: TaskFacts
    student: StudentFacts
    teacher: TeacherLine
    baseline: str | None
    arms: tuple[Arm, ...]
    runs: tuple[ComparedRun, ...]

    @property
    def best(self) -> Arm:
        return self.arms[-1]

    @property
    def not_told_apart(self) -> list[Arm]:
        """The arms that the data cannot tell from the best one."""
        return [arm for arm in self.arms[:-1] if arm.behind and not arm.behind.told_apart]

    @property
    def winner(self) -> Arm | None:
        """The best arm, when there are others and it is told apart from all of them."""
        return None if len(self.arms) < 2 or self.not_told_apart else self.best


@dataclass(frozen=True)
class Comparison:
    """What `transferset compare` answers."""

    name: str
    groups: tuple[Group, ...]
    unfinished: tuple[str, ...]
    resamples: int
    seed: int


@dataclass(frozen=True)
class CompareOptions:
    """How to compare. `arms` maps the name of an arm to the pattern of its runs; `seed` is that of the bootstrap.

    `metric` decides [the first of the task's kind]. Without `variants` an arm is one, in whatever ways it was run.
    """

    name: str = ""
    baseline: str | None = None
    arms: Mapping[str, str] = field(default_factory=dict)
    resamples: int = RESAMPLES
    seed: int = 0
    metric: str | None = None
    variants: bool = True


def compare(store: Store, patterns: Sequence[str], options: CompareOptions | None = None) -> Comparison:
    """Compare the runs that the names and patterns mean. Raises BadInput, NotFound and CorruptArtifact."""
    options = options or CompareOptions()
    names, unfinished = select_runs(store, patterns)
    runs = _named_arms([read_run(store, run) for run in names], options.arms)
    groups = [compare_group(group, options) for group in grouped(runs)]
    if options.baseline is not None and not any(group.baseline for group in groups):
        known = listed(sorted({arm.name for group in groups for arm in group.arms}))
        raise BadInput(f"There is no arm {options.baseline!r} to serve as baseline; these runs have {known}")
    title = options.name or listed(sorted({group.task.name for group in groups}))
    return Comparison(title, tuple(groups), tuple(unfinished), options.resamples, options.seed)


def read_arms(pairs: Sequence[str]) -> dict[str, str]:
    """`--arm ten='k10-*'` given any number of times -> {"ten": "k10-*"}."""
    arms: dict[str, str] = {}
    for pair in pairs:
        name, separator, pattern = pair.partition("=")
        if not (name and separator and pattern) or name in arms:
            raise BadInput(f"--arm expects NAME=PATTERN, each name once, as in --arm ten='k10-*', found {pair!r}")
        arms[name] = pattern
    return arms


def select_runs(store: Store, patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """The finished runs that names and patterns mean, once each, and the unfinished ones that the patterns match."""
    finished, unfinished = store.names("run"), _unfinished(store)
    selected: dict[str, None] = {}
    left_out: set[str] = set()
    for pattern in patterns:
        if not any(wildcard in pattern for wildcard in _WILDCARDS):
            selected[pattern] = None
            continue
        matches = [name for name in finished if fnmatchcase(name, pattern)]
        if not matches:
            there = f"there are {listed(finished[:12])}" if finished else "there are no finished runs at all"
            raise NotFound(f"No finished run matches {pattern!r} in {store.root / FOLDERS['run']}; {there}")
        selected |= dict.fromkeys(matches)
        left_out.update(name for name in unfinished if fnmatchcase(name, pattern))
    return list(selected), sorted(left_out)


def read_run(store: Store, name: str) -> ComparedRun:
    """A finished run with its report and predictions, each checked against its manifest."""
    artifact = open_artifact(store.path("run", name), "run", version=RUN_VERSION)
    if REPORT not in (entry.name for entry in artifact.manifest.attachments + artifact.manifest.files):
        raise BadInput(f"Run {name} has no {REPORT}, so that it cannot be compared; distil it again")
    artifact.path(REPORT)
    report = read_report(artifact.directory)
    return ComparedRun(name, artifact.id, report.arm, report, read_predictions(artifact, name))


def grouped(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """Runs that may be compared with each other, together: same task, target, shots, test rows and student."""
    groups: dict[tuple[object, ...], list[ComparedRun]] = defaultdict(list)
    for run in runs:
        task, student = run.report.task, run.report.student
        of_task = (
            task.name,
            task.id,
            task.kind,
            task.target,
            task.shots or 0,
            task.test_split,
            run.predictions.test_id,
        )
        groups[*of_task, student.layers, student.width, student.heads, student.origin].append(run)
    return [groups[key] for key in sorted(groups)]


def compare_group(runs: Sequence[ComparedRun], options: CompareOptions) -> Group:
    """Measure every arm of runs that share task, test rows and student."""
    metric, beside = _chosen(runs, options.metric)
    members = _arms(runs, variants=options.variants)
    names = sorted(members, key=lambda name: (_rank(metric, members[name]), name))
    of_teachers = (run.predictions.teacher for run in {run.report.teacher.id: run for run in runs}.values())
    teachers = [said for said in of_teachers if said is not None]
    models = tuple(sorted({run.report.teacher.model for run in runs}))
    teacher = TeacherLine(models, *(_mean([each(said) for said in teachers]) for each in (metric, beside)))
    columns = [column_of(metric, [run.predictions.student for run in members[name]]) for name in names]
    sampled = resample(columns, resamples=options.resamples, seed=options.seed)
    plain = next((i for i, name in enumerate(names) if members[name][0].report.transfer_set is None), None)
    base = plain if options.baseline is None else names.index(options.baseline) if options.baseline in names else None
    best = len(names) - 1
    by_seed = [_by_seed(metric, members[name]) for name in names]
    arms = [
        _arm(
            name,
            members[name],
            metric,
            beside,
            sampled.score(column),
            difference=None if base is None or column == base else sampled.difference(column, base),
            behind=None if column == best else sampled.difference(column, best),
            ratio=None
            if plain is None or column == plain
            else _ratio(metric, sampled.scores[column], sampled.scores[plain], teacher.score),
            effect=None if base is None or column == base else effect_of(metric, by_seed[column], by_seed[base]),
        )
        for column, name in enumerate(names)
    ]
    report, baseline = runs[0].report, None if base is None else names[base]
    return Group(metric, beside, report.task, report.student, teacher, baseline, tuple(arms), tuple(runs))


def _arm(
    name: str,
    runs: Sequence[ComparedRun],
    metric: Metric,
    beside: Metric,
    score: Interval,
    *,
    difference: Difference | None,
    behind: Difference | None,
    ratio: float | None,
    effect: Effect | None,
) -> Arm:
    by_seed = _by_seed(metric, runs)
    texts = [run.report.transfer_set.learnt for run in runs if run.report.transfer_set]
    agreements = [agreed for run in runs if (agreed := run.predictions.agreement) is not None]
    return Arm(
        name,
        tuple(run.name for run in runs),
        tuple(run.seed for run in runs),
        float(np.mean(texts)) if texts else None,
        float(np.mean([run.report.updates.distill for run in runs])),
        float(np.mean([run.report.updates.finetune for run in runs])),
        score,
        by_seed,
        _spread(by_seed).deviation,
        _spread(_by_seed(beside, runs)),
        _spread(agreements) if agreements else None,
        difference,
        behind,
        ratio,
        effect,
        cost_of([run.report for run in runs]),
    )


def _arms(runs: Sequence[ComparedRun], *, variants: bool) -> dict[str, list[ComparedRun]]:
    """Runs by arm, in the order of their seeds; with `variants`, an arm run in several ways is one for each way."""
    by_report: dict[str, list[ComparedRun]] = defaultdict(list)
    for run in runs:
        by_report[run.arm].append(run)
    arms: dict[str, list[ComparedRun]] = defaultdict(list)
    for arm, members in by_report.items():
        is_named = not variants or arm != members[0].report.arm
        differing = [] if is_named else differing_settings([run.report for run in members])
        retrievers = {run.report.transfer_set.retriever for run in members if run.report.transfer_set}
        several = variants and len(retrievers) > 1
        for run in members:
            arms[_variant(run, differing, several_retrievers=several)].append(run)
    for arm, members in arms.items():
        members.sort(key=lambda run: (run.seed, run.name))
        for one, other in pairwise(members):
            if one.seed == other.seed:
                raise BadInput(
                    f"Runs {one.name} and {other.name} are both arm {arm!r} with seed {one.seed}: expected one run an "
                    "arm and seed; leave one out, or give them arms of their own with --arm NAME=PATTERN"
                )
    return arms


def _variant(run: ComparedRun, differing: Sequence[str], *, several_retrievers: bool) -> str:
    """The arm's name with what sets this run apart from others of that arm: 'retrieved (dense, updates 500)'."""
    if run.arm != run.report.arm:
        return run.arm
    settings = arm_settings(run.report)
    told = [run.report.transfer_set.retriever] if several_retrievers and run.report.transfer_set else []
    told += [f"{key} {settings[key]}" for key in differing if key in settings]
    return f"{run.arm} ({', '.join(told)})" if told else run.arm


def _named_arms(runs: Sequence[ComparedRun], arms: Mapping[str, str]) -> list[ComparedRun]:
    """The runs with the arms the user gave them; BadInput when a pattern fits none, or two fit one run."""
    named = []
    for run in runs:
        fitting = [arm for arm, pattern in arms.items() if fnmatchcase(run.name, pattern)]
        if len(fitting) > 1:
            raise BadInput(f"Run {run.name} fits the arms {listed(fitting)}; give patterns of which one fits each run")
        arm = fitting[0] if fitting else run.arm
        named.append(replace(run, arm=arm))
    for arm, pattern in arms.items():
        if not any(fnmatchcase(run.name, pattern) for run in runs):
            raise BadInput(f"--arm {arm}={pattern} fits none of the runs {listed([run.name for run in runs][:12])}")
    return named


def _chosen(runs: Sequence[ComparedRun], wanted: str | None) -> tuple[Metric, Metric]:
    """The metric that decides and the one beside it; BadInput where the runs cannot be judged by the wanted one."""
    known = [name for name in runs[0].predictions.metrics if all(name in run.predictions.metrics for run in runs)]
    if wanted is None:
        return METRICS[known[0]], METRICS[known[1]]
    if wanted not in known:
        raise BadInput(
            f"Runs of task {runs[0].report.task.name} cannot be compared by {wanted!r}; expected {listed(known)}"
        )
    return METRICS[wanted], METRICS[next(name for name in known if name != wanted)]


def _by_seed(metric: Metric, runs: Sequence[ComparedRun]) -> tuple[float, ...]:
    return tuple(metric(run.predictions.student) for run in runs)


def _rank(metric: Metric, runs: Sequence[ComparedRun]) -> float:
    """The mean over seeds, the higher the better."""
    mean = round(float(np.mean(_by_seed(metric, runs))), 12)
    return -mean if metric.is_error else mean


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(values: Sequence[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation)


def _ratio(metric: Metric, arm: float, plain: float, teacher: float | None) -> float | None:
    """The distillation ratio; None where the teacher is no better than the plain student, or has no answers."""
    if teacher is None:
        return None
    reachable = plain - teacher if metric.is_error else teacher - plain
    return (arm - plain) / (teacher - plain) if reachable > 0 else None


def _unfinished(store: Store) -> list[str]:
    """Directories of runs without a manifest."""
    drafts = {path.parent.name for path in (store.root / FOLDERS["run"]).glob("*/.draft")}
    return sorted(drafts - set(store.names("run")))
