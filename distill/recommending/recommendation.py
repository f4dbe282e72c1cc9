"""The recommendation: for a task, the recipes that are foretold to do best, with how sure that is and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from contract.errors import BadInput
from distill.recommending.evidence import TITLES, BoardName, Run
from distill.recommending.intervals import LEVEL, Scale, scale_of
from distill.recommending.judgement import Judgement
from distill.recommending.ranking import RANKERS, Floats, Question
from distill.recommending.recipe import NO_DISTILLATION, Recipe
from distill.recommending.task_features import TaskFeatures, unlikeness

NEAREST = 3  # rows of evidence that are shown of a recipe


@dataclass(frozen=True)
class Estimate:
    """What is foretold, from low to high: `means` says what these are."""

    value: float
    low: float
    high: float
    means: str


@dataclass(frozen=True)
class Cost:
    """Of distilling and finetuning, on the median of the recipe's runs; None where they do not say."""

    seconds: float | None
    updates: int | None


@dataclass(frozen=True)
class Evidence:
    """A run of the recipe; `unlikeness` is how many steps its task is from the one asked for."""

    run: Run
    unlikeness: float


@dataclass(frozen=True)
class Recommended:
    """One recipe. `kept` is student / teacher, `gain` the same less that of the middle one of all recipes tried;
    `distillation_ratio` is (student - plain) / (teacher - plain), None where no plain student was run.
    """

    place: int
    recipe: Recipe
    kept: Estimate
    gain: Estimate
    distillation_ratio: Estimate | None
    cost: Cost
    tasks: int  # on which it was tried with this student and teacher
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Advice:
    """What one board of evidence says."""

    board: BoardName
    context: tuple[str, str]
    runs: int
    tasks: int
    candidates: int
    judgement: Judgement
    knows_the_task: bool  # runs on this very task are among the evidence
    other_shots: tuple[int, ...]  # labelled rows a class that runs had and this task has not
    recipes: tuple[Recommended, ...]


@dataclass(frozen=True)
class Asked:
    """The task, and with which student and teacher; None is the usual one of each board."""

    features: TaskFeatures
    task_id: str | None = None
    shots: int | None = None
    student: str | None = None
    teacher: str | None = None


def recommend(
    asked: Asked, boards: Mapping[BoardName, Sequence[Run]], judgements: Mapping[BoardName, Judgement], places: int
) -> list[Advice]:
    """The best `places` recipes of each board; BadInput where none has a student or teacher of that name."""
    contexts = {name: context_of(asked, runs, judgements[name].context) for name, runs in boards.items()}
    if not any(contexts.values()):
        raise BadInput(_no_context(asked, boards))
    return [
        _advice(asked, name, runs, judgements[name], context, places)
        for name, runs in boards.items()
        if (context := contexts[name]) is not None
    ]


def context_of(asked: Asked, runs: Sequence[Run], usual: tuple[str, str]) -> tuple[str, str] | None:
    """The student and teacher asked for, with whom the most runs are; None where there is none."""
    if asked.student is None and asked.teacher is None:
        return usual
    counted: dict[tuple[str, str], int] = defaultdict(int)
    for run in runs:
        if asked.student in (None, run.student) and asked.teacher in (None, run.teacher):
            counted[run.context] += 1
    return max(sorted(counted), key=lambda context: (context == usual, counted[context]), default=None)


def _advice(
    asked: Asked, name: BoardName, runs: Sequence[Run], judgement: Judgement, context: tuple[str, str], places: int
) -> Advice:
    by_recipe: dict[Recipe, list[Run]] = defaultdict(list)
    for run in runs:
        if run.context == context:
            by_recipe[run.recipe].append(run)
    candidates = sorted(by_recipe, key=lambda recipe: recipe.key)
    ranks = RANKERS[judgement.uses](runs)([Question(asked.features, context, recipe) for recipe in candidates])
    order = np.argsort(-np.round(ranks, 9), kind="stable")[:places]
    estimates = Estimates(runs, judgement, ranks)
    return Advice(
        board=name,
        context=context,
        runs=len(runs),
        tasks=len({run.task_key for run in runs}),
        candidates=len(candidates),
        judgement=judgement,
        other_shots=tuple(sorted({run.shots for run in runs if run.shots is not None} - {asked.shots})),
        knows_the_task=any(_is_the_task(asked, run) for run in runs),
        recipes=tuple(
            _recommended(place, candidates[row], by_recipe[candidates[row]], float(ranks[row]), estimates, asked)
            for place, row in enumerate(order.tolist(), start=1)
        ),
    )


