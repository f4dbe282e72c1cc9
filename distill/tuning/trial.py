"""A trial: one run with a point of the space laid over RUN.toml, judged on validation rows, given up if it lags."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from contract.draft import discard
from contract.errors import BadInput
from contract.manifest import Json, canonical_json
from contract.progress import Progress, silent
from distill.config import RunConfig, make_config
from distill.judging.evaluation import answers_of, predictions_table
from distill.judging.metrics import METRICS
from distill.judging.predictions import predictions_of
from distill.models.device import Device, choose_device
from distill.models.logits import logits_of
from distill.models.states import Speaker
from distill.pipeline import run_distillation
from distill.reading.gold import Gold, read_gold
from distill.reading.tokens import Tokens
from distill.reporting.outcome import read_report
from distill.students.student import make_student
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import Teacher, ready_teacher
from distill.training.loop import Diverged
from distill.tuning.sampling import PrunerName, SamplerName, SeededByTrial, gives_up, make_pruner, rungs_of
from distill.tuning.search_space import Space
from distill.tuning.trial_storage import TrialStorage, open_storage, open_study
from distill.tuning.validation import TrialStore

PAUSE_S = 0.5  # between looks at trials of other workers
_MAKES_TOKENS = ("student", "transfer_set", "augmentation")  # the settings that a vocabulary may follow from
MAX_ATTEMPTS = 3  # a trial whose workers die so often is given up
_RESULT, _ATTEMPTS = "result", "attempts"


@dataclass(frozen=True)
class Search:
    """What all workers of a study share. `raw` are the settings of RUN.toml, judged on the validation rows.

    `metric` decides; `deadline` is the time after which no trial is begun.
    """

    study: str
    store: TrialStore
    folder: Path
    raw: Mapping[str, Json]
    space: Space
    metric: str
    trials: int
    sampler: SamplerName
    pruner: PrunerName
    seed: int
    storage: str | None = None
    deadline: float | None = None

    @cached_property
    def config(self) -> RunConfig:
        return make_config(self.raw)

    @property
    def stage(self) -> str:
        """The phase in which trials are looked at: the one that learns most."""
        return "finetune" if self.config.transfer_set is None else "distill"

    @property
    def rungs(self) -> tuple[int, ...]:
        """After how many updates of it."""
        config = self.config
        updates = config.finetune_updates if config.transfer_set is None else config.distill.updates
        longest = [int(p.high) for p in self.space.parameters if p.key == "distill.updates" and not p.choices]
        return rungs_of(max([updates, *longest]))

    def open(self) -> tuple[TrialStorage, Any]:
        """The storage, and the Optuna study in it."""
        storage = open_storage(self.storage, self.folder, self.study)
        sampler, pruner = SeededByTrial(self.sampler, self.seed), make_pruner(self.pruner, self.rungs)
        maximise = not METRICS[self.metric].is_error
        return storage, open_study(storage, self.study, maximise=maximise, sampler=sampler, pruner=pruner)


def work(search: Search, progress: Progress = silent) -> None:
    """Make trials until there are as many as asked for, and all are over: also those that others began and left."""
    storage, study = search.open()
    examiner = Examiner(search)
    while True:
        with _chosen(search, storage, study) as chosen:
            if chosen is not None:
                _conduct(search, study, chosen, examiner)
        over = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        progress("trials", over, search.trials)
        if chosen is None:
            if not _running(study):
                return
            time.sleep(PAUSE_S)


def _running(study: Any) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]


@dataclass(frozen=True)
class _Chosen:
    trial: Any  # of Optuna
    point: dict[str, Json]
    looked_at: frozenset[int]  # rungs it has passed before


@contextmanager
def _chosen(search: Search, storage: TrialStorage, study: Any) -> Iterator[_Chosen | None]:
    """The trial to work at, held meanwhile: one that a dead worker left, else a new one; None when there is none."""
    with ExitStack() as held:
        with storage.choosing():
            trial = _left_behind(storage, study, held) or _new(search, storage, study, held)
            chosen = None
            if trial is not None:
                looked_at = study.get_trials(deepcopy=False)[trial.number].intermediate_values
                chosen = _Chosen(trial, search.space.suggest(trial, search.config), frozenset(looked_at))
        yield chosen


def _left_behind(storage: TrialStorage, study: Any, held: ExitStack) -> Any | None:
    for frozen in _running(study):
        with ExitStack() as attempt:
            if not attempt.enter_context(storage.attending(frozen.number)):
                continue
            trial = optuna.Trial(study, frozen._trial_id)
            attempts = frozen.user_attrs.get(_ATTEMPTS, 1) + 1
            if attempts > MAX_ATTEMPTS:
                reason = f"its worker died {MAX_ATTEMPTS} times"
                trial.set_user_attr(_RESULT, _result(0.0, 0, reason=reason))
                study.tell(trial, state=TrialState.FAIL)
                continue
            trial.set_user_attr(_ATTEMPTS, attempts)
            held.push(attempt.pop_all())
            return trial
    return None


def _new(search: Search, storage: TrialStorage, study: Any, held: ExitStack) -> Any | None:
    trials = study.get_trials(deepcopy=False)
    is_late = search.deadline is not None and time.time() >= search.deadline
    if is_late or not (len(trials) < search.trials or any(t.state == TrialState.WAITING for t in trials)):
        return None
    trial = study.ask()
    held.enter_context(storage.attending(trial.number))
    return trial


def _conduct(search: Search, study: Any, chosen: _Chosen, examiner: Examiner) -> None:
    """Make the run, tell what came of it, and remove it."""
    trial, began = chosen.trial, time.monotonic()
    name = f"trial-{trial.number}"
    config = make_config(search.space.settings(search.raw, chosen.point), f"trial {trial.number}")
    watch = _Watch(search, config, chosen, examiner)
    state, value = TrialState.COMPLETE, None
    facts: dict[str, Json] = {}
    updates = None
    try:
        if chosen.looked_at and gives_up(study, trial.number):  # its worker may have died before it could say so
            watch.rung = max(chosen.looked_at)
            raise optuna.TrialPruned
        run = run_distillation(search.store, name, config, progress=watch)
        report = read_report(run.directory)
        value, updates = report.metrics.finetuned[search.metric], report.updates.distill + report.updates.finetune
        facts = {"run_id": run.id, "metrics": dict(report.metrics.finetuned)}
        if isnan(value):
            state, value, facts = TrialState.FAIL, None, {"reason": f"its {search.metric} is no number"}
    except optuna.TrialPruned:
        state, updates, facts = TrialState.PRUNED, watch.rung, {"pruned_at": watch.rung}
    except Diverged as error:
        state, facts = TrialState.PRUNED, {"pruned_at": watch.updates, "reason": error.message}
    except BadInput as error:
        state, facts = TrialState.FAIL, {"reason": error.message}
    seconds = round(time.monotonic() - began, 2)
    trial.set_user_attr(_RESULT, _result(seconds, watch.updates if updates is None else updates, **facts))
    if value is None:
        study.tell(trial, state=state, skip_if_finished=True)
    else:
        study.tell(trial, value, skip_if_finished=True)
    discard(search.store.path("run", name))


def _result(seconds: float, updates: int, **facts: Json) -> dict[str, Json]:
    return {"seconds": seconds, "updates": updates, **facts}


class Examiner:
    """Judges unfinished students on the validation rows. Task and teacher are opened once for all trials."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._tokens: dict[bytes, Tokens] = {}
        self._teachers: dict[str, Teacher] = {}

    @cached_property
    def device(self) -> Device:
        return choose_device(self._search.config.precision)

    @cached_property
    def gold(self) -> Gold:
        return read_gold(self._search.config.task)

    def teacher(self, config: RunConfig) -> Teacher:
        """Opened once; once for each transfer set where it is adapted on it."""
        adapt, named = config.teacher.adapt, config.transfer_set
        key = named.name if adapt and named and adapt.texts == "transfer-set" else ""
        if key not in self._teachers:
            self._teachers[key] = ready_teacher(self._search.store, config, self.gold, self.device, progress=silent)
        return self._teachers[key]

    def tokens(self, config: RunConfig) -> Tokens:
        """The validation rows as the student of this config reads them."""
        settings = config.to_json()
        key = canonical_json([*(settings.get(name) for name in _MAKES_TOKENS), config.seed])
        if key not in self._tokens:
            teacher, texts = self.teacher(config), self.gold.train.texts
            lessons = None
            if config.student.vocabulary != "teacher":
                store = self._search.store
                lessons = obtain_lessons(store, config, teacher, self.gold, self.device, progress=silent)
            learnt = [*([lessons.sentences] if lessons else []), texts]
            student = make_student(config.new_student, teacher, self.device, seed=config.seed, texts=learnt)
            self._tokens[key] = self.gold.test.tokens(student.tokenizer, student.max_length)
        return self._tokens[key]

    def score(self, tokens: Tokens, model: nn.Module, speak: Speaker) -> float:
        answers = answers_of(logits_of(model, speak, tokens, self.device.exact), self.gold)
        said = predictions_of(predictions_table(self.gold, answers, answers)).student
        return METRICS[self._search.metric](said)


