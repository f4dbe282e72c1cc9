"""A study: many runs of one RUN.toml at points of a space, and the best of them measured once on the test.

studies/NAME/  study.json, study.html, trials.parquet, best.toml, history.jsonl (attachments: seconds are in them)
studies/NAME@2/  the same study with more trials, which went on from that history
"""

from __future__ import annotations

import hashlib
import shutil
import time
import tomllib
from collections.abc import Iterator, Sequence
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
from distill.comparing.comparison import Arm, CompareOptions, compare_group, read_run
from distill.config import RunConfig, make_config
from distill.judging.metrics import METRICS, METRICS_OF
from distill.models.device import choose_device, threads
from distill.models.pretrained import content_hash, find_model
from distill.pipeline import run_distillation
from distill.reading.gold import Gold, read_gold
from distill.reading.texts import open_transfer_set
from distill.shared import PAUSE_S, entered
from distill.students.student import identity_of
from distill.teachers.answers import obtain_answers
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import ready_teacher
from distill.tuning.history import importances_of, trials_of
from distill.tuning.outcome import (
    BEST,
    HISTORY,
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
from distill.tuning.page import render_study
from distill.tuning.run_toml import to_toml
from distill.tuning.sampling import PrunerName, SamplerName
from distill.tuning.search_space import Space, label_of, lay, raw_settings, whole_settings
from distill.tuning.trial import Search
from distill.tuning.trial_storage import JOURNAL, check_storage
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
    """The study of that name: begun, or gone on with where it was left, or with more trials than it was finished with.

    Where another process is at it, on this host or on one that shares the folder, this one makes trials beside it.
    One worker makes the same trials however often it is killed. Raises what a user can mend: BadInput, NotFound,
    NameTaken, Busy, CorruptArtifact, NoSpace, WorkerLost.
    """
    check_storage(options.storage)
    gold = read_gold(config.task)
    order = _Order(store, name, config, space, validation, _metric(gold, options.metric), options)
    plan = _plan(order, gold)
    directory, earlier = _directory(order, plan)
    restart = options.restart
    with ExitStack() as stack:
        while (draft := entered(stack, directory, plan, restart=restart)) is None:
            restart = False  # what somebody is at is not discarded when he dies
            with suppress(FileNotFoundError):  # it was finished meanwhile
                _join(order, plan, directory, progress)
            time.sleep(PAUSE_S)
        if not draft.finished:
            _lay_history(draft.scratch("study"), earlier)
            search, rows = _prepared(order, plan, draft.scratch("study").absolute(), progress)
            _begin(search, restart=restart)
            work_together(search, options.workers, progress)
            _keep(draft, _reported(order, search, rows, progress), search)
    return _opened(directory)


def open_study_artifact(store: Store, name: str) -> Artifact:
    """The newest finished study of that name (`name@1`: that one)."""
    return _opened(store.find("study", name))


def _opened(directory: Path) -> Artifact:
    return open_artifact(directory, "study", version=STUDY_VERSION)


def keep_best(store: Store, study: StudyReport, name: str, *, progress: Progress = silent) -> Artifact:
    """The run with the best settings, made under a name of its own."""
    return run_distillation(store, name, make_config(tomllib.loads(study.best_toml)), progress=progress)


def _directory(order: _Order, plan: Plan) -> tuple[Path, Artifact | None]:
    """Where the study is made; and the finished one that it goes on from, where that has fewer trials than wanted.

    NameTaken where the name is of a study with other settings, or of one that nothing can be added to.
    """
    versions = order.store.versions("study", order.name)
    newest = order.store.path("study", order.name, max(versions, default=1))
    check_name(newest, plan, restart=order.options.restart)
    if not versions or order.options.trials <= read_study(newest).wanted:
        return newest, None
    earlier = _opened(newest)
    if order.options.storage is None and not _has_history(earlier):
        raise NameTaken(
            f"{newest} is finished, with --trials {read_study(newest).wanted}, and its history is not in it: go on "
            "with the --storage it was searched on, or choose another name"
        )
    directory = order.store.path("study", order.name, versions[-1] + 1)
    check_name(directory, plan, restart=order.options.restart)
    return directory, earlier


def _has_history(study: Artifact) -> bool:
    return HISTORY in {entry.name for entry in study.manifest.attachments}


def _lay_history(folder: Path, earlier: Artifact | None) -> None:
    """The study's folder with the trials of the earlier one in it, before another process can look for them there."""
    if earlier is None or folder.exists() or not _has_history(earlier):
        return
    partial = folder.with_name(".study.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copyfile(earlier.path(HISTORY), partial / JOURNAL)
    partial.rename(folder)


def _join(order: _Order, plan: Plan, directory: Path, progress: Progress) -> None:
    """Make trials of a study that another process keeps."""
    folder = directory / ".draft" / "scratch" / "study"
    if not folder.is_dir():  # it has not begun
        return
    search, _ = _prepared(order, plan, folder.absolute(), progress)
    _begin(search, restart=False)
    work_together(search, order.options.workers, progress)


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


def _with_transfer_sets(config: RunConfig, space: Space) -> Iterator[RunConfig]:
    """The run with every transfer set that a trial can name; as it is where there is none."""
    names = _transfer_sets(config, space)
    for name in names:
        settings = raw_settings(config)
        lay(settings, "transfer_set.name", name)
        yield make_config(settings)
    if not names:
        yield config


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
        for each in _with_transfer_sets(judged, space):
            teacher = ready_teacher(store, each, gold, device, progress=progress)
            obtain_answers(store, teacher, gold, device, progress=progress)
            obtain_lessons(store, each, teacher, gold, device, progress=progress)
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
        settings=whole_settings(order.config),
        best_toml=to_toml(settings, comment=comment),
    )


def _plan(order: _Order, gold: Gold) -> Plan:
    """What the trials follow from. How many there are to be is not among it: a study goes on to more."""
    config, options = order.config, order.options
    params: dict[str, Json] = config.to_json()
    del params["task"]["path"], params["transfer_set"], params["precision"]
    params["task"]["kind"] = gold.kind
    params["student"] = identity_of(config.student)
    teachers = [params["teacher"], *params["teacher"].get("beside", ())]
    for teacher in teachers:
        if teacher["model"] is not None:
            teacher["model"] = content_hash(find_model(teacher["model"]))
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


def _keep(draft: Draft, report: StudyReport, search: Search) -> None:
    table = trials_table(report.trials, search.space)
    write_parquet(table, draft.partial(TRIALS))
    write_study(report, draft.partial(STUDY_REPORT))
    draft.partial(STUDY_PAGE).write_text(render_study(report), encoding="utf-8")
    draft.partial(BEST).write_text(report.best_toml, encoding="utf-8")
    kept = {TRIALS: table.num_rows, STUDY_REPORT: 0, STUDY_PAGE: 0, BEST: 0}
    if search.storage is None:
        shutil.copyfile(search.folder / JOURNAL, draft.partial(HISTORY))
        kept[HISTORY] = 0
    draft.keep("study", kept)
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
        attachments=[*kept],
    )
