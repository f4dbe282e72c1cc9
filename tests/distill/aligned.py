"""Made-up states of two models that read other tokens, with the words they are compared on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from distill.models.states import Shape, States
from tests.distill.states import some_states

# The tokens of each word of four texts, by the student (of at most 6 tokens) and by the teacher (of at most 9). The
# first and the last token of a text are special; the last text has a word fewer than it has tokens for.
OF_STUDENT = [[[1], [2, 3], [4]], [[1, 2]], [[1], [2]], [[1], [2, 3]]]
OF_TEACHER = [[[1, 2], [3], [4, 5, 6]], [[1]], [[1, 2, 3], [4]], [[2], [3, 4]]]
LENGTHS = ([6, 4, 4, 5], [9, 3, 6, 6])


def some_aligned(student: Shape, teacher: Shape, *, grad: bool = False) -> tuple[States, States]:
    """All layers of two models on the same four texts."""
    sides = zip((1, 50), (student, teacher), LENGTHS, (OF_STUDENT, OF_TEACHER), strict=True)
    ours, theirs = (
        replace(some_states(seed, shape, mask_of(lengths), grad=grad), shares=shares_of(words, max(lengths)))
        for seed, shape, lengths, words in sides
    )
    return ours, theirs


def mask_of(lengths: list[int]) -> Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def shares_of(texts: list[list[list[int]]], length: int) -> Tensor:
    shares = torch.zeros(len(texts), max(map(len, texts)), length)
    for text, words in enumerate(texts):
        for word, tokens in enumerate(words):
            shares[text, word, tokens] = 1 / len(tokens)
    return shares


def changed(states: States, change: Callable[[Tensor], Tensor]) -> States:
    """The change made to all that a model computed; masks and shares stay."""
    return replace(states.changed(change, states.mask), shares=states.shares)


def disturbed_where(states: States, silent: Tensor) -> States:
    """Nonsense in the tokens that are silent, (B, L)."""
    return changed(states, lambda tensor: torch.where(silent.unsqueeze(-1), 100 + tensor, tensor))
