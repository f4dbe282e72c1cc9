"""Objectives: what each is, and what each must not be confused with."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.gold import NO_LABEL
from distill.objectives import Objective, hard_label_loss, soft_target_loss

seeds = st.integers(0, 2**31)
temperatures = st.floats(0.5, 8.0)


def some_logits(seed: int, rows: int = 5, classes: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(2, rows, classes, generator=draw, dtype=torch.float64)).unbind()
    return student, teacher


def softened(row: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(row / temperature)
    return np.asarray(powers / powers.sum())


@given(seeds, temperatures)
@settings(max_examples=40, deadline=None)
def test_the_soft_target_loss_is_hintons_by_the_book(seed: int, temperature: float) -> None:
    student, teacher = some_logits(seed)
    expected = 0.0
    for ours, theirs in zip(student.numpy(), teacher.numpy(), strict=True):
        p, q = softened(theirs, temperature), softened(ours, temperature)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) * temperature**2 / len(student)
    assert soft_target_loss(student, teacher, temperature=temperature).item() == pytest.approx(expected, rel=1e-6)


def test_teacher_and_student_are_not_alike_to_the_soft_target_loss() -> None:
    student, teacher = some_logits(1)
    forward = soft_target_loss(student, teacher, temperature=2.0)
    assert not torch.isclose(forward, soft_target_loss(teacher, student, temperature=2.0), rtol=1e-2)


def test_the_soft_target_loss_pairs_rows_with_rows() -> None:
    student, teacher = some_logits(2)
    permuted = soft_target_loss(student, teacher.roll(1, 0), temperature=1.0)
    assert not torch.isclose(soft_target_loss(student, teacher, temperature=1.0), permuted, rtol=1e-2)
    together = soft_target_loss(student.roll(1, 0), teacher.roll(1, 0), temperature=1.0)
    assert torch.isclose(soft_target_loss(student, teacher, temperature=1.0), together)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_gradients_keep_their_size_as_the_temperature_rises(seed: int) -> None:
    """Hinton: at high temperature the gradient tends to (student - teacher) / C, both centred, whatever it is."""
    student, teacher = some_logits(seed)
    student.requires_grad_()
    gradient = torch.autograd.grad(soft_target_loss(student, teacher, temperature=1000.0), student)[0]
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    assert torch.allclose(gradient, centred.detach() / student.shape[1] / len(student), rtol=0.05, atol=1e-3)


@given(seeds, temperatures, st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_the_soft_target_loss_is_nothing_only_between_equals(seed: int, temperature: float, shift: float) -> None:
    student, teacher = some_logits(seed)
    assert soft_target_loss(teacher + shift, teacher, temperature=temperature).item() == pytest.approx(0, abs=1e-9)
    assert soft_target_loss(student, teacher, temperature=temperature).item() > 0


def test_the_soft_target_loss_leaves_the_teacher_alone() -> None:
    student, teacher = some_logits(3)
    student.requires_grad_()
    soft_target_loss(student, teacher, temperature=2.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert teacher.grad is None


def test_far_logits_give_numbers() -> None:
    loss = soft_target_loss(torch.tensor([[300.0, -300.0]]), torch.tensor([[-300.0, 300.0]]), temperature=1.0)
    assert loss.item() == pytest.approx(600.0)


def test_the_hard_label_loss_is_the_mean_over_labelled_rows_alone() -> None:
    logits, _ = some_logits(4, rows=3)
    classes = torch.tensor([2, NO_LABEL, 5])
    expected = -(torch.log_softmax(logits[0], 0)[2] + torch.log_softmax(logits[2], 0)[5]) / 2
    assert torch.isclose(hard_label_loss(logits, classes), expected)


def test_a_batch_without_gold_labels_teaches_nothing() -> None:
    logits, _ = some_logits(5)
    logits.requires_grad_()
    loss = hard_label_loss(logits, torch.full((5,), NO_LABEL))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@given(seeds, st.sampled_from([0.0, 0.3, 1.0]), temperatures)
@settings(max_examples=30, deadline=None)
def test_an_objective_is_the_weighted_sum(seed: int, soft_weight: float, temperature: float) -> None:
    student, teacher = some_logits(seed)
    classes = torch.tensor([0, 1, NO_LABEL, 3, 4])
    soft = soft_target_loss(student, teacher, temperature=temperature)
    expected = soft_weight * soft + (1 - soft_weight) * hard_label_loss(student, classes)
    assert torch.isclose(Objective(soft_weight, temperature)(student, teacher, classes), expected)


def test_an_objective_of_gold_labels_needs_no_teacher() -> None:
    student, _ = some_logits(6)
    classes = torch.arange(5)
    assert torch.isclose(Objective(0.0)(student, None, classes), hard_label_loss(student, classes))
