"""Leaving out one task after the other: how well each ranker ranks the recipes of a task it has not seen.

Which learned ranker stands for them all is chosen anew for each task, by leaving out each of the others in turn: the
task that judges is never among those that choose. Many tasks are left out in ten groups.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from contract.progress import Progress
from distill.judging.bootstrap import CONFIDENCE, DECISIVE_ROWS, Interval
from distill.recommending.evidence import Run, identity
from distill.recommending.intervals import margin, scale_of
from distill.recommending.judgement import Difference, Judgement, Margins, TaskJudgement
from distill.recommending.ranking import AVERAGE, LEARNED, Floats, Ranker, average, question_of

PICKS = 5
RANDOM, LEARNT = "random", "learned"
_FEWEST_TASKS = 4  # of fewer, none can be left out of those left when one is out
_MOST_GROUPS = 10  # pairs of groups are left out, so that the work grows with their square
_RESAMPLES = 10_000
_MOST_EXACT = 14  # tasks whose 16,384 swaps are all looked at


@dataclass(frozen=True, eq=False)
class Tried:
    """The recipes tried on one task in the context: what each kept on the mean of its runs, and its rank foretold."""

    kept: Floats
    ranks: Floats

    def regret(self, picks: int) -> float | None:
        """Points that the best of the `picks` ranked first stays behind the best; None where all would be picked."""
        if len(self.kept) <= picks:
            return None
        first = np.argsort(-np.round(self.ranks, 9), kind="stable")[:picks]
        return 100 * float(self.kept.max() - self.kept[first].max())

    def random_regret(self, picks: int) -> float | None:
        """The same of random picks, on the mean over all there are."""
        recipes = len(self.kept)
        if recipes <= picks:
            return None
        chances = [math.comb(place, picks - 1) / math.comb(recipes, picks) for place in range(recipes)]
        return 100 * float(self.kept.max() - np.dot(np.sort(self.kept), chances))


class Folds:
    """Every ranker's ranks of the runs of a task, learnt without its group of tasks, and without one more group."""

    def __init__(self, runs: Sequence[Run], rankers: Mapping[str, Ranker], progress: Progress) -> None:
        self.by_task: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            self.by_task[run.task_key].append(run)
        self.tasks = sorted(self.by_task)
        self.context = usual_context(runs)
        self.is_nested = len(self.tasks) >= _FEWEST_TASKS
        self._groups = min(len(self.tasks), _MOST_GROUPS)
        self._group = {task: number % self._groups for number, task in enumerate(self.tasks)}
        self._ranks: dict[tuple[str, str, int], Floats] = {}
        self._fill(rankers, progress)

    def ranks(self, ranker: str, task: str, without: str) -> Floats:
        """(runs of `task`,): learnt without it and without the task `without`, which may be the same."""
        return self._ranks[ranker, task, self._group[without]]

    def tried(self, ranker: str, task: str, without: str) -> Tried:
        by_recipe = defaultdict(list)
        for run, rank in zip(self.by_task[task], self.ranks(ranker, task, without).tolist(), strict=True):
            if run.context == self.context:
                by_recipe[run.recipe].append((run.kept, rank))
        ordered = sorted(by_recipe, key=lambda recipe: recipe.key)
        means = np.array([np.mean(by_recipe[recipe], axis=0) for recipe in ordered]).reshape(-1, 2)
        return Tried(means[:, 0], means[:, 1])

    def left(self, *tasks: str) -> list[Run]:
        """The runs of the groups that none of the tasks is in."""
        groups = {self._group[task] for task in tasks}
        return [run for task in self.tasks if self._group[task] not in groups for run in self.by_task[task]]

    def _fill(self, rankers: Mapping[str, Ranker], progress: Progress) -> None:
        firsts = self.tasks[: self._groups]  # one of each group
        pairs = [(one, other) for one in firsts for other in firsts if one <= other]
        pairs = [pair for pair in pairs if pair[0] == pair[1] or self.is_nested]
        for done, (one, other) in enumerate(pairs):
            progress("leaving tasks out", done, len(pairs))
            self._learn(rankers, one, other)
        progress("leaving tasks out", len(pairs), len(pairs))

    def _learn(self, rankers: Mapping[str, Ranker], one: str, other: str) -> None:
        """Learn without the groups of both, and rank the runs of their tasks."""
        runs, (first, second) = self.left(one, other), (self._group[one], self._group[other])
        for name, ranker in rankers.items():
            answer = ranker(runs)
            for task in self.tasks:
                if self._group[task] in (first, second):
                    without = second if self._group[task] == first else first
                    self._ranks[name, task, without] = answer([question_of(run) for run in self.by_task[task]])


