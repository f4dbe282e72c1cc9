"""[teacher]: the model whose knowledge is handed on, and how it comes to its knowledge."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distill.settings.section import Rate, Section, Seed, Share, Tokens, Updates
from distill.settings.training import TrainingConfig

Pooling = Literal["mean", "first"]
AdaptTexts = Literal["train", "split", "transfer-set"]
MOST_BESIDE = 7  # teachers whose answers are averaged with the first one's


class _Unjudged(TrainingConfig):
    """What is trained without being judged on the way, since it is made once for runs with other test rows."""

    @model_validator(mode="after")
    def _has_no_patience(self) -> Self:
        if self.patience is not None:
            raise ValueError(
                "patience is of [distill] and [finetune]: a teacher is not judged on the way; leave it out"
            )
        return self


class AdaptConfig(_Unjudged):
    """Masked language modelling on unlabelled text, before the teacher is finetuned: it adapts to the domain.

    `texts`: those of the training rows that the run learns ("train"), of all rows of the train split, labelled and
    kept by `task.shots` or not ("split"), or of the transfer set. Texts that are held out are never among them.
    """

    updates: Annotated[int, Field(ge=1)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Rate = 1e-4
    texts: AdaptTexts = "split"


class BesideConfig(Section):
    """One more teacher; what it does not say is as [teacher] says."""

    model: str | None = None
    pooling: Pooling | None = None
    updates: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Rate | None = None
    seed: Seed | None = None


class TeacherConfig(_Unjudged):
    """`model` is `minilm`, a hub name or a directory; it is finetuned on the task's gold labels.

    With `updates` = 0 it is not, and has no answers of its own: a student can match its states, or the tokens it
    would put in masked places. `beside` are more teachers, whose probabilities are averaged with its own; the
    objectives of states look at the first alone.
    """

    later = TrainingConfig.later | {"adapt", "beside"}

    model: str = "minilm"
    pooling: Pooling = "mean"
    updates: Updates = 500
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Rate = 1e-4
    head_learning_rate: Rate = 1e-3
    dropout: Share = 0.1
    max_length: Tokens = 128
    seed: Seed = 0
    adapt: AdaptConfig | None = None
    beside: Annotated[tuple[BesideConfig, ...], Field(max_length=MOST_BESIDE)] = ()

    @property
    def answers(self) -> bool:
        """Whether it learns to say anything of the task."""
        return self.updates > 0

    @property
    def members(self) -> tuple[TeacherConfig, ...]:
        """Each teacher by itself, this one first."""
        alone = self.model_copy(update={"beside": ()})
        return (alone, *(alone.model_copy(update=other.model_dump(exclude_none=True)) for other in self.beside))

    @model_validator(mode="after")
    def _adds_up(self) -> TeacherConfig:
        if self.beside and not self.answers:
            raise ValueError(
                "updates = 0 leaves the teacher without answers, so that there are none to average with those of the "
                "teachers beside it; leave beside out, or finetune"
            )
        members = [member.model_dump_json() for member in self.members]
        if len(set(members)) < len(members):
            raise ValueError(
                "one teacher stands twice among it and those beside it; expected each to have another model or seed"
            )
        return self
