"""A phase of a student's learning, distill or finetune: a step of the draft, which goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from math import isnan

from contract.draft import Draft
from contract.errors import CorruptArtifact
from contract.progress import Progress
from distill.config import RunConfig
from distill.judging.evaluation import Answers, answers_of, teacher_scores
from distill.judging.metrics import METRICS_OF
from distill.models.device import Device
from distill.models.logits import logits_of
from distill.models.states import Shape
from distill.objectives.objective import HARD, Objective, make_objective
from distill.reading.gold import Gold
from distill.reporting.outcome import CurvePoint
from distill.selecting.choices import Choices
from distill.students.student import Student
from distill.teachers.lessons import Lessons
from distill.teachers.teacher import Teacher
from distill.training.checkpoint import Checkpoint
from distill.training.early_stopping import Judge
from distill.training.loop import Recipe, train
from distill.training.met_rows import met_rows
from distill.training.processes import ALONE, Processes
from distill.training.subject import Subject, gold_subject, taught_subject


@dataclass(frozen=True)
class Course:
    """What both phases need: where the student's progress is kept, what it is judged on, and on what it computes.

    The test of `valid` is the split that it is judged on along the way, where it may stop early.
    """

    draft: Draft
    config: RunConfig
    gold: Gold
    device: Device
    progress: Progress
    valid: Gold | None = None
    processes: Processes = ALONE


@dataclass(frozen=True)
class Learned:
    """A phase that is over: its curve, its seconds and updates, and what the student then says of the test split."""

    curve: tuple[CurvePoint, ...]
    seconds: float
    answers: Answers
    updates: int


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
        embeddings=student.transformer.get_input_embeddings(),
    )

    recipe = Recipe.of(config.distill, config.distill.updates, config.seed)

    def subject() -> Subject:
        choices = Choices.of(course.draft, course.processes)
        return taught_subject(config, course.gold, student, teacher, lessons, objective, recipe, course.device, choices)

    return _learn("distill", course, student, subject, objective, recipe)


def finetune(course: Course, student: Student) -> Learned:
    """Train on the task's gold labels."""

    recipe = Recipe.of(course.config.finetune_recipe, course.config.finetune_updates, course.config.seed)

    def subject() -> Subject:
        return gold_subject(course.gold, student, recipe)

    objective = replace(HARD, slot_weight=course.config.task.slot_weight)
    return _learn("finetune", course, student, subject, objective, recipe)


def _learn(
    name: str,
    course: Course,
    student: Student,
    subject: Callable[[], Subject],
    objective: Objective,
    recipe: Recipe,
) -> Learned:
    """The student has learnt the phase when this returns: now, or before a kill, by its last checkpoint."""
    checkpoint = Checkpoint(course.draft.scratch(f"{name}.safetensors"), time.monotonic)
    receipt = course.draft.receipt(name)
    if receipt is not None:
        if not checkpoint.read({"model": student.model}, None).is_over(recipe.updates):
            raise CorruptArtifact(
                f"{course.draft.directory} says that {name} is done, but the weights it left are gone; "
                "run the same command with --restart"
            )
        state = receipt.state
        return Learned(
            tuple(CurvePoint(**point) for point in state["curve"]),
            state["seconds"],
            Answers(**state["answers"]),
            state.get("updates", recipe.updates),
        )
    learnt = subject()
    of_all = objective.masked is not None  # tokens, which what is masked may be
    with nullcontext() if of_all else met_rows(student.transformer, learnt.examples.tokens.met(), course.device) as met:
        done = train(
            name,
            student.model,
            learnt.speak,
            learnt.examples,
            learnt.order,
            objective,
            recipe,
            checkpoint,
            device=course.device,
            progress=course.progress,
            judge=_judge(course, student),
            processes=course.processes,
            met=met,
        )
    if not course.processes.main:
        return Learned(done.curve, done.seconds, Answers(), done.update)
    answers = _answers(course, student, course.gold, f"testing {name}")
    learned = Learned(done.curve, done.seconds, answers, done.update)
    course.draft.keep(name, {}, state=asdict(learned))
    return learned


def _answers(course: Course, student: Student, gold: Gold, stage: str) -> Answers:
    """What the student says of the test rows."""
    tokens = gold.test.tokens(student.tokenizer, student.max_length)

    def tell(done: int) -> None:
        course.progress(stage, done, len(tokens))

    return answers_of(logits_of(student.model, student.forward, tokens, course.device.exact, tell), gold)


def _judge(course: Course, student: Student) -> Judge | None:
    """The task's own metric on the validation split, as the main process finds it."""
    valid = course.valid
    if valid is None:
        return None

    def judge() -> float:
        score = 0.0
        if course.processes.main:
            score = teacher_scores(valid, _answers(course, student, valid, "validating"))[METRICS_OF[valid.kind][0]]
        return course.processes.total(-1.0 if isnan(score) else score, course.device.name)

    return judge
