"""Objectives: what each is, and what each must not be confused with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.models.states import Said, Sight
from distill.objectives.objective import (
    HARD,
    Objective,
    amount_loss,
    hard_label_loss,
    logit_mse,
    make_objective,
    soft_cross_entropy,
    soft_target_loss,
)
from distill.reading.gold import NO_LABEL
from distill.reading.source import Targets
from distill.settings.objective import ObjectiveConfig, SoftTargets
from tests.distill.states import LARGE, SMALL, some_states

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


# Other soft targets


@given(seeds, temperatures)
@settings(max_examples=30, deadline=None)
def test_soft_cross_entropy_is_the_kl_and_the_teachers_entropy(seed: int, temperature: float) -> None:
    student, teacher = some_logits(seed)
    entropy = np.mean([-sum(p * np.log(p)) for p in (softened(row, temperature) for row in teacher.numpy())])
    expected = soft_target_loss(student, teacher, temperature=temperature).item() + entropy * temperature**2
    assert soft_cross_entropy(student, teacher, temperature=temperature).item() == pytest.approx(expected)


@given(seeds, temperatures)
@settings(max_examples=20, deadline=None)
def test_soft_cross_entropy_and_kl_pull_alike(seed: int, temperature: float) -> None:
    student, teacher = some_logits(seed)
    student.requires_grad_()
    gradients = [
        torch.autograd.grad(loss(student, teacher, temperature=temperature), student)[0]
        for loss in (soft_cross_entropy, soft_target_loss)
    ]
    assert torch.allclose(*gradients)


def test_logit_mse_also_asks_for_the_mean_logit() -> None:
    student, teacher = some_logits(7)
    expected = ((student.numpy() - teacher.numpy()) ** 2).mean()
    assert logit_mse(student, teacher).item() == pytest.approx(expected)
    assert logit_mse(teacher + 3, teacher).item() == pytest.approx(9)
    assert logit_mse(student, teacher, temperature=5.0) == logit_mse(student, teacher)


@pytest.mark.parametrize("loss", [soft_target_loss, soft_cross_entropy, logit_mse])
def test_soft_targets_pair_rows_with_rows_and_teach_the_student(loss: Callable[..., Tensor]) -> None:
    student, teacher = some_logits(8)
    own = loss(student, teacher, temperature=2.0)
    assert not torch.isclose(own, loss(student, teacher.roll(1, 0), temperature=2.0), rtol=1e-3)
    assert torch.isclose(own, loss(student.roll(1, 0), teacher.roll(1, 0), temperature=2.0))
    assert bool(torch.isclose(own, loss(teacher, student, temperature=2.0), rtol=1e-3)) == (loss is logit_mse)
    student.requires_grad_(), teacher.requires_grad_()
    loss(student, teacher, temperature=2.0).backward()
    assert student.grad is not None
    assert teacher.grad is None, "swapped arguments of a symmetric loss show here alone"


def test_an_amount_is_learnt_where_it_is_known() -> None:
    said = torch.tensor([[1.0], [5.0], [2.0]], requires_grad=True)
    loss = amount_loss(said, torch.tensor([2.0, float("nan"), 4.0]))  # each row's own
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(2.5)
    assert said.grad is not None
    assert said.grad.squeeze(1).tolist() == [-1.0, 0.0, -2.0]
    assert amount_loss(said, torch.full((3,), float("nan"))).item() == 0


# The weighted sum


def gold(classes: Tensor) -> Targets:
    return Targets(classes)


@given(seeds, st.floats(0, 3), st.floats(0, 3), temperatures, st.sampled_from(["kl", "ce", "mse"]))
@settings(max_examples=30, deadline=None)
def test_an_objective_is_the_weighted_sum(
    seed: int, soft_weight: float, hard_weight: float, temperature: float, soft_targets: SoftTargets
) -> None:
    assume(soft_weight or hard_weight)
    student, teacher = (logits.float() for logits in some_logits(seed))
    classes = torch.tensor([0, 1, NO_LABEL, 3, 4])
    loss = {"kl": soft_target_loss, "ce": soft_cross_entropy, "mse": logit_mse}[soft_targets]
    soft = loss(student, teacher, temperature=temperature)  # type: ignore[operator]
    expected = soft_weight * soft + hard_weight * hard_label_loss(student, classes)
    objective = Objective(soft_weight, hard_weight, temperature, soft_targets)
    assert torch.isclose(objective(Said(student), Said(teacher), gold(classes)), expected, rtol=1e-4, atol=1e-6)


def test_an_objective_of_gold_labels_needs_no_teacher() -> None:
    student = some_logits(6)[0].float()
    classes = torch.arange(5)
    assert torch.isclose(HARD(Said(student), Said(None), gold(classes)), hard_label_loss(student, classes))


def test_intermediate_objectives_are_added_with_their_weights() -> None:
    config = ObjectiveConfig(soft_weight=0.5, intermediate=("hidden-mse", "attention"), intermediate_weight=(2.0, 3.0))
    objective = make_objective(config, SMALL, LARGE, pooling="mean", device="cpu", seed=0)
    assert objective.sight == Sight(hidden=True, attention=True)
    ours, theirs = (logits[:4].float() for logits in some_logits(9))
    student, teacher = Said(ours, some_states(1, SMALL)), Said(theirs, some_states(50, LARGE))
    (_, hidden), (_, attention) = objective.intermediates
    expected = 0.5 * soft_target_loss(ours, theirs, temperature=2.0)
    expected = expected + 2 * hidden(student.states, teacher.states)
    expected = expected + 3 * attention(student.states, teacher.states)
    assert torch.isclose(objective(student, teacher, gold(torch.full((4,), NO_LABEL))), expected)
    assert len(list(objective.helpers.parameters())) == 2 * 3, "a projection for embeddings and two layers"


def test_an_objective_without_intermediates_sees_nothing_and_learns_nothing_itself() -> None:
    objective = make_objective(ObjectiveConfig(), SMALL, LARGE, pooling="mean", device="cpu", seed=0)
    assert objective == Objective(1.0, 0.0, 2.0)
    assert not objective.sight
    assert list(objective.helpers.parameters()) == []


# Words and amounts


def test_words_count_by_their_weight_and_only_where_they_are_known() -> None:
    student, teacher = (logits.float() for logits in some_logits(10))
    teacher[3] = float("nan")  # the teacher saw no token of this word
    tags = torch.tensor([1, NO_LABEL, 2, NO_LABEL, 0])
    objective = Objective(2.0, 3.0, 2.0, slot_weight=0.5)
    known = [0, 1, 2, 4]
    soft = soft_target_loss(student[known], teacher[known], temperature=2.0)
    expected = 0.5 * (2 * soft + 3 * hard_label_loss(student, tags))
    alone = objective(Said(None, slot_logits=student), Said(None, slot_logits=teacher), Targets(tags=tags))
    assert torch.isclose(alone, expected)
    joint = objective(
        Said(student[:4], slot_logits=student),
        Said(student[:4] + 1, slot_logits=teacher),
        Targets(torch.tensor([0, 1, 2, 3]), tags=tags),
    )
    assert torch.isclose(joint, expected + 3 * hard_label_loss(student[:4], torch.arange(4)))


def test_words_the_teacher_saw_nothing_of_teach_nothing() -> None:
    student = some_logits(11)[0].float().requires_grad_()
    nothing = torch.full((5, 7), float("nan"))
    loss = Objective(1.0, 0.0)(Said(None, slot_logits=student), Said(None, slot_logits=nothing), Targets())
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_the_teachers_amount_is_not_softened() -> None:
    """A softmax over one class says nothing: the KL of amounts would always be 0."""
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]])
    for soft_targets in ("kl", "ce", "mse"):
        objective = Objective(1.0, 0.0, 2.0, soft_targets)  # type: ignore[arg-type]
        assert objective(Said(student), Said(teacher), Targets()).item() == pytest.approx(2.0)
