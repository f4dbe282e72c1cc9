"""Edits of words that need no model: swap, delete and synonyms."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.augmentation.wording import Wording, core_of


@dataclass(frozen=True)
class OfEach:
    """An operation that looks at one wording at a time."""

    change: Callable[[Wording, float, random.Random], Wording]
    probability: float

    def __call__(self, wordings: Sequence[Wording], draws: Sequence[random.Random]) -> list[Wording]:
        return [self.change(wording, self.probability, draw) for wording, draw in zip(wordings, draws, strict=True)]


def swap(wording: Wording, probability: float, draw: random.Random) -> Wording:
    """Each word, with this probability, changes places with the one before or after it (nlpaug's, which Distiller has).

    So one swap moves two words.
    """
    order, last = list(range(len(wording.words))), len(wording.words) - 1
    for place in chosen(wording, probability, draw) if last > 0 else ():
        other = place + (1 if place == 0 else -1 if place == last else 1 - 2 * draw.randrange(2))
        order[place], order[other] = order[other], order[place]
    return wording.in_order(order)


def delete(wording: Wording, probability: float, draw: random.Random) -> Wording:
    """Each word goes with this probability; were it all of them, one drawn of them stays."""
    places = chosen(wording, probability, draw)
    if len(places) == len(wording.words) and places:
        places.pop(draw.randrange(len(places)))
    return wording.without(places)


@dataclass(frozen=True)
class Synonyms:
    """Each word that has synonyms is, with this probability, one of them."""

    of: Callable[[str], Sequence[str]]  # of a word in small letters
    probability: float

    def __call__(self, wordings: Sequence[Wording], draws: Sequence[random.Random]) -> list[Wording]:
        return [self._change(wording, draw) for wording, draw in zip(wordings, draws, strict=True)]

    def _change(self, wording: Wording, draw: random.Random) -> Wording:
        cores = {}
        for place in chosen(wording, self.probability, draw):
            known = self.of(core_of(wording.words[place])[1].casefold())
            if known:
                cores[place] = known[draw.randrange(len(known))]
        return wording.with_cores(cores)


def chosen(wording: Wording, probability: float, draw: random.Random) -> list[int]:
    """The places of the words that are drawn, ascending: one draw a word, whatever comes of it."""
    return [place for place in range(len(wording.words)) if draw.random() < probability]
