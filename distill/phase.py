"""A phase of a student's learning, distill or finetune: a step of the draft, which goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from contract.draft import Draft
from contract.errors import CorruptArtifact
from contract.progress import Progress
from distill.checkpoint import Checkpoint
from distill.config import RunConfig
from distill.device import Device
from distill.evaluation import predicted_labels
from distill.gold import Gold
from distill.lessons import Lessons
from distill.logits import logits_of
from distill.objectives import HARD, Objective
from distill.outcome import CurvePoint
from distill.student import Student
from distill.training import Examples, Recipe, train


@dataclass(frozen=True)
class Course:
    """What both phases need: where the student's progress is kept, what it is judged on, and on what it computes."""

    draft: Draft
    config: RunConfig
    gold: Gold
    device: Device
    progress: Progress


@dataclass(frozen=True)
class Learned:
    """A phase that is over: its curve, its seconds, and what the student then says of the test split."""

    curve: tuple[CurvePoint, ...]
    seconds: float
    predicted: list[str]


def distill_student(course: Course, student: Student, lessons: Lessons) -> Learned:
    """Match the teacher on the transfer set."""
    config = course.config.distill
    objective = Objective(config.soft_weight, config.temperature)
    recipe = Recipe.of(config, config.updates, course.config.seed)
    return _learn("distill", course, student, lambda: lessons.examples(student, course.gold), objective, recipe)


def finetune(course: Course, student: Student) -> Learned:
    """Train on the task's gold labels."""

    def examples() -> Examples:
        train_rows = course.gold.train
        return Examples(train_rows.tokens(student.tokenizer, student.max_length), train_rows.classes)

    recipe = Recipe.of(course.config.finetune_recipe, course.config.finetune_updates, course.config.seed)
    return _learn("finetune", course, student, examples, HARD, recipe)


def _learn(
    name: str,
    course: Course,
    student: Student,
    examples: Callable[[], Examples],
    objective: Objective,
    recipe: Recipe,
) -> Learned:
    """The student has learnt the phase when this returns: now, or before a kill, by its last checkpoint."""
    checkpoint = Checkpoint(course.draft.scratch(f"{name}.safetensors"), time.monotonic)
    receipt = course.draft.receipt(name)
    if receipt is not None:
        if checkpoint.read(student.model, None).update < recipe.updates:
            raise CorruptArtifact(
                f"{course.draft.directory} says that {name} is done, but the weights it left are gone; "
                "run the same command with --restart"
            )
        state = receipt.state
        return Learned(tuple(CurvePoint(**point) for point in state["curve"]), state["seconds"], state["predicted"])
    done = train(
        name,
        student.model,
        student.forward,
        examples(),
        objective,
        recipe,
        checkpoint,
        device=course.device,
        progress=course.progress,
    )
    tokens = course.gold.test.tokens(student.tokenizer, student.max_length)
    logits = logits_of(student.model, student.forward, tokens, course.device.exact)
    learned = Learned(done.curve, done.seconds, predicted_labels(logits, course.gold.classes))
    course.draft.keep(name, {}, state=asdict(learned))
    return learned
