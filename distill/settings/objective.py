"""[objective]: what a student distils by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from contract.manifest import Json
from distill.settings.section import Rate, Section, Share, Weight
from distill.settings.teacher import Pooling

SoftTargets = Literal["kl", "ce", "mse"]
LayerMapping = Literal["skip", "last", "first", "top", "emd"]
IntermediateName = Literal[
    "hidden-mse", "hidden-l2", "hidden-cosine", "hidden-ce", "pkd", "attention", "minilm", "minilmv2",
    "infonce", "nwj", "tuba", "mi-alpha",
]  # fmt: skip


class ObjectiveConfig(Section):
    """What a student distils by: losses, each times its weight, added up. Gold labels count where a text has one.

    `intermediate` is "none", one name, or several with one `intermediate_weight` for all or one each. The teacher's
    `states` are then "live", the teacher running beside the student, or "stored": laid down once on disk, two bytes a
    number, for every epoch and run, which repays where a text is met more than once. `layer_mapping` is [top for minilm
    and minilmv2, as in their papers, skip for the rest], or `layer_pairs` say it: [[student layer, teacher layer], …].
    `pooling`, by which pkd and the mutual-information family make a text's state of its tokens', is [the teacher's
    own]. `alpha` is mi-alpha's: 1 is infonce, 0 is tuba. `relation_heads` are minilmv2's, [as many as the teacher has
    heads]. `mlm_weight` is that of telling masked tokens as the teacher tells them, which must be a masked language
    model with the student's tokenizer.
    """

    later = frozenset({"mlm_weight", "states"})

    soft_weight: Weight = 1.0
    hard_weight: Weight = 0.0
    soft_targets: SoftTargets = "kl"
    temperature: Rate = 2.0
    intermediate: tuple[IntermediateName, ...] = ()
    intermediate_weight: tuple[Rate, ...] = (1.0,)
    layer_mapping: LayerMapping | None = None
    layer_pairs: tuple[tuple[int, int], ...] = ()
    pooling: Pooling | None = None
    alpha: Share = 0.9
    relation_heads: Annotated[int, Field(ge=1)] | None = None
    mlm_weight: Weight = 0.0
    states: Literal["live", "stored"] = "live"

    @field_validator("intermediate", "intermediate_weight", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        return () if value == "none" else (value,)

    @field_serializer("intermediate", "intermediate_weight")
    def _as_written(self, value: tuple[Json, ...]) -> Json:
        """One name or number where there is one: `compare` tells runs apart by it."""
        return value[0] if len(value) == 1 else list(value) or "none"

    @model_validator(mode="after")
    def _adds_up(self) -> ObjectiveConfig:
        names, weights = self.intermediate, self.intermediate_weight
        if len(set(names)) < len(names):
            raise ValueError(
                f"intermediate names one objective twice: {', '.join(names)}; give it once, with its weight"
            )
        if len(weights) not in (1, len(names)):
            raise ValueError(
                f"intermediate_weight has {len(weights)} numbers for {len(names)} objectives; "
                "give one for all, or one each"
            )
        if not (self.soft_weight or self.hard_weight or names or self.mlm_weight):
            raise ValueError("every weight is 0, so that nothing is learnt; raise soft_weight, or name an intermediate")
        if self.states == "stored" and self.mlm_weight:
            raise ValueError(
                'states = "stored" keeps the states of texts as they are, found mlm_weight, which masks them anew in '
                'every batch; leave it out, or take states = "live"'
            )
        if self.layer_mapping and self.layer_pairs:
            raise ValueError("layer_mapping and layer_pairs both say which layers are compared; leave one out")
        return self

    @property
    def intermediates(self) -> tuple[tuple[IntermediateName, float], ...]:
        """The intermediate objectives with their weights."""
        weights = self.intermediate_weight * (len(self.intermediate) if len(self.intermediate_weight) == 1 else 1)
        return tuple(zip(self.intermediate, weights, strict=True))
