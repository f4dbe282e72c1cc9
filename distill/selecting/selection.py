"""The selection: which texts of a transfer set a student learns from, and why the others are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.selecting.judgement import Judgement, judge
from distill.selecting.quota import Numbers, best, so_many
from distill.settings.selection import SelectionConfig

_SALT = 0x5E1E  # so that no other draw of the seed is this one


@dataclass(frozen=True)
class Selection:
    """`rows` of a set of texts, ascending. It was to choose among `asked` texts, of which some were `dropped`.

    `always` (n,) are the others, which it has no say in; `classes` (n,) the teacher's, where it was asked for them.
    """

    rows: Numbers
    asked: int
    dropped: Mapping[str, int]
    always: npt.NDArray[np.bool_]
    classes: Numbers | None = None

    @property
    def kept(self) -> int:
        """How many of those asked are learnt."""
        return self.asked - sum(self.dropped.values())


def select(config: SelectionConfig, texts: pa.Table, logits: npt.NDArray[np.float16] | None, seed: int) -> Selection:
    """The selection among texts, with the teacher's logits (n, C) of them where it asks for them.

    By disagreement it is of what may be chosen later, while the student learns.
    """
    always = texts["utterance_id"].is_valid().to_numpy() & (config.texts == "neighbours")
    asked = np.flatnonzero(~always)
    judgement = None
    if config.judges:
        assert logits is not None, "the teacher has classes"
        judgement = judge(logits, config.by)
    on_task = asked if judgement is None else asked[judgement.confidence[asked] >= config.off_task]
    chosen = _chosen(config, on_task, so_many(config.keep, len(asked)), judgement, seed)
    rows = np.sort(np.concatenate([np.flatnonzero(always), chosen]))
    dropped = {"off_task": len(asked) - len(on_task), "not_chosen": len(on_task) - len(chosen)}
    counted = {reason: count for reason, count in dropped.items() if count}
    return Selection(rows, len(asked), counted, always, None if judgement is None else judgement.classes)


def _chosen(
    config: SelectionConfig, rows: Numbers, total: int, judgement: Judgement | None, seed: int
) -> npt.NDArray[np.int64]:
    """Those of `rows` that the criterion takes, where it is one that can be told before anything is learnt."""
    if config.by in ("none", "disagreement"):
        return rows
    if judgement is None or judgement.measured is None:
        scores = np.random.default_rng([seed, _SALT]).random(len(rows))
    else:
        scores = judgement.measured[rows]
    classes = judgement.classes[rows] if judgement is not None and config.balance else None
    return rows[best(scores if config.order == "high" else -scores, total, classes)]
