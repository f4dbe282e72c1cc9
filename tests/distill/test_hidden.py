"""Losses of hidden states, each against its formula, and what none of them may be confused with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from torch import Tensor

from distill.objectives.hidden import hidden_cosine, hidden_cross_entropy, hidden_l2, hidden_mse, pkd_loss

ALL = [hidden_mse, hidden_l2, hidden_cosine, hidden_cross_entropy, pkd_loss]
Loss = Callable[[Tensor, Tensor], Tensor]
seeds = st.integers(0, 2**31)


def some_rows(seed: int, rows: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, width, generator=draw, dtype=torch.float64).unbind()
    return student, teacher


def by_the_book(loss: Loss, student: np.ndarray, teacher: np.ndarray) -> float:
    """One row after the other, as the papers write it."""
    found = []
    for ours, theirs in zip(student, teacher, strict=True):
        lengths = np.sqrt((ours**2).sum()), np.sqrt((theirs**2).sum())
        found.append(
            {
                hidden_mse: ((ours - theirs) ** 2).sum() / len(ours),
                hidden_l2: np.sqrt(((ours - theirs) ** 2).sum()),
                hidden_cosine: 1 - (ours * theirs).sum() / (lengths[0] * lengths[1]),
                hidden_cross_entropy: -(softmax(theirs) * log_softmax(ours)).sum(),
                pkd_loss: ((ours / lengths[0] - theirs / lengths[1]) ** 2).sum(),
            }[loss]
        )
    return float(np.mean(found))


@pytest.mark.parametrize("loss", ALL)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_each_is_its_formula(loss: Loss, seed: int) -> None:
    student, teacher = some_rows(seed)
    assert loss(student, teacher).item() == pytest.approx(by_the_book(loss, student.numpy(), teacher.numpy()))


@pytest.mark.parametrize("loss", ALL)
def test_only_the_student_learns(loss: Loss) -> None:
    """Most are symmetric, so that swapped arguments show in the gradients alone."""
    student, teacher = (rows.requires_grad_() for rows in some_rows(1))
    loss(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_cross_entropy_is_not_the_same_both_ways() -> None:
    student, teacher = some_rows(2)
    assert not torch.isclose(hidden_cross_entropy(student, teacher), hidden_cross_entropy(teacher, student), rtol=1e-2)


@pytest.mark.parametrize("loss", ALL)
def test_rows_are_compared_with_their_own(loss: Loss) -> None:
    noise, teacher = some_rows(3)
    student = teacher + 0.3 * noise  # it has learnt something
    assert loss(student, teacher) < 0.9 * loss(student, teacher.roll(1, 0))
    assert torch.isclose(loss(student, teacher), loss(student.roll(1, 0), teacher.roll(1, 0)))


@pytest.mark.parametrize("loss", ALL)
def test_a_loss_is_a_mean_whatever_the_number_of_rows(loss: Loss) -> None:
    student, teacher = some_rows(4)
    assert torch.isclose(loss(student, teacher), loss(student.repeat(3, 1), teacher.repeat(3, 1)))


@pytest.mark.parametrize("loss", [hidden_mse, hidden_l2, hidden_cosine, pkd_loss])
def test_equals_have_no_loss_and_a_gradient_that_is_a_number(loss: Loss) -> None:
    student = some_rows(5)[0].requires_grad_()
    found = loss(student, student.detach().clone())
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert torch.allclose(student.grad, torch.zeros_like(student), atol=1e-9)


@pytest.mark.parametrize("loss", [hidden_cosine, pkd_loss])
def test_what_looks_at_direction_does_not_see_length(loss: Loss) -> None:
    student, teacher = some_rows(6)
    assert torch.isclose(loss(3 * student, teacher), loss(student, teacher))
    assert not torch.isclose(hidden_mse(3 * student, teacher), hidden_mse(student, teacher))
