"""A phase of a student's learning, distill or finetune: a step of the draft, which goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from contract.draft import Draft
from contract.errors import CorruptArtifact
from contract.progress import Progress
from distill.alignment import beside_teacher
from distill.checkpoint import Checkpoint
from distill.config import RunConfig
from distill.device import Device
from distill.evaluation import Answers, answers_of
from distill.examples import Examples, gold_examples
from distill.gold import Gold
from distill.lessons import Lessons
from distill.logits import logits_of
from distill.objectives import HARD, Objective, make_objective
from distill.outcome import CurvePoint
from distill.states import Shape
from distill.student import Student
from distill.teacher import Teacher
from distill.training import Recipe, train


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
    answers: Answers


def distill_student(course: Course, student: Student, teacher: Teacher, lessons: Lessons) -> Learned:
    """Match the teacher on the transfer set; it runs beside the student where its states are asked for."""
    config = course.config
    objective = make_objective(
        config.objective,
        Shape.of(student.config),
        Shape.of(teacher.model.encoder.config),
        pooling=teacher.model.pooling,
        device=course.device.name,
        seed=config.seed,
        slot_weight=config.task.slot_weight,
    )

    def examples() -> Examples:
        stored = lessons.examples(student, course.gold)
        return beside_teacher(stored, lessons.texts, student, teacher, objective.sight) if objective.sight else stored

    recipe = Recipe.of(config.distill, config.distill.updates, config.seed)
    return _learn("distill", course, student, examples, objective, recipe)


def finetune(course: Course, student: Student) -> Learned:
    """Train on the task's gold labels."""

    def examples() -> Examples:
        return gold_examples(course.gold, course.gold.train.tokens(student.tokenizer, student.max_length))

    recipe = Recipe.of(course.config.finetune_recipe, course.config.finetune_updates, course.config.seed)
    objective = replace(HARD, slot_weight=course.config.task.slot_weight)
    return _learn("finetune", course, student, examples, objective, recipe)


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
        if checkpoint.read({"model": student.model}, None).update < recipe.updates:
            raise CorruptArtifact(
                f"{course.draft.directory} says that {name} is done, but the weights it left are gone; "
                "run the same command with --restart"
            )
        state = receipt.state
        return Learned(
            tuple(CurvePoint(**point) for point in state["curve"]), state["seconds"], Answers(**state["answers"])
        )
    done = train(
        name,
        student.model,
        student.shown(objective.sight),
        examples(),
        objective,
        recipe,
        checkpoint,
        device=course.device,
        progress=course.progress,
    )
    tokens = course.gold.test.tokens(student.tokenizer, student.max_length)

    def tell(done: int) -> None:
        course.progress(f"testing {name}", done, len(tokens))

    logits = logits_of(student.model, student.forward, tokens, course.device.exact, tell)
    learned = Learned(done.curve, done.seconds, answers_of(logits, course.gold))
    course.draft.keep(name, {}, state=asdict(learned))
    return learned
