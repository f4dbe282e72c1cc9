"""Worlds of evidence for the tests: runs whose scores follow from a rule, so that what a ranker should say is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distill.recommending.evidence import BoardName, Run
from distill.recommending.recipe import Recipe
from distill.recommending.task_features import TaskFeatures

RECIPES = tuple(
    Recipe(intermediate=name, soft_targets=targets, mixup=mixup)
    for name in ("hidden-mse", "pkd", "mi-alpha")
    for targets in ("ce", "mse")
    for mixup in (False, True)
)
EFFECTS = {"hidden-mse": 0.0, "pkd": 0.02, "mi-alpha": 0.05, "ce": 0.0, "mse": 0.01, "True": 0.03, "False": 0.0}

Rule = Callable[[int, Recipe], float]  # (task, recipe) -> what is kept


def added_up(task: int, recipe: Recipe) -> float:
    """Choices add up, alike on every task, on a level of its own."""
    chosen = (recipe.intermediate, str(recipe.soft_targets), str(recipe.mixup))
    return 0.8 + 0.01 * task + sum(EFFECTS[choice] for choice in chosen)


def make_run(number: int, task: int, recipe: Recipe, kept: float, board: BoardName = "distiller") -> Run:
    return Run(
        run=f"r{number:04d}",
        board=board,
        task=f"task-{task}",
        task_key=f"key-{task}:all",
        features=TaskFeatures("classes", False, 1000 * (task + 1), 2 + task, 10.0 + task, 0.3, 1.0),
        student="small",
        teacher="large",
        recipe=recipe,
        score=0.9 * kept,
        teacher_score=0.9,
    )


def world(
    tasks: int,
    rule: Rule = added_up,
    *,
    share: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
    board: BoardName = "distiller",
) -> list[Run]:
    """Runs of a share of the recipes on each task, drawn with the seed."""
    draw = np.random.default_rng(seed)
    cells = [(task, recipe) for task in range(tasks) for recipe in RECIPES if draw.random() < share]
    return [
        make_run(number, task, recipe, rule(task, recipe) + noise * draw.standard_normal(), board)
        for number, (task, recipe) in enumerate(cells)
    ]
