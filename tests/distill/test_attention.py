"""The attention loss: TinyBERT's where head counts agree, a mean over groups of heads where they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.models.states import Attention, Shape
from distill.objectives.attention import attention_loss, attention_scores, in_groups, shared_groups
from tests.distill.states import LARGE, MASK, SMALL, rolled, some_attention, with_other_padding


def score(attention: Attention, text: int, head: int, one: int, other: int) -> float:
    """One query against one key, by the book."""
    width = attention.queries.shape[-1] // attention.heads
    own = slice(head * width, (head + 1) * width)
    product = np.dot(attention.queries[text, one, own].numpy(), attention.keys[text, other, own].numpy())
    return float(product / math.sqrt(width))


def test_scores_are_those_of_each_head() -> None:
    attention = some_attention(0, LARGE)
    scores = attention_scores(attention)
    assert scores.shape == (4, 3, 6, 6)
    assert scores[1, 2, 3, 0].item() == pytest.approx(score(attention, 1, 2, 3, 0), rel=1e-5)


@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(3, 3), (2, 3), (2, 6), (4, 6), (1, 6)])
def test_the_attention_loss_is_tinyberts_with_heads_averaged_in_groups(student_heads: int, teacher_heads: int) -> None:
    student = some_attention(1, Shape(1, 12, student_heads))
    teacher = some_attention(2, Shape(1, 24, teacher_heads))
    groups = math.gcd(student_heads, teacher_heads)
    errors = []
    for text, row in enumerate(MASK.tolist()):
        for one in range(sum(row)):
            for other in range(sum(row)):
                for group in range(groups):
                    means = [
                        np.mean([score(model, text, head, one, other) for head in range(group * n, (group + 1) * n)])
                        for model, n in ((student, student_heads // groups), (teacher, teacher_heads // groups))
                    ]
                    errors.append((means[0] - means[1]) ** 2)
    assert attention_loss(student, teacher, MASK).item() == pytest.approx(float(np.mean(errors)), rel=1e-4)


def test_equal_head_counts_are_matched_head_by_head() -> None:
    one = some_attention(3, LARGE)
    swapped = Attention(*(t.roll(6, -1) for t in (one.queries, one.keys, one.values)), 3)  # heads in another order
    assert attention_loss(one, one, MASK).item() == 0
    assert attention_loss(swapped, one, MASK).item() > 0.1
    assert shared_groups(one, swapped) == 3
    assert torch.equal(in_groups(attention_scores(one), 3), attention_scores(one))


def test_only_the_student_learns() -> None:
    student, teacher = some_attention(4, SMALL, grad=True), some_attention(5, LARGE, grad=True)
    attention_loss(student, teacher, MASK).backward()  # type: ignore[no-untyped-call]
    assert student.queries.grad is not None
    assert student.keys.grad is not None
    assert teacher.queries.grad is None


def test_texts_are_compared_with_their_own() -> None:
    student, teacher = some_attention(6, SMALL), some_attention(7, LARGE)
    own = attention_loss(student, teacher, torch.ones_like(MASK))
    assert not torch.isclose(own, attention_loss(student, rolled(teacher), torch.ones_like(MASK)), rtol=1e-3)
    assert torch.isclose(own, attention_loss(rolled(student), rolled(teacher), torch.ones_like(MASK)))


def test_padding_is_not_looked_at() -> None:
    student, teacher = some_attention(8, SMALL), some_attention(9, LARGE)
    own = attention_loss(student, teacher, MASK)
    assert torch.isclose(own, attention_loss(with_other_padding(student), with_other_padding(teacher), MASK))
    assert not torch.isclose(own, attention_loss(student, teacher, torch.ones_like(MASK)), rtol=1e-3)
