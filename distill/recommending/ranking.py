"""The rankers: from runs of other tasks, how good a recipe will be on a task; each learns ranks, not scores.

A run's rank is its place among its task's runs, 0 the worst and 1 the best: between tasks scores are on scales of
their own (CoLA's ratios spread 50 times wider than QQP's).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from distill.recommending.evidence import Run
from distill.recommending.recipe import Recipe
from distill.recommending.task_features import TaskFeatures, unlikeness

Floats = npt.NDArray[np.float64]
_TREES = 100
_SHRINKAGE = 10.0  # of a choice's effect, in runs, towards none
_DOUBT = 1.0  # of a recipe's mean over tasks, in tasks, towards the middle
_MIDDLE = 0.5


@dataclass(frozen=True)
class Question:
    """How good will this recipe be, with this student and teacher, on this task?"""

    features: TaskFeatures
    context: tuple[str, str]
    recipe: Recipe


Answer = Callable[[Sequence[Question]], Floats]  # (n,) ranks between 0 and 1, about
Ranker = Callable[[Sequence[Run]], Answer]


def question_of(run: Run) -> Question:
    return Question(run.features, run.context, run.recipe)


def ranks_by_task(runs: Sequence[Run]) -> Floats:
    """(n,): every run's place among the runs of its task by what it kept of the teacher, equal ones in between."""
    ranks = np.empty(len(runs))
    for rows in _rows_by_task(runs).values():
        ranks[rows] = (rankdata([runs[row].kept for row in rows]) - 0.5) / len(rows)
    return ranks


def average(runs: Sequence[Run]) -> Answer:
    """ "Best on average": a recipe's mean rank over tasks with that student and teacher, one task's worth in doubt.

    What was not tried with them is taken to be in the middle.
    """
    by_task: dict[tuple[tuple[str, str], Recipe], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run, rank in zip(runs, ranks_by_task(runs).tolist(), strict=True):
        by_task[run.context, run.recipe][run.task_key].append(rank)
    means = {key: _doubted([math.fsum(r) / len(r) for r in tasks.values()]) for key, tasks in by_task.items()}
    return lambda asked: np.array([means.get((q.context, q.recipe), _MIDDLE) for q in asked])


def choices(runs: Sequence[Run]) -> Answer:
    """An effect a choice, the same for all tasks, shrunk towards none; they add up."""
    return _added_up(runs, weights_by_task(runs))


def nearest(runs: Sequence[Run]) -> Answer:
    """The same, learnt the more from a task the more alike it is to the one asked for."""

    def answer(asked: Sequence[Question]) -> Floats:
        ranks = np.empty(len(asked))
        for task in {question.features for question in asked}:
            likeness = np.array([math.exp(-unlikeness(task, run.features)) for run in runs])
            rows = [row for row, question in enumerate(asked) if question.features == task]
            ranks[rows] = _added_up(runs, weights_by_task(runs) * likeness)([asked[row] for row in rows])
        return ranks

    return answer


def forest(runs: Sequence[Run]) -> Answer:
    """A random forest over choices and what a task is like."""
    from sklearn.ensemble import RandomForestRegressor

    trees = RandomForestRegressor(_TREES, min_samples_leaf=3, n_jobs=1, random_state=0)
    return _of_trees(trees, runs, ranks_by_task(runs), weights_by_task(runs))


def boosting(runs: Sequence[Run]) -> Answer:
    """Gradient boosting over the same."""
    from sklearn.ensemble import GradientBoostingRegressor

    trees = GradientBoostingRegressor(n_estimators=_TREES, max_depth=3, subsample=0.7, random_state=0)
    return _of_trees(trees, runs, ranks_by_task(runs), weights_by_task(runs))


def forest_of_ratios(runs: Sequence[Run]) -> Answer:
    """AutoDistiller's way, for comparison only: a random forest of the ratios themselves, every run the same."""
    from sklearn.ensemble import RandomForestRegressor

    trees = RandomForestRegressor(_TREES, n_jobs=1, random_state=0)
    return _of_trees(trees, runs, np.array([run.kept for run in runs]), np.ones(len(runs)))


AVERAGE = "average"
LEARNED: Mapping[str, Ranker] = {"choices": choices, "nearest": nearest, "forest": forest, "boosting": boosting}
RANKERS: Mapping[str, Ranker] = {AVERAGE: average, **LEARNED}


def weights_by_task(runs: Sequence[Run]) -> Floats:
    """(n,): every task weighs the same, the mean run 1."""
    counted = Counter(run.task_key for run in runs)
    return np.array([len(runs) / len(counted) / counted[run.task_key] for run in runs])


def _rows_by_task(runs: Sequence[Run]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, run in enumerate(runs):
        rows[run.task_key].append(row)
    return rows


def _doubted(ranks: Sequence[float]) -> float:
    return (math.fsum(ranks) + _DOUBT * _MIDDLE) / (len(ranks) + _DOUBT)


def _added_up(runs: Sequence[Run], weights: Floats) -> Answer:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import Ridge

    vectors = DictVectorizer(sparse=False)
    fitted = Ridge(alpha=_SHRINKAGE).fit(
        vectors.fit_transform([_chosen(question_of(run)) for run in runs]), ranks_by_task(runs), weights
    )
    return lambda asked: np.asarray(fitted.predict(vectors.transform([_chosen(question) for question in asked])))


def _of_trees(trees: object, runs: Sequence[Run], target: Floats, weights: Floats) -> Answer:
    from sklearn.feature_extraction import DictVectorizer

    vectors = DictVectorizer(sparse=False)
    trees.fit(vectors.fit_transform([_described(question_of(run)) for run in runs]), target, weights)  # type: ignore[attr-defined]
    return lambda asked: np.asarray(trees.predict(vectors.transform([_described(q) for q in asked])))  # type: ignore[attr-defined]


def _chosen(question: Question) -> dict[str, str]:
    student, teacher = question.context
    return {**question.recipe.choices, "student": student, "teacher": teacher}


def _described(question: Question) -> dict[str, str | float]:
    """The choices, and those features that are known of every task."""
    task = question.features
    sizes = {"log_rows": math.log10(max(task.rows, 1)), "log_classes": math.log2(1 + task.classes)}
    return {**_chosen(question), **sizes, "kind": task.kind, "pairs": str(task.pairs)}