def judge(
    runs: Sequence[Run],
    *,
    progress: Progress,
    learned: Mapping[str, Ranker] = LEARNED,
    beside: Mapping[str, Ranker] | None = None,
    seed: int = 0,
) -> Judgement:
    """Judge the rankers on a board. `beside` are shown and never chosen."""
    names = [AVERAGE, *learned]
    if len({run.task_key for run in runs}) < 2:
        return _unjudged(runs)
    folds = Folds(runs, {AVERAGE: average, **learned, **(beside or {})}, progress)
    tasks = tuple(_judged(folds, task, names, [*names, *(beside or {})]) for task in folds.tasks)
    return _decided(runs, folds, tasks, list(learned), seed)


def usual_context(runs: Sequence[Run]) -> tuple[str, str]:
    """The student and teacher with whom the most tasks were tried, then the most runs."""
    tasks = Counter(context for context, _ in {(run.context, run.task_key) for run in runs})
    counted = Counter(run.context for run in runs)
    return max(sorted(counted), key=lambda context: (tasks[context], counted[context]))


def _judged(folds: Folds, task: str, names: list[str], shown: list[str]) -> TaskJudgement:
    chosen = _best(folds, names[1:], task) if folds.is_nested else None
    own = {name: folds.tried(name, task, task) for name in shown}
    ranks = {name: folds.ranks(name, task, task) for name in shown}
    if chosen is not None:
        own[LEARNT], ranks[LEARNT] = own[chosen], ranks[chosen]
    kept = np.array([run.kept for run in folds.by_task[task]])
    any_tried = own[AVERAGE]
    return TaskJudgement(
        task=folds.by_task[task][0].task,
        runs=len(kept),
        recipes=len(any_tried.kept),
        chosen=chosen,
        spearman={name: _spearman(found, kept) for name, found in ranks.items()},
        context_spearman={name: _spearman(tried.ranks, tried.kept) for name, tried in own.items()},
        regret_of_five={
            **{name: tried.regret(PICKS) for name, tried in own.items()}, RANDOM: any_tried.random_regret(PICKS)
        },
        regret_of_one={**{name: tried.regret(1) for name, tried in own.items()}, RANDOM: any_tried.random_regret(1)},
        covered={
            **{AVERAGE: _covered(folds, AVERAGE, task)},
            **({LEARNT: _covered(folds, chosen, task)} if chosen else {}),
        },
    )  # fmt: skip


def _best(folds: Folds, names: Sequence[str], without: str | None) -> str:
    """The ranker of the least mean regret of five on the tasks, each left out; `without` one that is not looked at."""

    def mean_regret(name: str) -> float:
        others = [task for task in folds.tasks if task != without]
        found = [folds.tried(name, task, without or task).regret(PICKS) for task in others]
        return float(np.mean([regret for regret in found if regret is not None] or [math.inf]))

    return min(names, key=mean_regret)


