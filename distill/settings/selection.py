"""[selection]: which texts of a transfer set a student learns from, as its teacher judges them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distill.settings.section import Section
from distill.settings.task import Kind

Criterion = Literal["none", "random", "confidence", "entropy", "margin", "disagreement"]

_WITHOUT_CLASSES = ("slots", "regression")  # kinds of tasks whose teachers say no class of a text


class SelectionConfig(Section):
    """Which texts are learnt. Their labels are made and stored all the same, and serve every selection.

    `by` what the teacher's probabilities are: "confidence" is the largest of them, "margin" that over the second,
    "entropy" in nats; "random" draws as many, by the run's seed, to compare with. The `keep` share of the texts with
    the highest is learnt, or by `order` "low" that with the lowest; with `balance` class by class of the teacher's, so
    that classes are as even as the texts allow. By "disagreement" the texts are chosen anew `every` so many updates:
    those on which the student, as it is, is farthest from the teacher (the KL that soft targets are learnt by). No more
    texts are looked at than are learnt till the next choice, drawn by the seed, so that looking, which goes one way
    through the student and not back, costs a third of learning at most. Until the first choice all are learnt.

    `off_task`: a text whose teacher is less confident than this is of no class, and is left out, whatever `keep`.
    All this is of the `texts` "neighbours", their copies too; utterances are always learnt, unless it is of "both".
    """

    by: Criterion = "none"
    order: Literal["high", "low"] = "high"
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    balance: bool = False
    off_task: Annotated[float, Field(ge=0, lt=1)] = 0.0
    every: Annotated[int, Field(ge=1)] = 250
    texts: Literal["neighbours", "both"] = "neighbours"

    @property
    def used(self) -> bool:
        return self.by != "none" or self.off_task > 0

    @property
    def judges(self) -> bool:
        """Whether it asks for what a teacher says of texts."""
        return self.by not in ("none", "random") or self.off_task > 0 or self.balance

    @model_validator(mode="after")
    def _does_something(self) -> SelectionConfig:
        for setting, needed, those in (
            ("keep", self.by != "none", "a criterion"),
            ("balance", self.by != "none", "a criterion"),
            ("order", self.by not in ("none", "random"), "a criterion other than random"),
            ("every", self.by == "disagreement", "disagreement"),
            ("texts", self.used, "a criterion, or off_task"),
        ):
            if not needed and getattr(self, setting) != type(self).model_fields[setting].default:
                raise ValueError(f'{setting} needs {those}, found by = "{self.by}"; set by, or leave {setting} out')
        return self


def fault_of_selection(selection: SelectionConfig, kind: Kind | None, *, distils: bool, answers: bool) -> str | None:
    """Why these do not go with a task of this kind (None: not known yet), or with a teacher that has no answers."""
    if not selection.used:
        return None
    if not distils:
        return "selection is of what a student distils on, found no transfer_set; name one, or leave it out"
    asked = f'by = "{selection.by}"' if selection.by not in ("none", "random") else "balance or off_task"
    if selection.judges and not answers:
        return (
            f"selection: {asked} asks what the teacher says of texts, but teacher.updates is 0, so that it has no "
            'answers; finetune it, or take by = "random"'
        )
    if selection.judges and kind in _WITHOUT_CLASSES:
        return (
            f"selection: {asked} asks for the classes that the teacher gives to texts, which a task of {kind} has not; "
            'take by = "random", or leave it out'
        )
    return None
