"""An intermediate objective: a loss of states over mapped layers, with what it learns beside the student.

Projections, critics and baselines are trained with the student and thrown away after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from contract.errors import BadInput
from distill.models.states import QKV, Attention, Part, Shape, Sight, States, What, pooled
from distill.objectives.attention import attention_loss
from distill.objectives.hidden import hidden_cosine, hidden_cross_entropy, hidden_l2, hidden_mse, pkd_loss
from distill.objectives.layer_mapping import (
    Pair,
    all_layers,
    emd_flow,
    first_layers,
    last_layers,
    skip_layers,
    top_layer,
)
from distill.objectives.mutual_information import Critic, infonce, mi_alpha, nwj, tuba
from distill.objectives.relations import minilm_loss, minilmv2_loss
from distill.objectives.share import Unit
from distill.settings.objective import IntermediateName, LayerMapping, ObjectiveConfig
from distill.settings.teacher import Pooling

Distance = Callable[[Tensor, Tensor], Tensor]  # (N, H) of the student, (N, H) of the teacher -> scalar
PairLoss = Callable[[States, States, Pair], Tensor]  # student, teacher, layers -> scalar

OF_TOKENS: dict[IntermediateName, Distance] = {
    "hidden-mse": hidden_mse,
    "hidden-l2": hidden_l2,
    "hidden-cosine": hidden_cosine,
    "hidden-ce": hidden_cross_entropy,
}
OF_ATTENTION: tuple[IntermediateName, ...] = ("attention", "minilm", "minilmv2")
_MAPPINGS: dict[LayerMapping, Callable[[int, int], tuple[Pair, ...]]] = {
    "skip": skip_layers,
    "last": last_layers,
    "first": first_layers,
    "top": top_layer,
    "emd": all_layers,
}


class Intermediate(nn.Module):
    """The mean over the mapped pairs of layers of a pair's loss; with `flow`, weighted as the cheapest transport says.

    The flow is solved on the losses as they are, and no gradient goes through it. Token by token the models' compared
    states are set side by side; a text's pooled state is of each model's own tokens.
    """

    def __init__(self, name: IntermediateName, pairs: tuple[Pair, ...], loss: PairLoss, *, flow: bool = False) -> None:
        super().__init__()
        self.name = name
        self.pairs = pairs
        self.loss = loss
        self.flow = flow

    @property
    def sight(self) -> Sight:
        """What it must see of both models."""
        return Sight(attention=True) if self.name in OF_ATTENTION else Sight(hidden=True)

    @property
    def teacher_parts(self) -> frozenset[Part]:
        """What of the teacher's states it is compared with."""
        kinds: tuple[What, ...] = ("hidden",)
        if self.name in OF_ATTENTION:
            kinds = QKV[:2] if self.name == "attention" else QKV
        return frozenset((what, layer) for what in kinds for _, layer in self.pairs)

    @property
    def unit(self) -> Unit:
        """What it is a mean over. Of a bound on mutual information the texts are said, though it is no mean."""
        if self.name == "attention":
            return "pairs"
        return "tokens" if self.name in OF_TOKENS or self.name in OF_ATTENTION else "texts"

    def forward(self, student: States, teacher: States) -> Tensor:
        """The loss of a batch."""
        if self.name in OF_TOKENS or self.name in OF_ATTENTION:
            student, teacher = student.compared, teacher.compared
            if not student.mask.any():  # no word that both have read
                return _nothing(student)
        losses = torch.stack([self.loss(student, teacher, pair) for pair in self.pairs])
        return (losses * self._shares(losses.detach())).sum() if self.flow else losses.mean()

    def _shares(self, losses: Tensor) -> Tensor:
        """(pairs,) losses -> (pairs,) weights, sum 1."""
        costs = losses.double().cpu().numpy().reshape(max(student for student, _ in self.pairs), -1)
        flow = emd_flow(costs) if np.isfinite(costs).all() else np.full(costs.shape, 1 / costs.size)
        return torch.from_numpy(flow.ravel()).to(losses)


