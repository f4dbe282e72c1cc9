"""Bounds on mutual information: by the book, against each other, and on Gaussians whose information is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from contract.errors import BadInput
from distill.objectives.mutual_information import Critic, infonce, mi_alpha, nwj, tuba
from tests.distill.gaussians import Gaussians

seeds = st.integers(0, 2**31)
alphas = st.floats(0, 1)
BATCH = 64


def some_scores(seed: int, size: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(size, size, generator=draw), torch.randn(size, generator=draw)


def by_the_book(scores: Tensor, log_baseline: Tensor, alpha: float) -> float:
    """Poole et al. 2019, text by text: y_i with its own x_i among all K, then y_i with every x of another text."""
    size = len(scores)
    f, q = scores.exp().double(), log_baseline.exp().double()
    joint = marginal = 0.0
    for i in range(size):
        others = [j for j in range(size) if j != i]
        among_all = alpha * sum(f[i, j].item() for j in range(size)) / size + (1 - alpha) * q[i].item()
        among_others = alpha * sum(f[i, j].item() for j in others) / (size - 1) + (1 - alpha) * q[i].item()
        joint += math.log(f[i, i].item() / among_all) / size
        marginal += sum(f[i, j].item() / among_others for j in others) / (size - 1) / size
    return 1 + joint - marginal


@given(seeds, alphas)
@settings(max_examples=40, deadline=None)
def test_mi_alpha_is_its_formula_with_baselines_and_means_on_the_right_axis(seed: int, alpha: float) -> None:
    scores, log_baseline = some_scores(seed)
    expected = by_the_book(scores, log_baseline, alpha)
    assert mi_alpha(scores, log_baseline, alpha).item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_family_meets_at_its_ends(seed: int) -> None:
    scores, log_baseline = some_scores(seed)
    e = torch.ones(len(scores))  # log e
    assert mi_alpha(scores, log_baseline, 1.0).item() == pytest.approx(infonce(scores).item(), abs=1e-5)
    assert mi_alpha(scores, e, 0.0).item() == pytest.approx(nwj(scores).item(), rel=1e-5, abs=1e-5)
    assert mi_alpha(scores, log_baseline, 0.0).item() == pytest.approx(tuba(scores, log_baseline).item(), rel=1e-5)
    near = [mi_alpha(scores, log_baseline, alpha).item() for alpha in (1e-7, 1 - 1e-7)]
    assert near[0] == pytest.approx(tuba(scores, log_baseline).item(), rel=1e-3, abs=1e-3)
    assert near[1] == pytest.approx(infonce(scores).item(), rel=1e-3, abs=1e-3)


@given(seeds, st.floats(0.01, 1), st.floats(0.1, 30))
@settings(max_examples=40, deadline=None)
def test_what_a_batch_can_say_is_bounded_by_its_size(seed: int, alpha: float, sharpness: float) -> None:
    scores, log_baseline = some_scores(seed)
    assert infonce(sharpness * scores).item() <= math.log(len(scores)) + 1e-5
    assert mi_alpha(sharpness * scores, log_baseline, alpha).item() <= 1 + math.log(len(scores) / alpha) + 1e-4


def of_scores(bound: Callable[[Tensor, Tensor], Tensor], scores: Tensor) -> Tensor:
    return bound(scores, torch.zeros(len(scores)))


BOUNDS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda scores, _: infonce(scores),
    lambda scores, _: nwj(scores),
    tuba,
    lambda scores, q: mi_alpha(scores, q, 0.5),
]


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_text_knows_its_own_partner_best(bound: Callable[[Tensor, Tensor], Tensor]) -> None:
    scores = 3 * torch.eye(8)
    assert of_scores(bound, scores) > of_scores(bound, scores.roll(1, 0)) + 1
    together = scores[:, torch.randperm(8)]
    assert of_scores(bound, scores) >= of_scores(bound, together)


@pytest.mark.parametrize("bound", BOUNDS)
def test_far_scores_give_numbers(bound: Callable[[Tensor, Tensor], Tensor]) -> None:
    scores = (60 * torch.eye(6)).requires_grad_()
    of_scores(bound, scores).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


# Gaussians


def estimates(bound: Callable[[Tensor], Tensor], gaussians: Gaussians, batches: int = 600) -> tuple[float, float]:
    """The bound under the best critic, the mean over batches, and the standard error of that mean."""
    draw = torch.Generator().manual_seed(0)
    values = torch.stack([bound(gaussians.best_scores(*gaussians.draw(BATCH, draw))) for _ in range(batches)])
    return values.mean().item(), values.std().item() / math.sqrt(batches)


@pytest.mark.parametrize("nats", [0.5, 1.0, 2.0])
def test_bounds_without_a_batchs_baseline_are_the_information_itself(nats: float) -> None:
    """Poole et al.: with the best critic (plus one for NWJ) these have variance and no bias."""
    gaussians = Gaussians(20, nats)
    for bound in (
        lambda scores: tuba(scores, torch.zeros(BATCH)),
        lambda scores: nwj(scores + 1),
        lambda scores: mi_alpha(scores, torch.zeros(BATCH), 0.0),
    ):
        mean, error = estimates(bound, gaussians)
        assert mean == pytest.approx(nats, abs=4 * error)
        assert error < 0.1


@pytest.mark.parametrize("nats", [0.5, 1.0, 2.0])
def test_the_others_stay_below_it_by_their_own_bias(nats: float) -> None:
    """A greater alpha has more bias and less variance; at one nat a batch of 64 hardly biases at all."""
    gaussians = Gaussians(20, nats)
    found = [
        estimates(lambda scores, alpha=alpha: mi_alpha(scores, torch.zeros(BATCH), alpha), gaussians)  # type: ignore[misc]
        for alpha in (0.1, 0.5, 0.9, 1.0)
    ]
    means, errors = zip(*found, strict=True)
    assert all(mean <= nats + 4 * error for mean, error in found)
    assert all(mean >= 0.8 * nats for mean in means)
    assert list(errors) == sorted(errors, reverse=True)
    assert means[-1] == pytest.approx(estimates(infonce, gaussians)[0], abs=1e-5)


def test_infonce_stops_at_log_k_where_the_learned_baseline_goes_on() -> None:
    gaussians = Gaussians(20, 8.0)
    narrow, wide = (
        estimates(lambda scores, alpha=alpha: mi_alpha(scores, torch.zeros(BATCH), alpha), gaussians)[0]  # type: ignore[misc]
        for alpha in (1.0, 0.01)
    )
    assert narrow <= math.log(BATCH) < wide <= 8.0


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_learned_critic_and_baseline_find_most_of_it(alpha: float) -> None:
    gaussians, draw = Gaussians(2, 1.0), torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    critic = Critic(2, 2, baseline=True)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)

    def bound() -> Tensor:
        x, y = gaussians.draw(BATCH, draw)
        return mi_alpha(critic(x, y), critic.log_baseline(y), alpha)

    for _ in range(250):
        optimizer.zero_grad()
        (-bound()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        values = torch.stack([bound() for _ in range(200)])
    assert 0.75 < values.mean().item() < 1.0 + 4 * values.std().item() / math.sqrt(200)


# The critic


def test_a_critic_scores_texts_against_texts() -> None:
    torch.manual_seed(0)
    critic = Critic(3, 5, baseline=True)
    x, y = torch.randn(4, 3), torch.randn(4, 5)
    scores = critic(x, y)
    assert scores.shape == (4, 4)
    alone = critic(x[[1, 2]], y[[0, 3]])  # a row a teacher state, a column a student state
    assert torch.allclose(alone, scores[[0, 3]][:, [1, 2]], atol=1e-6)
    assert torch.allclose(critic.log_baseline(y)[2:], critic.log_baseline(y[2:]), atol=1e-6)
    assert critic.log_baseline(y).shape == (4,)


def test_a_critic_teaches_the_student_alone() -> None:
    critic = Critic(3, 3, baseline=True)
    x, y = torch.randn(2, 4, 3).unbind()
    x.requires_grad_(), y.requires_grad_()
    (-mi_alpha(critic(x, y), critic.log_baseline(y), 0.5)).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_a_batch_of_one_has_nobody_to_be_told_from() -> None:
    with pytest.raises(BadInput, match="found a batch of one"):
        Critic(3, 3, baseline=False)(torch.randn(1, 3), torch.randn(1, 3))
