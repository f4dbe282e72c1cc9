"""The subject of a phase: the examples, how a batch goes through the student, and in which order they are met."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from contract.errors import BadInput
from distill.augmentation.gold import gold_of_copies
from distill.config import RunConfig
from distill.models.device import Device
from distill.models.states import Sight, Speaker
from distill.objectives.alignment import beside_teacher, with_stored_states
from distill.objectives.intermediate import OF_ATTENTION, OF_TOKENS
from distill.objectives.objective import Objective
from distill.reading.examples import Examples, gold_examples
from distill.reading.gold import Gold
from distill.reading.joined import JoinedExamples
from distill.reading.source import ExampleSource, Rows
from distill.selecting.choices import Choices
from distill.selecting.disagreement import Disagreement
from distill.students.student import Student
from distill.teachers.lessons import Lessons
from distill.teachers.teacher import Teacher
from distill.training.batches import Order
from distill.training.curriculum import Choosing, Part, Staged, key_of, make_pace
from distill.training.loop import Recipe
from distill.training.mixup import MixedExamples, Mixup, mixing


@dataclass(frozen=True)
class Subject:
    """What a phase learns."""

    examples: ExampleSource
    speak: Speaker
    order: Order


def gold_subject(gold: Gold, student: Student, recipe: Recipe) -> Subject:
    """The training rows with their gold labels."""
    examples = gold_examples(gold, gold.train.tokens(student.tokenizer, student.max_length))
    return Subject(examples, student.shown(Sight()), recipe.order(examples.tokens.lengths))


def taught_subject(
    config: RunConfig,
    gold: Gold,
    student: Student,
    teacher: Teacher,
    lessons: Lessons,
    objective: Objective,
    recipe: Recipe,
    device: Device,
    choices: Choices | None = None,
) -> Subject:
    """A transfer set with what was made of it, as its teacher sees it; mixed, chosen, and in stages, where asked.

    `choices` are those of the run, where texts are chosen as it goes.
    """
    examples = _examples(config, gold, student, teacher, lessons, objective, device)
    choosing = None
    if config.selection.by == "disagreement":
        assert choices is not None, "they are kept somewhere"
        choosing = _choosing(config, lessons, student, examples, recipe, device, choices)
    order = _order(config, lessons, examples, recipe, choosing)
    speak = student.shown(objective.sight)
    if config.mixup.batches == "none":
        return Subject(examples, speak, order)
    mixed = _mixed(config, examples, teacher, objective)
    return Subject(mixed, mixing(speak, student.transformer.get_input_embeddings()), order)


def _examples(
    config: RunConfig,
    gold: Gold,
    student: Student,
    teacher: Teacher,
    lessons: Lessons,
    objective: Objective,
    device: Device,
) -> ExampleSource:
    def of(some: Lessons, gold: Gold) -> Examples:
        taught = some.examples(student, gold)
        if objective.sight or config.mixup.targets == "live":
            taught = beside_teacher(taught, some.texts, student, teacher, objective.sight)
        if config.objective.states == "stored" and objective.teacher_parts:
            taught = with_stored_states(taught, some.texts, student, teacher, objective.teacher_parts, device)
        return taught

    if not lessons.generations:
        return of(lessons, gold)
    copies = (generation.lessons for generation in lessons.generations)
    golds = ((some, gold_of_copies(gold, some.transfer_set) if config.augmentation.gold else gold) for some in copies)
    return JoinedExamples.of([of(lessons, gold), *(of(some, its) for some, its in golds)])


def _mixed(config: RunConfig, plain: ExampleSource, teacher: Teacher, objective: Objective) -> MixedExamples:
    live = config.mixup.targets == "live"
    if live and (teacher.beside or not teacher.answers):
        raise BadInput(
            'mixup.targets = "live" asks one finetuned teacher, found '
            + ("several" if teacher.beside else "one without answers")
            + '; set it to "stored"'
        )
    of_tokens = [name for name in config.objective.intermediate if name in OF_TOKENS or name in OF_ATTENTION]
    if plain.teacher_tokens is not None and of_tokens:
        raise BadInput(
            f"objective.intermediate {of_tokens[0]} compares token by token, but in a mixed text student and teacher, "
            "which cut texts differently, have no tokens in common; take pkd, infonce, nwj, tuba or mi-alpha, or leave "
            "mixup out"
        )
    shown = None
    if plain.teacher is not None:
        encoder = teacher.model.encoder
        shown = mixing(plain.teacher, encoder.get_input_embeddings())  # type: ignore[operator]
    return MixedExamples(
        plain,
        Mixup(config.mixup.beta, config.mixup.batches == "append", config.seed),
        shown,
        live=live,
        probabilities=config.objective.soft_targets != "mse",
        temperature=objective.temperature,
    )


def _choosing(
    config: RunConfig,
    lessons: Lessons,
    student: Student,
    examples: ExampleSource,
    recipe: Recipe,
    device: Device,
    choices: Choices,
) -> Choosing:
    """Texts are chosen by disagreement, those of all parts together."""
    parts = [lessons, *(generation.lessons for generation in lessons.generations)]
    selections = [part.selection for part in parts if part.selection is not None]
    classes = [selection.classes for selection in selections if selection.classes is not None]
    chooser = Disagreement(
        config.selection,
        student,
        examples,
        np.concatenate([selection.always for selection in selections]),
        np.concatenate(classes) if config.selection.balance else None,
        1.0 if config.objective.soft_targets == "mse" else config.objective.temperature,
        recipe.texts_a_batch(np.asarray(examples.tokens.lengths)),
        config.seed,
        device,
        choices,
    )
    return Choosing(chooser, config.selection.every * recipe.accumulate, recipe.updates * recipe.accumulate)


def _order(
    config: RunConfig, lessons: Lessons, examples: ExampleSource, recipe: Recipe, choosing: Choosing | None
) -> Order:
    lengths = examples.tokens.lengths
    if config.curriculum.by == "none" and not lessons.generations and lessons.selection is None:
        return recipe.order(lengths)

    def order(some: Rows, stride: int) -> Order:
        return replace(recipe, seed=recipe.seed + stride).order(some)

    pace = make_pace(config.curriculum, recipe.updates * recipe.accumulate)
    begins = [generation.begin for generation in lessons.generations]
    parts, first = [_part(config, lessons, 0, 0, math.inf)], lessons.texts.table.num_rows
    for generation, end in zip(lessons.generations, [*begins[1:], math.inf], strict=False):
        parts.append(_part(config, generation.lessons, first, generation.begin, end))
        first += generation.lessons.texts.table.num_rows
    assert first == len(lengths), "parts and examples are of the same texts"
    return Staged(parts, pace, np.asarray(lengths), order, choosing)


def _part(config: RunConfig, lessons: Lessons, first: int, begin: int, end: float) -> Part:
    """The texts of some lessons that are learnt; the first of all has this number."""
    key = key_of(lessons.texts.table, config.curriculum)
    return Part(key[lessons.rows], first + lessons.rows, begin, end)