class HiddenLoss(nn.Module):
    """A distance between hidden states: of every token or word, or of every text once its tokens are pooled.

    Where the models' widths differ, each of the student's layers has a linear projection to the teacher's width.
    """

    def __init__(
        self, distance: Distance, pairs: tuple[Pair, ...], student: Shape, teacher: Shape, pooling: Pooling | None
    ) -> None:
        super().__init__()
        self.distance = distance
        self.pooling = pooling
        layers = sorted({layer for layer, _ in pairs}) if student.width != teacher.width else []
        self.projections = nn.ModuleDict({str(layer): nn.Linear(student.width, teacher.width) for layer in layers})

    def forward(self, student: States, teacher: States, pair: Pair) -> Tensor:
        ours = self._rows(student.hidden[pair[0]], student.mask)
        if self.projections:
            ours = self.projections[str(pair[0])](ours)
        return self.distance(ours, self._rows(teacher.hidden[pair[1]], teacher.mask))

    def _rows(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, L, H) -> (real ones, H), or (B, H)."""
        return hidden.float()[mask.bool()] if self.pooling is None else pooled(hidden.float(), mask, self.pooling)


class MutualInformation(nn.Module):
    """Minus a bound on the mutual information of pooled states, with a critic for every pair of layers."""

    def __init__(
        self, name: IntermediateName, pairs: tuple[Pair, ...], student: Shape, teacher: Shape, config: ObjectiveConfig,
        pooling: Pooling,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pooling: Pooling = pooling
        bounds: dict[str, Callable[..., Tensor]] = {
            "infonce": infonce,
            "nwj": nwj,
            "tuba": tuba,
            "mi-alpha": partial(mi_alpha, alpha=config.alpha),
        }
        self.bound = bounds[name]
        baseline = name in ("tuba", "mi-alpha")
        self.critics = nn.ModuleDict(
            {_key(pair): Critic(student.width, teacher.width, baseline=baseline) for pair in pairs}
        )

    def forward(self, student: States, teacher: States, pair: Pair) -> Tensor:
        critic = self.critics[_key(pair)]
        assert isinstance(critic, Critic)
        ours = pooled(student.hidden[pair[0]].float(), student.mask, self.pooling)
        theirs = pooled(teacher.hidden[pair[1]].float(), teacher.mask, self.pooling)
        learned = () if critic.baseline is None else (critic.log_baseline(theirs),)
        return -self.bound(critic(ours, theirs), *learned)


def make_intermediate(
    name: IntermediateName, config: ObjectiveConfig, student: Shape, teacher: Shape, pooling: Pooling
) -> Intermediate:
    """The intermediate objective of that name; BadInput when the two models do not allow it.

    `pooling` is how a text's state is made of its tokens', where the config does not say.
    """
    mapping = _mapping(name, config)
    pairs = _pairs(name, mapping, config, student, teacher)
    pooling = config.pooling or pooling
    loss: PairLoss
    if name in OF_TOKENS:
        loss = HiddenLoss(OF_TOKENS[name], pairs, student, teacher, None)
    elif name == "pkd":
        loss = HiddenLoss(pkd_loss, pairs, student, teacher, pooling)
    elif name in OF_ATTENTION:
        loss = partial(_of_layers, _attention_loss(name, config, student, teacher))
    else:
        loss = MutualInformation(name, pairs, student, teacher, config, pooling)
    return Intermediate(name, pairs, loss, flow=mapping == "emd")


def _mapping(name: IntermediateName, config: ObjectiveConfig) -> LayerMapping | None:
    """None where the config names the pairs; what it leaves open is as in the objective's paper."""
    if config.layer_pairs:
        return None
    return config.layer_mapping or ("top" if name in ("minilm", "minilmv2") else "skip")


def _pairs(
    name: IntermediateName, mapping: LayerMapping | None, config: ObjectiveConfig, student: Shape, teacher: Shape
) -> tuple[Pair, ...]:
    """The mapped layers; embeddings are left out where there is nothing of a text in them to compare."""
    if mapping is None:
        _refuse_pairs(name, config.layer_pairs, student, teacher)
        return config.layer_pairs
    if mapping in ("last", "first") and student.layers > teacher.layers:
        raise BadInput(
            f'objective.layer_mapping = "{mapping}" gives each layer of the student one of the teacher, found '
            f"{student.layers} layers and {teacher.layers}; take skip or emd, or a smaller student"
        )
    pairs = _MAPPINGS[mapping](student.layers, teacher.layers)
    return pairs if name in OF_TOKENS else tuple(pair for pair in pairs if 0 not in pair)


def _refuse_pairs(name: IntermediateName, pairs: tuple[Pair, ...], student: Shape, teacher: Shape) -> None:
    lowest = 0 if name in OF_TOKENS else 1
    for pair in pairs:
        if not (lowest <= pair[0] <= student.layers and lowest <= pair[1] <= teacher.layers):
            raise BadInput(
                f"objective.layer_pairs: expected [student layer, teacher layer] from {lowest} to {student.layers} and "
                f"from {lowest} to {teacher.layers} for {name}, found {list(pair)}; 0 is the embeddings' output"
            )


def _of_layers(
    loss: Callable[[Attention, Attention, Tensor], Tensor], student: States, teacher: States, pair: Pair
) -> Tensor:
    return loss(student.attention[pair[0]], teacher.attention[pair[1]], student.mask)


def _attention_loss(
    name: IntermediateName, config: ObjectiveConfig, student: Shape, teacher: Shape
) -> Callable[[Attention, Attention, Tensor], Tensor]:
    if name == "attention":
        return attention_loss
    if name == "minilm":
        return minilm_loss
    heads = config.relation_heads or min(teacher.heads, student.width)
    if heads > min(student.width, teacher.width):
        raise BadInput(
            f"objective.relation_heads is {heads}, more than the {min(student.width, teacher.width)} numbers of a "
            "state that are to be shared among them; take fewer"
        )
    return partial(minilmv2_loss, relation_heads=heads)


def _nothing(states: States) -> Tensor:
    """A loss of nothing, with a gradient of nothing."""
    seen = (
        *states.hidden.values(),
        *(kind for a in states.attention.values() for kind in (a.queries, a.keys, a.values)),
    )
    return torch.stack([0.0 * tensor.sum() for tensor in seen]).sum()


def _key(pair: Pair) -> str:
    return f"{pair[0]}-{pair[1]}"
