"""What the training loop is told: [distill] and [finetune], and the part of [teacher] they share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from distill.settings.section import Rate, Section, Share, Updates

Some = Annotated[int, Field(ge=1)]


class TrainingConfig(Section):
    """What the one training loop is told: AdamW, linear warm-up, linear decay to nothing, clipped gradients.

    A batch is `batch_size` texts, or as many as fit into `tokens_per_batch`, padding counted. An update learns from
    `accumulate` batches as if they were one. With `patience` the model is judged on task.validation_split every
    `evaluate_every` updates; after so many looks without a better score training ends, and the best weights are kept.
    """

    later = frozenset({"tokens_per_batch", "accumulate", "patience", "evaluate_every"})
    stops_early: ClassVar[bool] = False

    batch_size: Some = 64
    tokens_per_batch: Some | None = None
    accumulate: Some = 1
    learning_rate: Rate = 1e-3
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Rate = 1.0
    patience: Some | None = None
    evaluate_every: Some = 100

    @model_validator(mode="after")
    def _go_together(self) -> TrainingConfig:
        fields = type(self).model_fields
        if self.tokens_per_batch is not None and self.batch_size != fields["batch_size"].default:
            raise ValueError("batch_size and tokens_per_batch both say how large a batch is; leave one out")
        if self.patience is not None and not self.stops_early:
            raise ValueError("patience is of distill and finetune: a teacher makes all its updates; leave it out")
        if self.patience is None and self.evaluate_every != fields["evaluate_every"].default:
            raise ValueError("evaluate_every is of early stopping, found no patience; set patience, or leave it out")
        return self


class DistillConfig(TrainingConfig):
    """How long and how fast a student learns from the teacher; by what, [objective] says."""

    stops_early = True

    updates: Updates = 2500


class FinetuneConfig(TrainingConfig):
    """Without a transfer set the student learns here all it learns, so that other values stand in:

    `updates_alone` [distill.updates + finetune.updates] and `learning_rate_alone` [distill.learning_rate].
    """

    stops_early = True

    updates: Updates = 200
    updates_alone: Updates | None = None
    learning_rate: Rate = 1e-4
    learning_rate_alone: Rate | None = None
