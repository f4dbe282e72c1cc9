"""The forecast: how long the runs that are left will take, by how long those took that are most like them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from experiments.experiment import PlannedRun

Key = tuple[str, ...]
Guess = Callable[[PlannedRun], float]


def seconds_left(
    left: Sequence[PlannedRun], finished: Iterable[PlannedRun], took: Mapping[str, float], guess: Guess | None = None
) -> float | None:
    """Seconds of one worker; without a guess None before any run has finished.

    A run takes as long as the others of its part and arm did; else of its arm; else of its part; else as all did:
    each by how much more or less than what was guessed of it.
    """
    guessed = guess or _alike
    known: dict[Key, list[float]] = defaultdict(list)
    for run in finished:
        if run.name in took:
            for key in _keys(run):
                known[key].append(took[run.name] / guessed(run))
    if not known:
        return sum(map(guess, left)) if guess else None
    return sum(guessed(run) * fmean(next(known[key] for key in _keys(run) if key in known)) for run in left)


def _alike(run: PlannedRun) -> float:
    del run
    return 1.0


def _keys(run: PlannedRun) -> tuple[Key, ...]:
    """From what is most like it to all."""
    return (("part and arm", run.part, run.arm), ("arm", run.arm), ("part", run.part), ("all",))
