"""A study: many runs of one RUN.toml at points of a space, and the best of them measured once on the test.

studies/NAME/  study.json, study.html, trials.parquet, best.toml (attachments: seconds and paths are in them)
"""

from __future__ import annotations

import hashlib
import shutil
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan, check_name
from contract.errors import BadInput, NameTaken
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress, silent
from contract.store import Store
from distill.comparison import Arm, CompareOptions, compare_group, read_run
from distill.config import RunConfig, make_config
from distill.device import choose_device, threads
from distill.gold import Gold, read_gold
from distill.lessons import obtain_lessons
from distill.metrics import METRICS, METRICS_OF
from distill.pipeline import run_distillation
from distill.pretrained import content_hash, find_model
from distill.search_space import Space, label_of, lay, raw_settings
from distill.shared import PAUSE_S, entered
from distill.student import identity_of
from distill.study_page import render_study
from distill.teacher import obtain_teacher, open_teacher
from distill.texts import open_transfer_set
from distill.tuning.history import importances_of, trials_of
from distill.tuning.outcome import (
    BEST,
    STUDY_PAGE,
    STUDY_REPORT,
    STUDY_VERSION,
    TRIALS,
    ArmOnTest,
    OnTest,
    StudyReport,
    Trial,
    read_study,
    trials_table,
    without_seconds,
    write_study,
)
from distill.tuning.run_toml import to_toml
from distill.tuning.sampling import PrunerName, SamplerName
from distill.tuning.trial import Search
from distill.tuning.trial_storage import check_storage
from distill.tuning.validation import TrialStore, Validation, judged_config
from distill.tuning.workers import work_together


@dataclass(frozen=True)
class StudyOptions:
    """How to search. `timeout` is in seconds: no trial begins after it, and the study ends with those that began.

    `metric` decides [the first of the task's kind]; `test_seeds` is how many seeds the test is measured at.
    """

    trials: int = 50
    timeout: float | None = None
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "asha"
    seed: int = 0
    metric: str | None = None
    test_seeds: int = 3
    workers: int = 1
    storage: str | None = None
    restart: bool = False


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    store: Store
    name: str
    config: RunConfig
    space: Space
    validation: Validation
    metric: str
    options: StudyOptions


def run_study(
    store: Store,
    name: str,
    config: RunConfig,
    space: Space,
    validation: Validation,
    options: StudyOptions,
    *,
    progress: Progress = silent,
) -> Artifact:
    """The study of that name: begun, or gone on with where it was left.

    Where another process is at it, on this host or on one that shares the folder, this one makes trials beside it.
    One worker makes the same trials however often it is killed. Raises what a user can mend: BadInput, NotFound,
    NameTaken, Busy, CorruptArtifact, NoSpace, WorkerLost.
    """
    check_storage(options.storage)
    gold = read_gold(config.task)
    order = _Order(store, name, config, space, validation, _metric(gold, options.metric), options)
    plan = _plan(order, gold)
    directory = store.path("study", name)
    check_name(directory, plan, restart=options.restart)
    restart = options.restart
    with ExitStack() as stack:
        while (draft := entered(stack, directory, plan, restart=restart)) is None:
            restart = False  # what somebody is at is not discarded when he dies
            with suppress(FileNotFoundError):  # it was finished meanwhile
                _join(order, plan, progress)
            time.sleep(PAUSE_S)
        if not draft.finished:
            search, rows = _prepared(order, plan, draft.scratch("study").absolute(), progress)
            _begin(search, restart=restart)
            work_together(search, options.workers, progress)
            _keep(draft, _reported(order, search, rows, progress), space)
    return _as_long(open_study_artifact(store, name), options.trials)


def open_study_artifact(store: Store, name: str) -> Artifact:
    return open_artifact(store.path("study", name), "study", version=STUDY_VERSION)


def keep_best(store: Store, study: StudyReport, name: str, *, progress: Progress = silent) -> Artifact:
    """The run with the best settings, made under a name of its own."""
    return run_distillation(store, name, make_config(tomllib.loads(study.best_toml)), progress=progress)


def _join(order: _Order, plan: Plan, progress: Progress) -> None:
    """Make trials of a study that another process keeps."""
    folder = order.store.path("study", order.name) / ".draft" / "scratch" / "study"
    if not folder.is_dir():  # it has not begun
        return
    search, _ = _prepared(order, plan, folder.absolute(), progress)
    _begin(search, restart=False)
    work_together(search, order.options.workers, progress)