def _recommended(
    place: int, recipe: Recipe, tried: Sequence[Run], rank: float, estimates: Estimates, asked: Asked
) -> Recommended:
    seconds = [run.seconds for run in tried if run.seconds is not None]
    updates = [run.updates for run in tried if run.updates is not None]
    return Recommended(
        place=place,
        recipe=recipe,
        kept=estimates.kept(rank),
        gain=estimates.gain(rank),
        distillation_ratio=estimates.distillation_ratio(rank, recipe),
        cost=Cost(median(seconds) if seconds else None, int(median(updates)) if updates else None),
        tasks=len({run.task_key for run in tried}),
        evidence=_nearest(tried, asked),
    )


def _is_the_task(asked: Asked, run: Run) -> bool:
    """By its id, or, as the published tasks have none, by being alike to the last word."""
    return run.task_key.startswith(f"{asked.task_id}:") or (
        run.features == asked.features and bool(asked.features.words)
    )


def _nearest(tried: Sequence[Run], asked: Asked) -> tuple[Evidence, ...]:
    """The nearest runs: one of each task, from the most alike on, before a second one of any."""
    found = [Evidence(run, unlikeness(asked.features, run.features)) for run in tried]
    found.sort(key=lambda each: (round(each.unlikeness, 9), each.run.task_key, each.run.seed or 0, each.run.run))
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for each in found:
        turns.append((seen[each.run.task_key], len(turns)))
        seen[each.run.task_key] += 1
    return tuple(found[place] for _, place in sorted(turns)[:NEAREST])


class Estimates:
    """Ranks as what is kept, gained and made up for, with intervals, or ranges where none can be promised."""

    def __init__(self, runs: Sequence[Run], judgement: Judgement, ranks: Floats) -> None:
        scale = scale_of(runs)
        assert scale is not None
        self._kept, self._ratios = scale, scale_of(runs, lambda run: run.distillation_ratio)
        self._margins, self._middle = judgement.margins, float(np.median(ranks))
        self._most = max(run.kept for run in runs)

    def kept(self, rank: float) -> Estimate:
        """Never more than any run of the board kept."""
        value = float(self._kept.at(np.array([rank]))[0])
        return self._estimate(value, self._margins.kept, [float(v) for v in _each(self._kept, rank)], self._most)

    def gain(self, rank: float) -> Estimate:
        value = float(self._kept.gain(np.array([rank]), self._middle)[0])
        ranges = _each(self._kept, rank) - _each(self._kept, self._middle)
        return self._estimate(value, self._margins.gain, ranges.tolist())

    def distillation_ratio(self, rank: float, recipe: Recipe) -> Estimate | None:
        if self._ratios is None:
            return None
        if recipe.retriever == NO_DISTILLATION:
            return Estimate(0.0, 0.0, 0.0, "by definition")
        value = float(self._ratios.at(np.array([rank]))[0])
        return self._estimate(value, None, _each(self._ratios, rank).tolist())

    def _estimate(
        self, value: float, margin: float | None, by_task: Sequence[float], most: float = float("inf")
    ) -> Estimate:
        if margin is None:
            return Estimate(value, min(by_task), max(by_task), f"range over {len(by_task)} tasks")
        return Estimate(value, value - margin, min(value + margin, max(most, value)), f"{100 * LEVEL:.0f} % interval")


def _each(scale: Scale, rank: float) -> Floats:
    """What a run of that rank kept, task by task."""
    return np.array([np.quantile(values, min(max(rank, 0.0), 1.0)) for values in scale.tasks])


def _no_context(asked: Asked, boards: Mapping[BoardName, Sequence[Run]]) -> str:
    wanted = " and ".join(
        f"{what} {name!r}" for what, name in (("student", asked.student), ("teacher", asked.teacher)) if name
    )
    known = "; ".join(
        f"{TITLES[name].split(',')[0]}: students {', '.join(sorted({run.student for run in runs}))}, "
        f"teachers {', '.join(sorted({run.teacher for run in runs}))}"
        for name, runs in boards.items()
    )
    return f"No run has the {wanted}; there are, of {known}"
