"""The guess: how long a run takes before any like it was made, by its updates and sizes; seconds of one core.

Measured on the machine of docs/log.md with batches of 64 short texts. What is made once, a teacher or a set's labels,
is counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from distill.config import RunConfig, read_config
from experiments.experiment import PlannedRun

# Of an update: so much for each number of a word's embedding, and for each layer's width squared.
_OF_WIDTH, _OF_LAYERS = 1.64e-4, 3.3e-7
_OTHER = 0.06  # of a student that is not from scratch
_WITH_STATES: Mapping[str, float] = MappingProxyType({"live": 3.0, "stored": 1.5})
_TEACHER_UPDATE, _ADAPTING_UPDATE = 0.18, 0.25
_LABELS = 25.0  # of a set of some 20,000 texts


def guessed_seconds(run: PlannedRun) -> float:
    """Of the run itself."""
    config = read_config(*run.config)
    distils = config.distill.updates if config.transfer_set else 0
    weighed = distils * (_WITH_STATES[config.objective.states] if config.objective.intermediate else 1.0)
    stages = 2 if run.before else 1  # both of half the updates
    return (stages * weighed + config.finetune_updates) * _update(config)


def guessed_once(left: Sequence[PlannedRun], finished: Iterable[PlannedRun]) -> float:
    """Of the teachers and labels that the runs that are left need, and no finished one had."""
    had = {key for run in finished for key, _ in _shared(run)}
    return sum({key: seconds for run in left for key, seconds in _shared(run) if key not in had}.values())


def _shared(run: PlannedRun) -> Iterator[tuple[str, float]]:
    config = read_config(*run.config)
    adapting = config.teacher.adapt.updates * _ADAPTING_UPDATE if config.teacher.adapt else 0.0
    key = f"{config.task.model_dump_json()} {config.teacher.model_dump_json()}"
    yield key, config.teacher.updates * _TEACHER_UPDATE + adapting
    if config.transfer_set is not None:
        yield f"{key} {config.transfer_set.name}", _LABELS


def _update(config: RunConfig) -> float:
    student = config.student
    if student.layers is None or student.width is None:
        return _OTHER
    return _OF_WIDTH * student.width + _OF_LAYERS * student.layers * student.width**2