def _as_long(study: Artifact, wanted: int) -> Artifact:
    """The study; NameTaken where it was finished with fewer trials than are wanted now."""
    found = read_study(study.directory).wanted
    if wanted > found:
        raise NameTaken(
            f"{study.directory} is finished, with --trials {found}, found --trials {wanted}; what is finished is not "
            "changed: choose another name"
        )
    return study


def _metric(gold: Gold, wanted: str | None) -> str:
    known = [name for name in METRICS_OF[gold.kind] if name != "ece"]
    if wanted is not None and wanted not in known:
        raise BadInput(f"--metric: trials of task {gold.task.name} are judged by {', '.join(known)}, found {wanted!r}")
    return wanted or known[0]


def _transfer_sets(config: RunConfig, space: Space) -> tuple[str, ...]:
    """Every transfer set that a trial can name."""
    tried = [p.choices for p in space.parameters if p.key == "transfer_set.name"]
    own = [config.transfer_set.name] if config.transfer_set else []
    return tuple(sorted({*own, *(str(name) for choices in tried for name in choices)}))


def _prepared(order: _Order, plan: Plan, folder: Path, progress: Progress) -> tuple[Search, int]:
    """What the workers share, with teacher and labels made; and how many rows trials are judged on."""
    config, space, options = order.config, order.space, order.options
    deadline = None if options.timeout is None else time.time() + options.timeout
    judged, store = judged_config(config, order.validation, order.store, folder, _transfer_sets(config, space))
    search = Search(
        _study_name(plan),
        store,
        folder,
        raw_settings(judged),
        space,
        order.metric,
        options.trials,
        options.sampler,
        options.pruner,
        options.seed,
        options.storage,
        deadline,
    )
    device = choose_device(judged.precision)
    with threads():
        gold = read_gold(judged.task)
        teacher = open_teacher(obtain_teacher(store, judged.teacher, gold, device, progress=progress), device)
        for name in _transfer_sets(judged, space):
            settings = raw_settings(judged)
            lay(settings, "transfer_set.name", name)
            obtain_lessons(store, make_config(settings), teacher, gold, device, progress=progress)
    return search, int(gold.test.table.num_rows)


def _reported(order: _Order, search: Search, rows: int, progress: Progress) -> StudyReport:
    """What came of the trials, and of the best settings on the test."""
    _, study = search.open()
    trials = trials_of(study.get_trials(deepcopy=False), order.space)
    best, default = _best(trials, order.metric), _default_trial(trials, search)
    settings = order.space.settings(raw_settings(order.config), trials[best].params)
    on_test = _measured(order, None if best == default else make_config(settings), search.folder, progress)
    comment = f"The best of {len(trials)} trials of the study {order.name}: trial {best}."
    return StudyReport(
        study=order.name,
        task=read_gold(order.config.task).task.name,
        metric=order.metric,
        judged_on=order.validation.text,
        judged_rows=rows,
        sampler=search.sampler,
        pruner=search.pruner,
        seed=search.seed,
        wanted=search.trials,
        space=order.space.to_json(),
        trials=trials,
        best=best,
        default_trial=default,
        importances=importances_of(trials, order.space, seed=search.seed),
        on_test=on_test,
        settings=order.config.to_json(),
        best_toml=to_toml(settings, comment=comment),
    )


def _plan(order: _Order, gold: Gold) -> Plan:
    """What the trials follow from. How many there are to be is not among it: a study goes on to more."""
    config, options = order.config, order.options
    params: dict[str, Json] = config.to_json()
    del params["task"]["path"], params["transfer_set"], params["precision"]
    params["task"]["kind"] = gold.kind
    params["student"] = identity_of(config.student)
    params["teacher"]["model"] = content_hash(find_model(config.teacher.model))
    params |= {
        "dtype": choose_device(config.precision).dtype,
        "space": order.space.to_json(),
        "validation": asdict(order.validation),
        "metric": order.metric,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "study_seed": options.seed,
        "test_seeds": options.test_seeds,
    }
    names = _transfer_sets(config, order.space)
    ids = [open_transfer_set(order.store, name).id for name in names]
    inputs = {"transfer-set" if number == 0 else f"transfer-set-{number}": id_ for number, id_ in enumerate(ids)}
    return Plan("study", STUDY_VERSION, params, {"task": gold.task.id, **inputs})


