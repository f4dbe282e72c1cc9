"""The selection policy: which hits become neighbours, and which texts stay, in one fixed order with every drop counted.

Pure functions over arrays as long as the hits; nothing here reads a text. The order is the design's: rank band, score
band, length band, held out, near-duplicate of the utterance, one use per passage, generic share, budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.manifest import Count
from service.heldout import COSINE, EXACT, NGRAM, HeldoutSettings

Mask = npt.NDArray[np.bool_]

# Why a hit, or an utterance's text, is not in the set. The number of a reason is its place here; 0 is "kept".
REASONS = (
    "",
    "rank_band",
    "no_match",
    "score_band",
    "length_band",
    "heldout_exact",
    "heldout_ngram",
    "heldout_cosine",
    "near_utterance",
    "max_uses",
    "not_included",
    "generic_share",
    "budget_generic",
    "budget_rows",
    "budget_words",
)
_HELDOUT = {EXACT: "heldout_exact", NGRAM: "heldout_ngram", COSINE: "heldout_cosine"}


class SelectionPolicy(BaseModel):
    """What may stand in a transfer set. Bands are closed; None is no bound; a budget's texts are utterances too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_rank: int = Field(default=0, ge=0, description="nearest rank kept; 0 is the best")
    max_rank: int | None = Field(default=None, ge=0)
    drop_no_match: bool = Field(
        default=True, description="drop hits that share no word with the utterance (BM25 score 0)"
    )
    min_score: float | None = Field(default=None, allow_inf_nan=False)
    max_score: float | None = Field(default=None, allow_inf_nan=False)
    min_words: int = Field(default=1, ge=0)
    max_words: int | None = Field(default=None, ge=0)
    heldout: HeldoutSettings = HeldoutSettings()
    near_utterance: float | None = Field(
        default=0.8, gt=0, le=1, description="Jaccard of word sets that makes a passage a duplicate of its utterance"
    )
    max_uses: int = Field(default=1, ge=1, description="utterances that may share a passage")
    generic_share: float | None = Field(default=None, ge=0, le=1, description="generic texts / all texts")
    budget_generic: int | None = Field(default=None, ge=0, description="most generic texts")
    budget_rows: int | None = Field(default=None, ge=1, description="most texts")
    budget_words: int | None = Field(default=None, ge=1, description="most words; these are the tokens of the budget")

    @model_validator(mode="after")
    def _bands_hold_something(self) -> SelectionPolicy:
        for what in ("rank", "score", "words"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"expected min_{what} to be at most max_{what}, found {least} and {most}")
        return self


@dataclass(frozen=True)
class Candidates:
    """The hits of all utterances as arrays of one length, and what the policy must know of their texts."""

    utterance: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    unmatched: Mask  # no word in common with the utterance
    n_words: npt.NDArray[np.int32]
    heldout: npt.NDArray[np.int8]  # a verdict of service.heldout
    near: Mask  # a near-duplicate of its utterance

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: npt.NDArray[np.int64] | Mask) -> Candidates:
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(frozen=True)
class Utterances:
    """What the policy must know of the utterances: their words, and whether their own text may stand in the set."""

    n_words: npt.NDArray[np.int32]
    included: Mask


@dataclass(frozen=True)
class Selection:
    """What stays, and the reason (a place in REASONS) why each other text goes."""

    hits: npt.NDArray[np.int8]
    utterances: npt.NDArray[np.int8]

    @property
    def kept_hits(self) -> Mask:
        return np.equal(self.hits, 0)

    @property
    def kept_utterances(self) -> Mask:
        return np.equal(self.utterances, 0)


@dataclass(frozen=True)
class _Verdicts:
    """Reasons so far; the first reason to drop a text is the one that counts."""

    reasons: npt.NDArray[np.int8]

    @property
    def kept(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.reasons == 0)

    def drop(self, reason: str, mask: Mask) -> None:
        self.reasons[mask & (self.reasons == 0)] = REASONS.index(reason)

    def drop_at(self, reason: str, places: npt.NDArray[np.int64]) -> None:
        self.reasons[places] = REASONS.index(reason)


def select(policy: SelectionPolicy, hits: Candidates, utterances: Utterances, *, seed: int) -> Selection:
    """Apply the policy. The result depends on the hits and the seed, not on the order the hits come in."""
    generic = _Verdicts(outside_bands(policy, hits))
    generic.drop("length_band", _outside(hits.n_words, policy.min_words, policy.max_words))
    for verdict, reason in _HELDOUT.items():
        generic.drop(reason, hits.heldout == verdict)
    generic.drop("near_utterance", hits.near)
    kept = generic.kept
    generic.drop_at("max_uses", kept[overused(hits.take(kept), policy.max_uses)])
    task = _Verdicts(np.zeros(len(utterances.included), np.int8))
    task.drop("not_included", ~utterances.included)
    _mix(policy, hits, utterances, generic, task, seed)
    return Selection(generic.reasons, task.reasons)


