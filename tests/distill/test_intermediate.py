"""Intermediate objectives over mapped layers: all of them keep the same laws, on models of other heads and widths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from contract.errors import BadInput
from distill.models.states import Shape, Sight, States, pooled
from distill.objectives.attention import attention_scores
from distill.objectives.hidden import hidden_mse, pkd_loss
from distill.objectives.intermediate import Intermediate, make_intermediate
from distill.objectives.layer_mapping import emd_flow
from distill.objectives.mutual_information import mi_alpha
from distill.settings.objective import IntermediateName, ObjectiveConfig
from tests.distill.aligned import LENGTHS, OF_STUDENT, OF_TEACHER, changed, disturbed_where, some_aligned
from tests.distill.states import LARGE, MASK, SMALL, disturbed_states, leaves, rolled_states, some_states

NAMES: tuple[IntermediateName, ...] = get_args(IntermediateName)
EVERYTHING = torch.ones_like(MASK)


def make(name: str, student: Shape = SMALL, teacher: Shape = LARGE, **settings: Any) -> Intermediate:
    torch.manual_seed(0)
    config = ObjectiveConfig(intermediate=(name,), **settings)
    return make_intermediate(config.intermediate[0], config, student, teacher, "mean")


def models(mask: Tensor = MASK) -> tuple[States, States]:
    return some_states(1, SMALL, mask), some_states(50, LARGE, mask)


@pytest.mark.parametrize("mapping", ["skip", "emd", "top"])
@pytest.mark.parametrize("name", NAMES)
def test_the_student_and_the_helpers_learn_and_the_teacher_does_not(name: str, mapping: str) -> None:
    student, teacher = some_states(1, SMALL, grad=True), some_states(50, LARGE, grad=True)
    objective = make(name, layer_mapping=mapping)
    objective(student, teacher).backward()
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in leaves(student))
    assert all(tensor.grad is None for tensor in leaves(teacher))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_compared_with_their_own(name: str) -> None:
    student, teacher = models(EVERYTHING)
    objective = make(name)
    own = objective(student, teacher)
    assert not torch.isclose(own, objective(student, rolled_states(teacher)), rtol=1e-5)
    together = objective(rolled_states(student), rolled_states(teacher))
    assert torch.isclose(own, together, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_not_looked_at(name: str) -> None:
    student, teacher = models()
    objective = make(name)
    own = objective(student, teacher)
    assert torch.isclose(own, objective(disturbed_states(student), disturbed_states(teacher)), rtol=1e-4)
    assert not torch.isclose(own, objective(*models(EVERYTHING)), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_models_that_are_swapped_are_not_the_same(name: str) -> None:
    """With equal shapes no error would tell; the symmetric ones are told by their gradients above."""
    alike = replace(LARGE, layers=2)
    student, teacher = some_states(1, alike), some_states(50, alike)
    objective = make(name, alike, alike)
    symmetric = ("hidden-mse", "hidden-l2", "hidden-cosine", "pkd", "attention")
    same = torch.isclose(objective(student, teacher), objective(teacher, student), rtol=1e-5)
    assert bool(same) == (name in symmetric)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_needed_is_seen(name: str) -> None:
    student, teacher = models()
    objective = make(name)
    sight = objective.sight
    assert sight in (Sight(hidden=True), Sight(attention=True))
    seen = [replace(s, **{"attention": {}} if sight.hidden else {"hidden": {}}) for s in (student, teacher)]
    assert torch.equal(objective(*seen), objective(student, teacher))


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
    assert torch.isclose(objective(student, teacher), torch.stack(losses).mean())


@pytest.mark.parametrize("name", ["attention", "minilm", "minilmv2"])
def test_attention_is_that_of_the_mapped_layers(name: str) -> None:
    """Layers are numbered from 1: of [1, 4] the student's first is compared with the teacher's fourth."""
    student, teacher = models()
    objective, first = make(name, layer_pairs=((1, 4),)), make(name, layer_pairs=((1, 1),))
    moved = replace(teacher, attention={**teacher.attention, 1: teacher.attention[4]})
    assert torch.equal(objective(student, teacher), first(student, moved))
    assert not torch.isclose(objective(student, teacher), first(student, teacher), rtol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_pkd_compares_texts_by_their_pooled_states(pooling: str) -> None:
    deep = replace(SMALL, layers=4)
    student, teacher = some_states(1, SMALL), some_states(2, deep)
    states = [pooled(s.hidden[layer], MASK, pooling) for s, layer in ((student, 2), (teacher, 4))]  # type: ignore[arg-type]
    found = make("pkd", SMALL, deep, pooling=pooling, layer_mapping="top")(student, teacher)
    assert torch.isclose(found, pkd_loss(*states))


def test_mi_alpha_is_minus_the_bound_of_pooled_states() -> None:
    student, teacher = models()
    objective = make("mi-alpha", alpha=0.3, layer_mapping="top")
    critic: Any = objective.loss.critics["2-4"]  # type: ignore[attr-defined]
    ours, theirs = pooled(student.hidden[2], MASK, "mean"), pooled(teacher.hidden[4], MASK, "mean")
    expected = -mi_alpha(critic(ours, theirs), critic.log_baseline(theirs), 0.3)
    assert torch.isclose(objective(student, teacher), expected)


def pair_losses(objective: Intermediate, student: States, teacher: States) -> Tensor:
    return torch.stack([objective.loss(student, teacher, pair) for pair in objective.pairs])


@pytest.mark.parametrize("name", ["hidden-mse", "attention", "minilm", "pkd", "nwj"])
def test_transport_weighs_layers_by_how_near_they_are(name: str) -> None:
    student, teacher = models()
    objective = make(name, layer_mapping="emd")
    assert len(objective.pairs) == 8
    losses = pair_losses(objective, student, teacher)
    flow = torch.from_numpy(emd_flow(losses.detach().double().numpy().reshape(2, 4))).ravel()
    assert objective(student, teacher).item() == pytest.approx((losses * flow).sum().item(), rel=1e-5)
    assert objective(student, teacher) <= losses.mean() + 1e-6


def test_transport_of_layers_that_agree_matches_them() -> None:
    shape = replace(SMALL, layers=3)
    teacher = some_states(1, shape)
    order = (2, 3, 1)
    student = States(dict(enumerate(teacher.hidden[layer] for layer in (0, *order))), {}, MASK)
    objective = make("hidden-mse", shape, shape, layer_mapping="emd")
    assert objective(student, teacher).item() == 0
    assert make("hidden-mse", shape, shape, layer_mapping="first")(student, teacher).item() > 0.1


def test_a_loss_that_is_no_number_is_left_to_the_loop_to_tell() -> None:
    student, teacher = models()
    broken = student.changed(lambda states: states * float("inf"), MASK)
    assert not make("hidden-mse", layer_mapping="emd")(broken, teacher).isfinite()


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
            assert make(name, deep, layer_mapping=allowed)(student, teacher).isfinite()


def test_helpers_begin_the_same_for_a_seed() -> None:
    one, other = make("mi-alpha").state_dict(), make("mi-alpha").state_dict()
    assert len(one) == 2 * (4 + 4 + 4)  # two pairs of layers, three perceptrons of two layers each
    assert all(torch.equal(one[name], other[name]) for name in one)


# Models that read other tokens

OF_POOLED = ("pkd", "infonce", "nwj", "tuba", "mi-alpha")


def shares_in(states: States) -> Tensor:
    assert states.shares is not None
    return states.shares


def pooled_by_hand(states: States, words: list[list[list[int]]]) -> States:
    """The words' states one by one: each the mean of its tokens', padded with nonsense."""

    def mean(tensor: Tensor) -> Tensor:
        made = torch.full((len(words), 3, tensor.shape[-1]), 7.0)
        for text, of_text in enumerate(words):
            for word, tokens in enumerate(of_text):
                made[text, word] = tensor[text, tokens].mean(0)
        return made

    return states.changed(mean, torch.tensor([[int(word < len(of_text)) for word in range(3)] for of_text in words]))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_POOLED])
def test_states_of_other_tokens_are_compared_word_by_word(name: str) -> None:
    student, teacher = some_aligned(SMALL, LARGE)
    objective = make(name)
    by_hand = objective(pooled_by_hand(student, OF_STUDENT), pooled_by_hand(teacher, OF_TEACHER))
    assert torch.isclose(objective(student, teacher), by_hand, rtol=1e-5)


@pytest.mark.parametrize("name", OF_POOLED)
def test_states_of_texts_are_pooled_over_each_models_own_tokens(name: str) -> None:
    student, teacher = some_aligned(SMALL, LARGE)
    objective = make(name)
    bare = (replace(states, shares=None) for states in (student, teacher))
    assert torch.equal(objective(student, teacher), objective(*bare))
    for states, (first, *_) in zip((student, teacher), LENGTHS, strict=True):
        assert states.mask.shape == (4, first)


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_other_tokens_are_compared_with_their_own(name: str) -> None:
    """Rows that are permuted on one side alone change the loss, on both they do not."""
    student, teacher = some_aligned(SMALL, LARGE)
    objective, order = make(name), torch.tensor([2, 3, 0, 1])
    own = objective(student, teacher)
    moved = [changed(states, lambda tensor: tensor[order]) for states in (student, teacher)]
    assert not torch.isclose(own, objective(student, moved[1]), rtol=1e-5)
    whole = [replace(states, mask=states.mask[order], shares=shares_in(states)[order]) for states in moved]
    assert torch.isclose(own, objective(*whole), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_POOLED])
def test_words_of_other_tokens_are_compared_with_their_own(name: str) -> None:
    student, teacher = some_aligned(SMALL, LARGE)
    objective = make(name)
    shares = shares_in(teacher).clone()
    shares[0] = shares[0, [2, 0, 1]]
    own = objective(student, teacher)
    assert not torch.isclose(own, objective(student, replace(teacher, shares=shares)), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_no_word_and_padding_are_not_looked_at(name: str) -> None:
    """Of texts' pooled states special tokens are a part, as they are where the tokens are the same."""
    student, teacher = some_aligned(SMALL, LARGE)
    objective = make(name)
    disturbed = [
        disturbed_where(states, states.mask == 0 if name in OF_POOLED else shares_in(states).sum(1) == 0)
        for states in (student, teacher)
    ]
    assert torch.isclose(objective(student, teacher), objective(*disturbed), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_POOLED])