class _Watch:
    """Looks at a student at every rung, and ends a trial that lags behind those that got there.

    Without soft targets and gold labels the student's head has learnt nothing before finetuning: it is not looked at.
    """

    def __init__(self, search: Search, config: RunConfig, chosen: _Chosen, examiner: Examiner) -> None:
        self.rung = 0
        self._done: dict[str, int] = {}
        self._trial, self._looked_at = chosen.trial, chosen.looked_at
        learns = search.stage == "finetune" or config.objective.soft_weight > 0 or config.objective.hard_weight > 0
        self._rungs = frozenset(search.rungs if learns and search.pruner != "none" else ())
        self._stage, self._examiner, self._config = search.stage, examiner, config

    @property
    def updates(self) -> int:
        return sum(self._done.values())

    def __call__(self, stage: str, done: int, total: int | None) -> None:  # noqa: ARG002
        if stage in ("distill", "finetune"):
            self._done[stage] = done

    def look(self, stage: str, update: int, model: nn.Module, speak: Speaker) -> None:
        if stage != self._stage or update not in self._rungs:
            return
        if update in self._looked_at:  # by a worker that died
            return
        value = self._examiner.score(self._examiner.tokens(self._config), model, speak)
        model.train()
        self.rung = update
        self._trial.report(value, update)
        if self._trial.should_prune():
            raise optuna.TrialPruned