def _study_name(plan: Plan) -> str:
    """What the history is known by: the same settings and inputs on another host are the same study."""
    return "transferset-" + hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:24]


def _begin(search: Search, *, restart: bool) -> None:
    """The history, with RUN.toml's own settings as the first trial where they lie in the space."""
    storage, study = search.open()
    if restart and search.storage is not None:
        optuna.delete_study(study_name=search.study, storage=storage.history)
        storage, study = search.open()
    point = search.space.point_of(search.config)
    with storage.choosing():
        if point is not None and not study.get_trials(deepcopy=False):
            study.enqueue_trial({key: _as_label(search.space, key, value) for key, value in point.items()})


def _as_label(space: Space, key: str, value: Json) -> Json:
    (parameter,) = (p for p in space.parameters if p.key == key)
    return label_of(value) if parameter.choices else value


def _best(trials: Sequence[Trial], metric: str) -> int:
    """The complete trial with the best value, the first of equals; BadInput when none is complete."""
    sign = 1 if METRICS[metric].is_error else -1
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if not complete:
        why = next((trial.reason for trial in trials if trial.reason), "there was no time for any")
        raise BadInput(
            f"None of {len(trials)} trials came to its end: {why}; change the space or RUN.toml, or allow more time, "
            "and begin anew with --restart"
        )
    return min(complete, key=lambda trial: (sign * float(trial.value or 0.0), trial.number)).number


def _default_trial(trials: Sequence[Trial], search: Search) -> int | None:
    """The trial with RUN.toml's own settings."""
    point = search.space.point_of(search.config)
    return next((trial.number for trial in trials if point is not None and dict(trial.params) == point), None)


def _measured(order: _Order, best: RunConfig | None, folder: Path, progress: Progress) -> OnTest:
    """Best and default settings on the test, at the same seeds; once where no others are the best."""
    store, seeds = TrialStore(order.store.root, folder / "on-test"), order.options.test_seeds
    runs = []
    for arm, config in (("default", order.config), *([("best", best)] if best else [])):
        for number in range(seeds):
            seeded = config.model_copy(update={"seed": config.seed + number, "arm": arm})
            run_distillation(store, f"{arm}-{number}", seeded, progress=progress)
            runs.append(read_run(store, f"{arm}-{number}"))
            progress("test", len(runs), (2 if best else 1) * seeds)
    group = compare_group(runs, CompareOptions(baseline="default", metric=order.metric))
    arms = {arm.name: arm for arm in group.arms}
    winner, found = arms.get("best", arms["default"]), arms["best"].difference if best else None
    return OnTest(
        "+".join(order.config.task.test_splits),
        group.task.test_rows,
        winner.seeds,
        _arm(winner),
        _arm(arms["default"]),
        (found.interval.value, found.interval.low, found.interval.high) if found else (0.0, 0.0, 0.0),
        found is not None and found.told_apart,
    )


def _arm(arm: Arm) -> ArmOnTest:
    return ArmOnTest(arm.score.value, arm.score.low, arm.score.high, arm.by_seed)


def _keep(draft: Draft, report: StudyReport, space: Space) -> None:
    table = trials_table(report.trials, space)
    write_parquet(table, draft.partial(TRIALS))
    write_study(report, draft.partial(STUDY_REPORT))
    draft.partial(STUDY_PAGE).write_text(render_study(report), encoding="utf-8")
    draft.partial(BEST).write_text(report.best_toml, encoding="utf-8")
    draft.keep("study", {TRIALS: table.num_rows, STUDY_REPORT: 0, STUDY_PAGE: 0, BEST: 0})
    lost = {state: len(report.of(state)) for state in ("pruned", "failed") if report.of(state)}
    shutil.rmtree(draft.scratch("study"), ignore_errors=True)
    draft.finish(
        counts={"trials": Count(len(report.trials), len(report.of("complete")), lost)},
        facts={
            "best": report.best,
            "value": report.best_trial.value,
            "params": dict(report.best_trial.params),
            "trials": hashlib.sha256(canonical_json(without_seconds(report.trials))).hexdigest(),
        },
        attachments=[TRIALS, STUDY_REPORT, STUDY_PAGE, BEST],
    )
