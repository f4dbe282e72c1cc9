"""The explanation: what the selection policy would do with the neighbours of some utterances, and why, hit by hit.

The policy's own code judges and selects, as if these utterances were the whole transfer set, so that what is said here
is what a build does. Only its reasons are put into sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from contract.manifest import Json
from service.candidates import Judgement, unjudged
from service.diversity import WordSets, places
from service.heldout import Heldout
from service.neighbours import SearchIndex, Searching, flatten, neighbour_lists, numbers
from service.selection import (
    REASONS,
    Candidates,
    SelectionPolicy,
    Utterances,
    reasons_before_diversity,
    select,
)


@dataclass(frozen=True)
class Asked:
    """What is to be explained: utterances, how their neighbours are found, and what they are selected by."""

    ids: Sequence[str]
    texts: Sequence[str]
    k: int
    retriever: Searching
    seed: int
    policy: SelectionPolicy
    heldout: Heldout

    @property
    def measured(self) -> Utterances:
        words = np.array([len(text.split()) for text in self.texts], np.int32)
        return Utterances(words, np.ones(len(self.texts), bool))


def explain(index: SearchIndex, asked: Asked) -> list[list[dict[str, Json]]]:
    """A list an utterance, best neighbour first: NEIGHBOUR records with `n_words`, `kept`, `reason` and `why`."""
    k = min(asked.policy.depth(asked.k), index.rows)
    hits = flatten(index.search(asked.texts, k, asked.retriever, seed=asked.seed))
    passages = index.passages(numbers(hits, "row"))
    candidates = _judged(asked, unjudged(hits, asked.retriever), passages)
    if asked.policy.diversity is not None:
        _spread(asked, candidates, passages)
    reasons = [REASONS[number] for number in select(asked.policy, candidates, asked.measured, seed=asked.seed).hits]
    sentences = _Sentences(asked, candidates, reasons)
    said = [
        {
            "n_words": int(candidates.n_words[hit]),
            "kept": not reason,
            "reason": reason or None,
            "why": sentences.why(hit),
        }
        for hit, reason in enumerate(reasons)
    ]
    lists = neighbour_lists(hits, passages, asked.retriever, len(asked.texts)).to_pylist()
    ends = np.cumsum([len(neighbours) for neighbours in lists]).tolist()
    return [
        [neighbour | told for neighbour, told in zip(neighbours, said[end - len(neighbours) : end], strict=True)]
        for neighbours, end in zip(lists, ends, strict=True)
    ]


def _judged(asked: Asked, candidates: Candidates, passages: pa.Table) -> Candidates:
    """What the policy must know of every hit's text."""
    judgement = Judgement(asked.policy, asked.heldout, [(text,) for text in asked.texts], asked.policy.near_utterance)
    table = judgement.judge(passages, candidates.utterance, np.arange(len(candidates)))
    candidates.n_words[:] = numbers(table, "n_words")
    candidates.heldout[:] = numbers(table, "heldout")
    candidates.near[:] = numbers(table, "near")
    return candidates


def _spread(asked: Asked, candidates: Candidates, passages: pa.Table) -> None:
    """Give the hits that nothing else drops their places."""
    assert asked.policy.diversity is not None
    left = np.flatnonzero(reasons_before_diversity(asked.policy, candidates) == 0)
    words = WordSets.of(passages["text"].to_pylist())
    candidates.place[left] = places(candidates.take(left), left, words, asked.policy.diversity, asked.k)


class _Sentences:
    """The reason of a hit as a person reads it."""

    def __init__(self, asked: Asked, candidates: Candidates, reasons: Sequence[str]) -> None:
        self._asked = asked
        self._hits = candidates
        self._reasons = reasons
        self._keepers: Mapping[int, list[int]] = _keepers(candidates, reasons)

    def why(self, hit: int) -> str:
        policy, hits, held = self._asked.policy, self._hits, self._asked.policy.heldout
        match self._reasons[hit]:
            case "":
                return "It would stand in the transfer set."
            case "rank_band":
                return f"Its rank is {hits.rank[hit]}; the policy keeps {_band(policy.min_rank, policy.max_rank)}."
            case "no_match":
                return "It shares no word with the utterance, so its place says nothing."
            case "score_band":
                found, kept = hits.score[hit], _band(policy.min_score, policy.max_score)
                return f"Its score is {found:.4g}; the policy keeps {kept}."
            case "length_band":
                found, kept = hits.n_words[hit], _band(policy.min_words, policy.max_words)
                return f"It has {found} {'word' if found == 1 else 'words'}; the policy keeps {kept}."
            case "heldout_exact":
                return "It equals a held-out utterance of the task, but for case, accents and punctuation."
            case "heldout_ngram":
                share, n = 100 * held.containment, held.ngram
                return f"It holds {share:g} % or more of the runs of {n} words of a held-out utterance of the task."
            case "heldout_cosine":
                return f"Its cosine to a held-out utterance of the task is {held.cosine:g} or more."
            case "near_utterance":
                return self._near()
            case "max_uses":
                return self._used(hit)
            case reason:
                return _AFTER_USES[reason].format(policy)

    def _near(self) -> str:
        share = self._asked.policy.near_utterance
        if share is None or share == 1:
            return "It is the utterance itself, but for case, accents, punctuation or the order of words."
        return f"It is nearly the utterance itself: of the words of both, {100 * share:g} % or more are common."

    def _used(self, hit: int) -> str:
        keepers = [self._asked.ids[self._hits.utterance[other]] for other in self._keepers[int(self._hits.row[hit])]]
        by = " and ".join(f"utterance {keeper}" for keeper in keepers[:3]) or "other utterances"
        uses = self._asked.policy.max_uses
        return f"It stands with {by}, where it ranks no worse; a passage is used {_times(uses)}."


_AFTER_USES = {
    "diversity": "Others of its utterance are nearer, or less like those chosen before; diversity is {0.diversity:g}.",
    "generic_share": "The others already are the share of generic texts asked for, {0.generic_share:g}.",
    "budget_generic": "Nearer ones fill the budget of {0.budget_generic:,} generic texts.",
    "budget_rows": "Nearer ones fill the budget of {0.budget_rows:,} texts.",
    "budget_words": "Nearer ones fill the budget of {0.budget_words:,} words.",
}


def _keepers(hits: Candidates, reasons: Sequence[str]) -> dict[int, list[int]]:
    """By passage the hits that were not dropped before its uses were counted: where a passage stands instead."""
    keepers = defaultdict(list)
    for hit, reason in enumerate(reasons):
        if reason == "" or reason in _AFTER_USES:
            keepers[int(hits.row[hit])].append(hit)
    return keepers


def _band(least: float | None, most: float | None) -> str:
    if least is None:
        return f"up to {most:g}"
    return f"{least:g} and more" if most is None else f"{least:g} to {most:g}"


def _times(uses: int) -> str:
    return "once" if uses == 1 else f"{uses} times"
