"""From a rank to what a student keeps, and how far off that may be: margins that hold across tasks, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distill.recommending.evidence import Run
from distill.recommending.ranking import Floats

LEVEL = 0.8  # how often an interval is meant to hold, over new tasks


@dataclass(frozen=True, eq=False)
class Scale:
    """What was kept on each of some tasks, each sorted."""

    tasks: tuple[Floats, ...]

    def at(self, ranks: Floats) -> Floats:
        """What a run of that rank kept, on the median task."""
        return np.median([np.quantile(values, np.clip(ranks, 0, 1)) for values in self.tasks], axis=0)

    def gain(self, ranks: Floats, over: float) -> Floats:
        """How much more a run of that rank kept than one of the rank `over`, on the median task."""
        shares, middle = np.clip(ranks, 0, 1), min(max(over, 0.0), 1.0)
        return np.median([np.quantile(v, shares) - np.quantile(v, middle) for v in self.tasks], axis=0)


def scale_of(runs: Sequence[Run], value: Callable[[Run], float | None] = lambda run: run.kept) -> Scale | None:
    """The scale of runs that have the value; None where none has."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        found = value(run)
        if found is not None:
            by_task[run.task_key].append(found)
    return Scale(tuple(np.sort(by_task[task]) for task in sorted(by_task))) if by_task else None


def margin(errors: Sequence[Floats], *, level: float = LEVEL) -> float | None:
    """How far either side of a prediction an interval reaches, so that it holds with `level` on one more task.

    `errors` are absolute, an array a task that was left out; the new task is one like them, so each weighs
    1 / (tasks + 1), and the rest is beyond all of them (conformal over groups: Dunn, Wasserman, Ramdas 2022). None
    where so few tasks promise nothing: for 0.8 there must be four.
    """
    needed = level * (len(errors) + 1)
    if not errors or needed > len(errors):
        return None
    values = np.concatenate(errors)
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in errors])
    order = np.argsort(values, kind="stable")
    reached = np.searchsorted(np.cumsum(weights[order]), needed - 1e-9)
    return float(values[order[min(int(reached), len(values) - 1)]])
