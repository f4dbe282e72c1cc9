"""Alignment: what two models that cut texts differently are compared on, words by their characters.

A word both have read is compared; the tokens of each that share a character with it say it. Where a token reaches over
several words (in scripts without spaces it does), those are one. Words beyond either model's cut are left out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.examples import Examples
from distill.states import Sight
from distill.student import Student
from distill.teacher import Teacher
from distill.texts import Texts
from distill.tokens import Tokens, tokenize
from distill.words import NO_TOKEN, Words, WordSpans, gather_words, pair_words


def beside_teacher(examples: Examples, texts: Texts, student: Student, teacher: Teacher, sight: Sight) -> Examples:
    """The examples of these texts with the teacher's states: on the student's tokens, or on its own, aligned."""
    shown = replace(examples, teacher=teacher.shown(sight))
    if read_alike(student.tokenizer, teacher.tokenizer):
        return shown
    sentences, pairs = texts.table["text"].to_pylist(), texts.table["text_pair"].to_pylist()
    words = words_of(texts)
    ours = examples.tokens
    if ours.words is None:
        ours = tokenize(student.tokenizer, sentences, pairs, max_length=student.max_length, words=words)
    tokens, teacher_tokens = align(ours, teacher.tokens(sentences, pairs, words))
    return replace(shown, tokens=replace(tokens, words=examples.tokens.words), teacher_tokens=teacher_tokens)


def read_alike(one: Any, other: Any) -> bool:
    """Whether two tokenizers make the same tokens of every text, and tell their models the same about them."""
    return bool(one.model_input_names == other.model_input_names and _settings(one) == _settings(other))


def words_of(texts: Texts) -> WordSpans:
    """The words of every text, of a pair those of both sentences."""
    pairs = texts.table["text_pair"]
    if pairs.null_count == len(pairs):
        return texts.words
    return gather_words(map(pair_words, texts.table["text"].to_pylist(), pairs.to_pylist()))


def align(student: Tokens, teacher: Tokens) -> tuple[Tokens, Tokens]:
    """Both with the words they are compared on, which were found in them by the same characters."""
    ours, theirs = student.words, teacher.words
    assert ours is not None, "words were looked for"
    assert theirs is not None, "words were looked for"
    said = np.flatnonzero((ours.places != NO_TOKEN) & (theirs.places != NO_TOKEN))
    begins = _begins(ours, said) & _begins(theirs, said)
    return (
        replace(student, compared=_united(ours, said, begins)),
        replace(teacher, compared=_united(theirs, said, begins)),
    )


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


def _settings(tokenizer: Any) -> Any:
    """All that says how it cuts; where it stops is not of it."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return {name: value for name, value in settings.items() if name not in ("truncation", "padding")}