def outside_bands(policy: SelectionPolicy, hits: Candidates) -> npt.NDArray[np.int8]:
    """The reasons of the rank and score bands: those that need no text, so that others need not be read."""
    verdicts = _Verdicts(np.zeros(len(hits), np.int8))
    verdicts.drop("rank_band", _outside(hits.rank, policy.min_rank, policy.max_rank))
    if policy.drop_no_match:
        verdicts.drop("no_match", hits.unmatched)
    verdicts.drop("score_band", _outside(hits.score, policy.min_score, policy.max_score))
    return verdicts.reasons


def overused(hits: Candidates, max_uses: int) -> Mask:
    """Hits of a passage beyond its best `max_uses`: best by rank, then score, then order of utterances."""
    order = np.lexsort((hits.utterance, -_number(hits.score), hits.rank, hits.row))
    rows = hits.row[order]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1]))) if len(rows) else np.zeros(0, int)
    use = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    beyond = np.zeros(len(rows), bool)
    beyond[order] = use >= max_uses
    return beyond


def count(reasons: npt.NDArray[np.int8], before: Mapping[str, int] | None = None) -> Count:
    """Law 9 of these texts: how many came, how many stay, and the rest by reason; `before` are earlier drops."""
    tally = np.bincount(reasons, minlength=len(REASONS)).tolist()
    dropped = {reason: tally[i] for i, reason in enumerate(REASONS) if i and tally[i]}
    for reason, rows in (before or {}).items():
        if rows:
            dropped[reason] = dropped.get(reason, 0) + rows
    return Count(len(reasons) + sum((before or {}).values()), tally[0], dropped)


def _mix(
    policy: SelectionPolicy, hits: Candidates, utterances: Utterances, generic: _Verdicts, task: _Verdicts, seed: int
) -> None:
    """Generic share and budgets: one sequence of texts, of which the longest prefix that fits stays.

    Worst ranks come last in it; within a rank, and among utterances, the order is drawn with the seed.
    """
    passages, texts = generic.kept, task.kept
    passages = passages[np.lexsort((_draw(seed, hits.utterance[passages], hits.row[passages]), hits.rank[passages]))]
    texts = texts[np.argsort(_draw(seed, texts, np.full(len(texts), -1)), kind="stable")]
    is_generic = sequence(policy.generic_share, len(passages), len(texts))
    places = np.zeros(len(is_generic), np.int64)
    words = np.zeros(len(is_generic), np.int64)
    places[is_generic], places[~is_generic] = passages[: is_generic.sum()], texts[: (~is_generic).sum()]
    words[is_generic] = hits.n_words[places[is_generic]]
    words[~is_generic] = utterances.n_words[places[~is_generic]]
    generic.drop_at("generic_share", passages[is_generic.sum() :])
    task.drop_at("generic_share", texts[(~is_generic).sum() :])
    budgets = (
        ("budget_generic", np.cumsum(is_generic), policy.budget_generic),
        ("budget_rows", np.arange(1, len(is_generic) + 1), policy.budget_rows),
        ("budget_words", np.cumsum(words), policy.budget_words),
    )
    end = len(is_generic)
    for reason, spent, budget in budgets:
        fits = end if budget is None else int(np.searchsorted(spent[:end], budget, side="right"))
        gone = slice(fits, end)
        generic.drop_at(reason, places[gone][is_generic[gone]])
        task.drop_at(reason, places[gone][~is_generic[gone]])
        end = fits


def sequence(share: float | None, generic: int, task: int) -> Mask:
    """Which texts of the sequence are generic: as many texts of both sides as the share allows.

    Text n is generic when round(share * n) steps up, so that every prefix holds the share to within half a text, and
    what was cut once to a share or budget is not cut again. Without a share, utterances come before generic texts.
    """
    if share is None:
        return np.concatenate((np.zeros(task, bool), np.ones(generic, bool)))
    generic_of = np.floor(share * np.arange(generic + task + 1) + 0.5).astype(np.int64)  # among the first n texts
    task_of = np.arange(generic + task + 1) - generic_of
    length = int(np.searchsorted((generic_of > generic) | (task_of > task), True))  # first n that asks for too many
    steps: Mask = np.diff(generic_of[:length]) > 0
    return steps


def _outside(values: npt.NDArray[Any], least: float | None, most: float | None) -> Mask:
    """Values beyond the closed band; NaN is beyond any bound that is set."""
    inside = np.ones(len(values), bool)
    if least is not None:
        inside &= values >= least
    if most is not None:
        inside &= values <= most
    return ~inside


def _number(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores that can be compared: none at all is the worst."""
    return np.where(np.isnan(scores), np.float32(-np.inf), scores)


def _draw(seed: int, *keys: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """A random number for every key (splitmix64): the same for the same key wherever it stands."""
    mixed = np.full(len(keys[0]), seed % 2**64, np.uint64)
    for key in keys:
        mixed = (mixed ^ key.astype(np.int64).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
