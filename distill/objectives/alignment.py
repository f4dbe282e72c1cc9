"""Alignment: what two models that cut texts differently are compared on, words by their characters.

A word both have read is compared; the tokens of each that share a character with it say it. Where a token reaches over
several words (in scripts without spaces it does), those are one. Words beyond either model's cut are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import BadInput
from contract.manifest import Json
from distill.models.device import Device
from distill.models.states import Part, Shape, Sight
from distill.reading.examples import Examples
from distill.reading.shelf import Pages
from distill.reading.stored_states import read_states
from distill.reading.texts import Texts
from distill.reading.tokens import Tokens, key_of, read_tokens, settings_of
from distill.reading.words import NO_TOKEN, Words, lay_words, word_arrays, words_laid
from distill.students.student import Student
from distill.teachers.teacher import Teacher

Reader = tuple[Any, int]  # a tokenizer, and the longest text in tokens

_SIDES = ("student_", "teacher_")


def beside_teacher(examples: Examples, texts: Texts, student: Student, teacher: Teacher, sight: Sight) -> Examples:
    """The examples of these texts with the teacher's states: on the student's tokens, or on its own, aligned."""
    shown = replace(examples, teacher=teacher.shown(sight))
    if read_alike(student.tokenizer, teacher.tokenizer):
        return shown
    if sight.masked:
        raise BadInput(
            "objective.mlm_weight compares what student and teacher put in the same masked places, but their "
            "tokenizers are not the same; take a student with the teacher's own and whole vocabulary, or leave "
            "mlm_weight out"
        )
    tokens, teacher_tokens = read_aligned(
        texts, (student.tokenizer, student.max_length), (teacher.tokenizer, teacher.max_length)
    )
    return replace(shown, tokens=replace(tokens, words=examples.tokens.words), teacher_tokens=teacher_tokens)


def with_stored_states(
    examples: Examples, texts: Texts, student: Student, teacher: Teacher, parts: frozenset[Part], device: Device
) -> Examples:
    """The same as `beside_teacher` made, with these parts of the teacher's states stored in its stead."""
    assert examples.teacher is not None, "there is a teacher to be asked once"
    theirs = examples.teacher_tokens is not None
    reader = teacher if theirs else student
    key = {**key_of(reader.tokenizer), "max_length": reader.max_length, "teacher": teacher.members[0].artifact.id}
    states = read_states(
        texts,
        examples.teacher_tokens or examples.tokens,
        key,
        examples.teacher,
        Shape.of(teacher.model.encoder.config),
        parts,
        device,
    )
    return replace(examples, teacher=None, states=states)


def read_alike(one: Any, other: Any) -> bool:
    """Whether two tokenizers make the same tokens of every text, and tell their models the same about them."""
    return bool(one.model_input_names == other.model_input_names and settings_of(one) == settings_of(other))


def read_aligned(texts: Texts, student: Reader, teacher: Reader) -> tuple[Tokens, Tokens]:
    """The tokens of both, with the words they are compared on, mapped; those are found now where they were not."""
    sides = [
        read_tokens(texts, reader, max_length=longest, words="all words") for reader, longest in (student, teacher)
    ]
    ours, theirs = (tokens.words for tokens in sides)
    assert ours is not None, "words were looked for"
    assert theirs is not None, "words were looked for"

    def lay(pages: Pages) -> Mapping[str, Json]:
        for start, some in texts.chunks():
            stop = start + some.num_rows
            found = align(ours.slice(start, stop), theirs.slice(start, stop))
            for side, words in zip(_SIDES, found, strict=True):
                lay_words(pages, words, side)
            texts.shelf.progress("alignment", stop, texts.table.num_rows)
        return {}

    keys = [{**key_of(reader), "max_length": longest} for reader, longest in (student, teacher)]
    arrays = [name for side in _SIDES for name in word_arrays(side)]
    laid = texts.shelf.obtain("alignment", {**texts.params, "student": keys[0], "teacher": keys[1]}, arrays, lay)
    ours_compared, theirs_compared = (words_laid(laid, side) for side in _SIDES)
    return replace(sides[0], compared=ours_compared), replace(sides[1], compared=theirs_compared)


def align(student: Words, teacher: Words) -> tuple[Words, Words]:
    """The words that both have read, which were found in them by the same characters."""
    said = np.flatnonzero((student.places != NO_TOKEN) & (teacher.places != NO_TOKEN))
    begins = _begins(student, said) & _begins(teacher, said)
    return _united(student, said, begins), _united(teacher, said, begins)


def _begins(words: Words, said: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each of these words begins with a token of its own, or in a text of its own; the others go on."""
    texts = words.texts[said]
    begins = np.ones(len(said), bool)
    begins[1:] = (texts[1:] != texts[:-1]) | (words.places[said][1:] >= words.stops[said][:-1])
    return begins


def _united(words: Words, said: npt.NDArray[np.int64], begins: npt.NDArray[np.bool_]) -> Words:
    """These words, each with those that go on from it."""
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(said))[: len(first)] - 1
    counts = np.bincount(words.texts[said][first], minlength=len(words.offsets) - 1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Words(words.places[said[first]], words.stops[said[last]], offsets)
