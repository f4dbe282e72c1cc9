"""Intermediate objectives over mapped layers: all of them keep the same laws, on models of other heads and widths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from contract.errors import BadInput
from distill.config import IntermediateName, ObjectiveConfig
from distill.hidden import hidden_mse, pkd_loss
from distill.intermediate import Intermediate, make_intermediate
from distill.layer_mapping import emd_flow
from distill.mutual_information import mi_alpha
from distill.states import Shape, Sight, States, pooled
from tests.distill.states import LARGE, MASK, SMALL, disturbed_states, leaves, rolled_states, some_states

NAMES: tuple[IntermediateName, ...] = get_args(IntermediateName)
EVERYTHING = torch.ones_like(MASK)


def make(name: str, student: Shape = SMALL, teacher: Shape = LARGE, **settings: Any) -> Intermediate:
    torch.manual_seed(0)
    config = ObjectiveConfig(intermediate=(name,), **settings)
    return make_intermediate(config.intermediate[0], config, student, teacher, "mean")


def models() -> tuple[States, States]:
    return some_states(1, SMALL), some_states(50, LARGE)


@pytest.mark.parametrize("mapping", ["skip", "emd", "top"])
@pytest.mark.parametrize("name", NAMES)
def test_the_student_and_the_helpers_learn_and_the_teacher_does_not(name: str, mapping: str) -> None:
    student, teacher = some_states(1, SMALL, grad=True), some_states(50, LARGE, grad=True)
    objective = make(name, layer_mapping=mapping)
    objective(student, teacher, MASK).backward()
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in leaves(student))
    assert all(tensor.grad is None for tensor in leaves(teacher))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_compared_with_their_own(name: str) -> None:
    student, teacher = models()
    objective = make(name)
    own = objective(student, teacher, EVERYTHING)
    assert not torch.isclose(own, objective(student, rolled_states(teacher), EVERYTHING), rtol=1e-5)
    together = objective(rolled_states(student), rolled_states(teacher), EVERYTHING)
    assert torch.isclose(own, together, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_not_looked_at(name: str) -> None:
    student, teacher = models()
    objective = make(name)
    own = objective(student, teacher, MASK)
    assert torch.isclose(own, objective(disturbed_states(student), disturbed_states(teacher), MASK), rtol=1e-4)
    assert not torch.isclose(own, objective(student, teacher, EVERYTHING), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_models_that_are_swapped_are_not_the_same(name: str) -> None:
    """With equal shapes no error would tell; the symmetric ones are told by their gradients above."""
    alike = replace(LARGE, layers=2)
    student, teacher = some_states(1, alike), some_states(50, alike)
    objective = make(name, alike, alike)
    symmetric = ("hidden-mse", "hidden-l2", "hidden-cosine", "pkd", "attention")
    same = torch.isclose(objective(student, teacher, MASK), objective(teacher, student, MASK), rtol=1e-5)
    assert bool(same) == (name in symmetric)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_needed_is_seen(name: str) -> None:
    student, teacher = models()
    objective = make(name)
    sight = objective.sight
    assert sight in (Sight(hidden=True), Sight(attention=True))
    seen = [replace(s, **{"attention": ()} if sight.hidden else {"hidden": ()}) for s in (student, teacher)]
    assert torch.equal(objective(*seen, MASK), objective(student, teacher, MASK))


@pytest.mark.parametrize("name", NAMES)
def test_equal_widths_need_no_projection(name: str) -> None:
    projected = [key for key in make(name).state_dict() if "projections" in key]
    assert bool(projected) == (name.startswith("hidden") or name == "pkd")
    assert not any("projections" in key for key in make(name, LARGE, LARGE).state_dict())


@pytest.mark.parametrize(
    ("name", "mapping", "pairs"),
    [
        ("hidden-mse", None, ((0, 0), (1, 2), (2, 4))),
        ("hidden-mse", "last", ((0, 2), (1, 3), (2, 4))),
        ("pkd", None, ((1, 2), (2, 4))),
        ("mi-alpha", "first", ((1, 1), (2, 2))),
        ("attention", "last", ((1, 3), (2, 4))),
        ("minilm", None, ((2, 4),)),
        ("minilmv2", "skip", ((1, 2), (2, 4))),
    ],
)
def test_layers_are_mapped_as_asked_and_as_the_papers_do_where_nobody_asks(
    name: str, mapping: str | None, pairs: tuple[tuple[int, int], ...]
) -> None:
    assert make(name, layer_mapping=mapping).pairs == pairs


def test_pairs_may_be_given() -> None:
    objective = make("hidden-mse", SMALL, replace(SMALL, layers=4), layer_pairs=((1, 4), (0, 1)))
    student, teacher = some_states(1, SMALL), some_states(2, replace(SMALL, layers=4))
    real = MASK.bool()
    losses = [hidden_mse(student.hidden[a][real], teacher.hidden[b][real]) for a, b in ((1, 4), (0, 1))]
    assert torch.isclose(objective(student, teacher, MASK), torch.stack(losses).mean())


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_pkd_compares_texts_by_their_pooled_states(pooling: str) -> None:
    deep = replace(SMALL, layers=4)
    student, teacher = some_states(1, SMALL), some_states(2, deep)
    states = [pooled(s.hidden[layer], MASK, pooling) for s, layer in ((student, 2), (teacher, 4))]  # type: ignore[arg-type]
    found = make("pkd", SMALL, deep, pooling=pooling, layer_mapping="top")(student, teacher, MASK)
    assert torch.isclose(found, pkd_loss(*states))


def test_mi_alpha_is_minus_the_bound_of_pooled_states() -> None:
    student, teacher = models()
    objective = make("mi-alpha", alpha=0.3, layer_mapping="top")
    critic: Any = objective.loss.critics["2-4"]  # type: ignore[attr-defined]
    ours, theirs = pooled(student.hidden[2], MASK, "mean"), pooled(teacher.hidden[4], MASK, "mean")
    expected = -mi_alpha(critic(ours, theirs), critic.log_baseline(theirs), 0.3)
    assert torch.isclose(objective(student, teacher, MASK), expected)


def pair_losses(objective: Intermediate, student: States, teacher: States) -> Tensor:
    return torch.stack([objective.loss(student, teacher, pair, MASK) for pair in objective.pairs])


@pytest.mark.parametrize("name", ["hidden-mse", "attention", "minilm", "pkd", "nwj"])
def test_transport_weighs_layers_by_how_near_they_are(name: str) -> None:
    student, teacher = models()
    objective = make(name, layer_mapping="emd")
    assert len(objective.pairs) == 8
    losses = pair_losses(objective, student, teacher)
    flow = torch.from_numpy(emd_flow(losses.detach().double().numpy().reshape(2, 4))).ravel()
    assert objective(student, teacher, MASK).item() == pytest.approx((losses * flow).sum().item(), rel=1e-5)
    assert objective(student, teacher, MASK) <= losses.mean() + 1e-6


def test_transport_of_layers_that_agree_matches_them() -> None:
    shape = replace(SMALL, layers=3)
    teacher = some_states(1, shape)
    order = (2, 3, 1)
    student = States((teacher.hidden[0], *(teacher.hidden[layer] for layer in order)))
    objective = make("hidden-mse", shape, shape, layer_mapping="emd")
    assert objective(student, teacher, MASK).item() == 0
    assert make("hidden-mse", shape, shape, layer_mapping="first")(student, teacher, MASK).item() > 0.1


def test_a_loss_that_is_no_number_is_left_to_the_loop_to_tell() -> None:
    student, teacher = models()
    broken = States(tuple(states * float("inf") for states in student.hidden))
    assert not make("hidden-mse", layer_mapping="emd")(broken, teacher, MASK).isfinite()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("hidden-mse", {"layer_pairs": ((3, 1),)}, r"from 0 to 2 and from 0 to 4 for hidden-mse, found \[3, 1\]"),
        ("attention", {"layer_pairs": ((1, 0),)}, r"from 1 to 2 and from 1 to 4 for attention, found \[1, 0\]"),
        ("pkd", {"layer_pairs": ((-1, 1),)}, r"found \[-1, 1\]"),
        ("minilmv2", {"relation_heads": 13}, "relation_heads is 13, more than the 12 numbers of a state"),
    ],
)
def test_what_the_models_do_not_allow_is_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make(name, **settings)


@pytest.mark.parametrize("mapping", ["last", "first"])
def test_a_deeper_student_is_mapped_by_skip_and_emd_alone(mapping: str) -> None:
    deep = replace(SMALL, layers=6)
    with pytest.raises(BadInput, match="found 6 layers and 4; take skip or emd"):
        make("hidden-mse", deep, layer_mapping=mapping)
    student, teacher = some_states(1, deep), some_states(50, LARGE)
    for allowed in ("skip", "emd"):
        for name in ("hidden-mse", "attention", "mi-alpha"):
            assert make(name, deep, layer_mapping=allowed)(student, teacher, MASK).isfinite()


def test_helpers_begin_the_same_for_a_seed() -> None:
    one, other = make("mi-alpha").state_dict(), make("mi-alpha").state_dict()
    assert len(one) == 2 * (4 + 4 + 4)  # two pairs of layers, three perceptrons of two layers each
    assert all(torch.equal(one[name], other[name]) for name in one)
