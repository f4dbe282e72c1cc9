"""What leaving out one task after the other says of the rankers, and which of them is to be used for it.

judgement.json ships beside the evidence; with runs of their own users have one of their own beside their table. Each
is of one table, by its hash, and is made again when that has changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contract.errors import CorruptArtifact
from contract.manifest import Json, write_whole
from distill.judging.bootstrap import CONFIDENCE

JUDGEMENT = "judgement.json"
_VERSION = 1


@dataclass(frozen=True)
class TaskJudgement:
    """One task, left out. By ranker: Spearman over all its runs, and over those of the context; regrets in points.

    Regret is what the best recipe tried there kept of its teacher, less the best of the first five (or the first one)
    that the ranker names, times 100; of random fives it is the mean over all of them. `chosen` is the learned ranker
    that was best on the other tasks among themselves, and stands as "learned". `covered` are the shares of its
    recipes, in the context, that the intervals held: of what is kept and of the gain; None where there are none.
    """

    task: str
    runs: int
    recipes: int
    chosen: str | None
    spearman: Mapping[str, float | None]
    context_spearman: Mapping[str, float | None]
    regret_of_five: Mapping[str, float | None]
    regret_of_one: Mapping[str, float | None]
    covered: Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Margins:
    """How far a prediction may be off, either side, as shares; None where the tasks are too few to say."""

    kept: float | None
    gain: float | None
    kept_coverage: float | None
    gain_coverage: float | None


@dataclass(frozen=True)
class Difference:
    """A mean difference of regrets over tasks, in points, with the bootstrap interval had other tasks been drawn.

    `p` is the share of all ways to swap the two sides, task by task, that give a mean as far from 0: exact for few
    tasks, where the bootstrap alone says too often that there is something (14 times in 100 of six tasks of noise).
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def is_better(self) -> bool:
        """Whether interval and p both support that the first has the smaller regret."""
        return self.high < 0 and self.p < 1 - CONFIDENCE


@dataclass(frozen=True)
class Judgement:
    """A board, judged. `uses` is the ranker that `recommend` takes: the learned one only if it beat the average.

    `against_average` and `against_random` are of the regret of five: the learned ranker's less the average's, and the
    used one's less that of random fives; None of fewer than six tasks, which cannot tell anything apart.
    """

    evidence: str
    context: tuple[str, str]
    uses: str
    learned: str | None
    tasks: tuple[TaskJudgement, ...]
    against_average: Difference | None
    against_random: Difference | None
    margins: Margins

    @property
    def judged(self) -> int:
        """How many tasks had more recipes than five, so that a choice of five can be judged."""
        return sum(task.regret_of_five["random"] is not None for task in self.tasks)

    def mean(self, measure: str, ranker: str) -> float | None:
        """The mean over tasks of one of the measures, None where there is none."""
        values = [value for task in self.tasks if (value := getattr(task, measure).get(ranker)) is not None]
        return sum(values) / len(values) if values else None


def read_judgements(path: Path) -> dict[str, Judgement]:
    """The judgements of a file, by the hash of what was judged; none where there is no such file, or an older one."""
    try:
        raw = json.loads(path.read_bytes())
        found = [_judgement(entry) for entry in raw["judgements"]] if raw["version"] == _VERSION else []
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{path} is no file of judgements ({type(error).__name__}); remove it") from error
    return {judgement.evidence: judgement for judgement in found}


def write_judgements(judgements: list[Judgement], path: Path) -> None:
    written = {"version": _VERSION, "judgements": [asdict(judgement) for judgement in judgements]}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may judge at once, each the same
    write_whole(path, (json.dumps(written, indent=1, allow_nan=False) + "\n").encode(), partial)


def _judgement(raw: Mapping[str, Any]) -> Judgement:
    return Judgement(
        **{
            **raw,
            "context": tuple(raw["context"]),
            "tasks": tuple(_task(task) for task in raw["tasks"]),
            "against_average": _difference(raw["against_average"]),
            "against_random": _difference(raw["against_random"]),
            "margins": Margins(**raw["margins"]),
        }
    )


def _task(raw: Mapping[str, Any]) -> TaskJudgement:
    return TaskJudgement(**{**raw, "covered": {name: tuple(pair) for name, pair in raw["covered"].items()}})


def _difference(raw: Json) -> Difference | None:
    return None if raw is None else Difference(**raw)