def test_the_mask_of_words_is_kept(name: str) -> None:
    """With every place taken for a word the loss is another: texts have one to three words."""
    student, teacher = some_aligned(SMALL, LARGE)
    objective = make(name)
    everything = [replace(states.compared, mask=torch.ones(4, 3)) for states in (student, teacher)]
    assert not torch.isclose(objective(student, teacher), objective(*everything), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_learns_of_other_tokens_and_the_teacher_does_not(name: str) -> None:
    student, teacher = some_aligned(SMALL, LARGE, grad=True)
    make(name)(student, teacher).backward()
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in leaves(student))
    assert all(tensor.grad is None for tensor in leaves(teacher))
    assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in leaves(student))


@pytest.mark.parametrize("name", NAMES)
def test_other_tokens_that_are_the_same_are_no_other_tokens(name: str) -> None:
    """Each token a word, on both sides: the loss is that of the tokens."""
    student, teacher = models()
    shares = torch.diag_embed(MASK.float())
    aligned = (replace(states, shares=shares) for states in (student, teacher))
    objective = make(name)
    assert torch.isclose(objective(student, teacher), objective(*aligned), rtol=1e-5)


@pytest.mark.parametrize("words", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_a_word_both_have_read_teaches_no_words(name: str, words: int) -> None:
    student, teacher = some_aligned(SMALL, LARGE, grad=True)
    emptied = [replace(s, shares=torch.zeros(4, words, s.mask.shape[1])) for s in (student, teacher)]
    loss = make(name)(*emptied)
    loss.backward()
    assert loss.isfinite()
    assert (loss.item() == 0) == (name not in OF_POOLED)


def test_a_words_attention_is_the_mean_over_the_pairs_of_its_tokens() -> None:
    """By the book: scores of all pairs of tokens, their mean, and a softmax over the words."""
    student, teacher = some_aligned(replace(SMALL, heads=1), replace(LARGE, heads=1))
    for states, words in ((student, OF_STUDENT), (teacher, OF_TEACHER)):
        tokens = attention_scores(states.attention[1])[0, 0]
        of_words = attention_scores(states.compared.attention[1])[0, 0]
        for one, query in enumerate(words[0]):
            for other, key in enumerate(words[0]):
                pairs = torch.stack([tokens[a, b] for a in query for b in key])
                assert of_words[one, other].item() == pytest.approx(pairs.mean().item(), abs=1e-5)