def _decided(
    runs: Sequence[Run], folds: Folds, tasks: tuple[TaskJudgement, ...], learned: list[str], seed: int
) -> Judgement:
    against_average = _difference(tasks, LEARNT, AVERAGE, seed)
    beats = against_average is not None and against_average.is_better
    uses = _best(folds, learned, None) if beats else AVERAGE
    stands = LEARNT if beats else AVERAGE
    kept, gain = (margin(errors) for errors in _errors(folds, uses, None))
    covered = [task.covered[stands] for task in tasks]
    return Judgement(
        evidence=identity(runs),
        context=folds.context,
        uses=uses,
        learned=_best(folds, learned, None) if folds.is_nested else None,
        tasks=tasks,
        against_average=against_average,
        against_random=_difference(tasks, stands, RANDOM, seed),
        margins=Margins(kept, gain, _mean([pair[0] for pair in covered]), _mean([pair[1] for pair in covered])),
    )


def _unjudged(runs: Sequence[Run]) -> Judgement:
    """Of a single task nothing can be left out."""
    context = usual_context(runs)
    return Judgement(identity(runs), context, AVERAGE, None, (), None, None, Margins(None, None, None, None))


def _covered(folds: Folds, ranker: str, task: str) -> tuple[float | None, float | None]:
    """The shares of a task's recipes within the margins that the other tasks give, of what is kept and of the gain."""
    if not folds.is_nested:
        return None, None
    found = []
    for own, others in zip(_errors_on(folds, ranker, task, task), _errors(folds, ranker, task), strict=True):
        reach = margin(others)
        found.append(None if reach is None or not len(own) else float(np.mean(own <= reach + 1e-12)))
    return found[0], found[1]


def _errors(folds: Folds, ranker: str, without: str | None) -> tuple[list[Floats], list[Floats]]:
    """Absolute errors of what is kept and of the gain, an array a task, each task left out."""
    pairs = [_errors_on(folds, ranker, task, without or task) for task in folds.tasks if task != without]
    return [kept for kept, _ in pairs if len(kept)], [gain for _, gain in pairs if len(gain)]


def _errors_on(folds: Folds, ranker: str, task: str, without: str) -> tuple[Floats, Floats]:
    tried, scale = folds.tried(ranker, task, without), scale_of(folds.left(task, without))
    if not len(tried.kept) or scale is None:
        return np.empty(0), np.empty(0)
    gained = tried.kept - np.median(tried.kept)
    foretold = scale.gain(tried.ranks, float(np.median(tried.ranks)))
    return np.abs(tried.kept - scale.at(tried.ranks)), np.abs(gained - foretold)


def _difference(tasks: Sequence[TaskJudgement], one: str, other: str, seed: int) -> Difference | None:
    """The mean difference of regrets of five over tasks; None of too few."""
    pairs = [(task.regret_of_five.get(one), task.regret_of_five.get(other)) for task in tasks]
    differences = np.array([a - b for a, b in pairs if a is not None and b is not None])
    if len(differences) < DECISIVE_ROWS:
        return None
    interval = mean_interval(differences, seed)
    return Difference(interval.value, interval.low, interval.high, swapped_p(differences, seed))


def swapped_p(differences: Floats, seed: int) -> float:
    """The share of sign changes, all or many drawn, whose mean is at least as far from 0 as that of the differences."""
    tasks = len(differences)
    if tasks <= _MOST_EXACT:
        signs = 1 - 2 * (np.arange(2**tasks)[:, None] >> np.arange(tasks) & 1)
    else:
        drawn = np.random.default_rng(seed).choice([-1, 1], (_RESAMPLES, tasks))
        signs = np.vstack([np.ones((1, tasks), np.int64), drawn])
    means = np.abs(signs @ differences)
    return float(np.mean(means >= means[0] - 1e-9))


def mean_interval(values: Floats, seed: int) -> Interval:
    """The mean over tasks, and its percentile interval had other tasks been drawn."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def _spearman(ranks: Floats, kept: Floats) -> float | None:
    """None where all are alike, so that there is no order."""
    if len(kept) < 3 or np.ptp(ranks) < 1e-12 or np.ptp(kept) < 1e-12:
        return None
    return float(spearmanr(ranks, kept).statistic)


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None
