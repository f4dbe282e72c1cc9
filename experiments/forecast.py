"""The forecast: how long the runs that are left will take, by how long those took that are most like them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from experiments.experiment import PlannedRun

Key = tuple[str, ...]


def seconds_left(left: Sequence[PlannedRun], finished: Iterable[PlannedRun], took: Mapping[str, float]) -> float | None:
    """Seconds of one worker; None before any run has finished.

    A run takes as long as the others of its part and arm did; else of its arm; else of its part; else as all did.
    """
    known: dict[Key, list[float]] = defaultdict(list)
    for run in finished:
        if run.name in took:
            for key in _keys(run):
                known[key].append(took[run.name])
    if not known:
        return None
    return sum(fmean(next(known[key] for key in _keys(run) if key in known)) for run in left)


def _keys(run: PlannedRun) -> tuple[Key, ...]:
    """From what is most like it to all."""
    return (("part and arm", run.part, run.arm), ("arm", run.arm), ("part", run.part), ("all",))
