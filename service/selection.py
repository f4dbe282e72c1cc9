"""The selection policy: which hits become neighbours, and which texts stay, in one fixed order with every drop counted.

Pure functions over arrays as long as the hits; nothing here reads a text. The order is the design's: rank band, score
band, length band, held out, near-duplicate of the utterance, one use per passage, diversity, generic share, budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.manifest import Count, Json
from service.heldout import COSINE, EXACT, NGRAM, HeldoutSettings
from service.neighbours import MAX_K

POOL = 3  # times k: how many neighbours diversity chooses among, unless told
CROWDED = np.iinfo(np.int32).max  # the place of a hit that diversity leaves out

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
    "diversity",
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
    diversity: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="choose an utterance's k neighbours out of a pool, each near to it and unlike those chosen before: "
        "0 goes by rank alone, 1 by unlikeness alone (maximal marginal relevance, lambda = 1 - diversity)",
    )
    pool: int | None = Field(
        default=None, ge=1, le=MAX_K, description="how many neighbours diversity chooses among; default 3 times k"
    )
    generic_share: float | None = Field(default=None, ge=0, le=1, description="generic texts / all texts")
    budget_generic: int | None = Field(default=None, ge=0, description="most generic texts")
    budget_rows: int | None = Field(default=None, ge=1, description="most texts")
    budget_words: int | None = Field(default=None, ge=1, description="most words; these are the tokens of the budget")
    per_class: bool = Field(
        default=False,
        description="generic share and budgets cut the generic texts evenly over the classes of their utterances: "
        "what a class has too few of goes to the others",
    )

    @model_validator(mode="after")
    def _pool_is_for_diversity(self) -> SelectionPolicy:
        if self.pool is not None and self.diversity is None:
            raise ValueError(f"expected a diversity to choose out of a pool of {self.pool} by, found none")
        return self

    @model_validator(mode="after")
    def _bands_hold_something(self) -> SelectionPolicy:
        for what in ("rank", "score", "words"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"expected min_{what} to be at most max_{what}, found {least} and {most}")
        return self

    def depth(self, k: int) -> int:
        """How many neighbours are searched for each utterance, so that k can be chosen."""
        return k if self.diversity is None else min(MAX_K, max(k, self.pool or POOL * k))

    def params(self, k: int) -> dict[str, Json]:
        """The settings as they stand in a manifest, nothing left open; those that came later only where they are on."""
        settings: dict[str, Json] = self.model_dump(mode="json", exclude={"diversity", "pool", "per_class"})
        if self.diversity is not None:
            settings |= {"diversity": self.diversity, "pool": self.depth(k)}
        return settings | ({"per_class": True} if self.per_class else {})


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
    place: npt.NDArray[
        np.int32
    ]  # in its utterance's choice: its rank or, once diversity has chosen, when it was picked

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: npt.NDArray[np.int64] | Mask) -> Candidates:
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(frozen=True)
class Utterances:
    """What the policy must know of the utterances: their words, and whether their own text may stand in the set.

    `classes` numbers the class of each; `per_class` needs it.
    """

    n_words: npt.NDArray[np.int32]
    included: Mask
    classes: npt.NDArray[np.int64] | None = None


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
    generic = _Verdicts(reasons_before_diversity(policy, hits))
    if policy.diversity is not None:
        generic.drop("diversity", hits.place == CROWDED)
    task = _Verdicts(np.zeros(len(utterances.included), np.int8))
    task.drop("not_included", ~utterances.included)
    _mix(policy, hits, utterances, generic, task, seed)
    return Selection(generic.reasons, task.reasons)


def reasons_before_diversity(policy: SelectionPolicy, hits: Candidates) -> npt.NDArray[np.int8]:
    """The reasons that stand before diversity chooses among what they leave."""
    verdicts = _Verdicts(reasons_alone(policy, hits))
    kept = verdicts.kept
    verdicts.drop_at("max_uses", kept[overused(hits.take(kept), policy.max_uses)])
    return verdicts.reasons


def reasons_alone(policy: SelectionPolicy, hits: Candidates) -> npt.NDArray[np.int8]:
    """The reasons a hit is dropped for whatever the others are."""
    verdicts = _Verdicts(outside_bands(policy, hits))
    verdicts.drop("length_band", _outside(hits.n_words, policy.min_words, policy.max_words))
    for verdict, reason in _HELDOUT.items():
        verdicts.drop(reason, hits.heldout == verdict)
    verdicts.drop("near_utterance", hits.near)
    return verdicts.reasons


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

    Worst ranks come last in it (where diversity chose, the last picked); within a rank, and among utterances, the order
    is drawn with the seed. Per class, the first of every class come first, then the second ones: a prefix is even.
    """
    passages, texts = generic.kept, task.kept
    passages = passages[np.lexsort((_draw(seed, hits.utterance[passages], hits.row[passages]), hits.place[passages]))]
    if policy.per_class:
        assert utterances.classes is not None, "per_class needs the utterances' classes"
        passages = passages[np.argsort(_turns(utterances.classes[hits.utterance[passages]]), kind="stable")]
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


def _turns(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many of its own class stand before each."""
    order = np.argsort(classes, kind="stable")
    ordered = classes[order]
    turns = np.empty(len(classes), np.int64)
    turns[order] = np.arange(len(classes)) - np.searchsorted(ordered, ordered)
    return turns


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
