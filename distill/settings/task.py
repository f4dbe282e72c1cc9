"""[task]: the gold labels a run learns and judges by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from contract.task import Target
from distill.settings.section import Rate, Section, Seed

# What is learnt of a text. Pairs are no kind of their own: two sentences are read as one text.
Kind = Literal["classes", "regression", "slots", "joint", "out-of-scope"]
Splits = str | Annotated[tuple[str, ...], Field(min_length=1)]


class TaskConfig(Section):
    """The task's gold labels. `shots` keeps so many training rows a class, drawn with `seed`.

    `kind`: what is learnt [classes of the target; amounts, where the label is numbers with a point]. "slots" are the
    BIO tags alone, "joint" the tags and the target's classes; `slot_weight` is what their loss weighs beside the
    sentence's. "out-of-scope" learns the classes without the label `out_of_scope`, and is judged by telling its rows
    in the test from the others.
    A split may be several: ["test", "oos_test"]. `validation_split` is judged on along the way, to stop early;
    an out-of-scope task's threshold is chosen on it: ["valid", "oos_valid"].
    `unseen_labels`: labels that stand only in the test are refused, or counted as wrong; no student can say them.
    """

    later = frozenset({"validation_split"})

    path: Path
    kind: Kind | None = None
    target: Target | None = None
    out_of_scope: str = "oos"
    slot_weight: Rate = 1.0
    shots: Annotated[int, Field(ge=1)] | None = None
    seed: Seed = 0
    train_split: Splits = "train"
    test_split: Splits = "test"
    validation_split: Splits | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    skip_bad_rows: bool = False
    unseen_labels: Literal["refuse", "wrong"] = "refuse"

    @property
    def train_splits(self) -> tuple[str, ...]:
        return (self.train_split,) if isinstance(self.train_split, str) else self.train_split

    @property
    def test_splits(self) -> tuple[str, ...]:
        return (self.test_split,) if isinstance(self.test_split, str) else self.test_split

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """None where no split is named."""
        splits = self.validation_split or ()
        return (splits,) if isinstance(splits, str) else splits
