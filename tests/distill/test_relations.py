"""The relation losses: MiniLM's and MiniLMv2's by the book, on models whose heads and widths differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from distill.models.states import Attention, Shape
from distill.objectives.relations import minilm_loss, minilmv2_loss, relation_scores
from tests.distill.states import LARGE, MASK, SMALL, rolled, some_attention, with_other_padding

Loss = Callable[[Attention, Attention, Tensor], Tensor]
LOSSES: list[Loss] = [minilm_loss, partial(minilmv2_loss, relation_heads=4), partial(minilmv2_loss, relation_heads=5)]


def distribution(left: Tensor, right: Tensor, text: int, token: int, own: slice) -> np.ndarray:
    """Of one token over the real tokens of its text, through one head."""
    real = int(MASK[text].sum())
    products = left[text, token, own].numpy() @ right[text, :real, own].numpy().T
    return np.asarray(softmax(products / math.sqrt(own.stop - own.start)))


def kl(theirs: np.ndarray, ours: np.ndarray) -> float:
    return float((theirs * (np.log(theirs) - np.log(ours))).sum())


def heads_of(width: int, heads: int) -> list[slice]:
    """The first width % heads heads are one wider."""
    sizes = [width // heads + (head < width % heads) for head in range(heads)]
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def expected(student: tuple[Tensor, Tensor, int], teacher: tuple[Tensor, Tensor, int], groups: int) -> float:
    """The mean over texts' tokens and groups of the KL of head-averaged distributions; (left, right, heads) each."""
    found = []
    for text in range(len(MASK)):
        for token in range(int(MASK[text].sum())):
            for group in range(groups):
                means = []
                for left, right, heads in (student, teacher):
                    n = heads // groups
                    own = heads_of(left.shape[-1], heads)[group * n : (group + 1) * n]
                    means.append(np.mean([distribution(left, right, text, token, head) for head in own], axis=0))
                found.append(kl(means[1], means[0]))
    return float(np.mean(found))


@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(3, 3), (2, 3), (2, 6), (4, 6)])
def test_minilm_is_attention_and_value_relation_by_the_book(student_heads: int, teacher_heads: int) -> None:
    student = some_attention(1, Shape(1, 12, student_heads))
    teacher = some_attention(2, Shape(1, 24, teacher_heads))
    groups = math.gcd(student_heads, teacher_heads)
    attention = expected(
        (student.queries, student.keys, student_heads), (teacher.queries, teacher.keys, teacher_heads), groups
    )
    values = expected(
        (student.values, student.values, student_heads), (teacher.values, teacher.values, teacher_heads), groups
    )
    assert minilm_loss(student, teacher, MASK).item() == pytest.approx(attention + values, rel=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 12])
def test_minilmv2_is_three_relations_by_the_book_with_any_number_of_heads(heads: int) -> None:
    student, teacher = some_attention(3, SMALL), some_attention(4, LARGE)
    three = []
    for kind in ("queries", "keys", "values"):
        ours, theirs = getattr(student, kind), getattr(teacher, kind)
        three.append(expected((ours, ours, heads), (theirs, theirs, heads), heads))
    found = minilmv2_loss(student, teacher, MASK, relation_heads=heads)
    assert found.item() == pytest.approx(float(np.mean(three)), rel=1e-4)


def test_relation_heads_that_do_not_divide_the_width_hold_every_number_once() -> None:
    states = torch.randn(2, 3, 11)
    whole = sum(
        relation_scores(states, 4)[:, head] * math.sqrt(own.stop - own.start)
        for head, own in enumerate(heads_of(11, 4))
    )
    assert torch.allclose(torch.as_tensor(whole), states @ states.transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_equals_have_no_loss_and_others_do(loss: Loss) -> None:
    one, other = some_attention(5, LARGE), some_attention(6, SMALL)
    assert loss(one, one, MASK).item() == pytest.approx(0, abs=1e-6)
    assert loss(other, one, MASK).item() > 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_teacher_and_student_are_not_alike(loss: Loss) -> None:
    student, teacher = some_attention(7, SMALL, grad=True), some_attention(8, LARGE, grad=True)
    forward = loss(student, teacher, MASK)
    assert not torch.isclose(forward, loss(teacher, student, MASK), rtol=1e-2)
    forward.backward()  # type: ignore[no-untyped-call]
    for states in (student.queries, student.keys, student.values):
        assert states.grad is not None
        assert states.grad.isfinite().all()
        assert states.grad.abs().sum() > 0
    assert teacher.queries.grad is None


@pytest.mark.parametrize("loss", LOSSES)
def test_texts_are_compared_with_their_own(loss: Loss) -> None:
    student, teacher, everything = some_attention(9, SMALL), some_attention(10, LARGE), torch.ones_like(MASK)
    own = loss(student, teacher, everything)
    assert not torch.isclose(own, loss(student, rolled(teacher), everything), rtol=1e-3)
    assert torch.isclose(own, loss(rolled(student), rolled(teacher), everything))


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_is_not_looked_at(loss: Loss) -> None:
    student, teacher = some_attention(11, SMALL), some_attention(12, LARGE)
    own = loss(student, teacher, MASK)
    assert torch.isclose(own, loss(with_other_padding(student), with_other_padding(teacher), MASK))
    assert not torch.isclose(own, loss(student, teacher, torch.ones_like(MASK)), rtol=1e-3)
