"""A wording: a text as its words and what stands between them, so that words can be changed and the rest stays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distill.reading.words import locate_words, split_words

_CORE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)

NO_ORIGIN = -1  # of a word that comes from no one word of the text


@dataclass(frozen=True)
class Wording:
    """`gaps[i]` stands before word i, `tail` after the last; `origins[i]` is the word of the first text that it was."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]
    tail: str
    origins: tuple[int, ...]

    @property
    def text(self) -> str:
        return "".join(part for pair in zip(self.gaps, self.words, strict=True) for part in pair) + self.tail

    @property
    def keeps_words(self) -> bool:
        """Whether every word comes from a word of the first text."""
        return NO_ORIGIN not in self.origins

    def in_order(self, order: Sequence[int]) -> Wording:
        """Its words in another order; what stands between them stays where it stands."""
        words, origins = self.words, self.origins
        return replace(self, words=tuple(words[p] for p in order), origins=tuple(origins[p] for p in order))

    def without(self, places: Sequence[int]) -> Wording:
        """Without some words, and what stands before each; the first word that is left begins where the text began."""
        gone = set(places)
        kept = [place for place in range(len(self.words)) if place not in gone]
        gaps = [self.gaps[place] for place in kept]
        return Wording(
            tuple(self.words[place] for place in kept),
            (self.gaps[0], *gaps[1:]) if gaps else (),
            self.tail,
            tuple(self.origins[place] for place in kept),
        )

    def with_cores(self, cores: Mapping[int, str]) -> Wording:
        """With other words at some places; the marks around each stay, and a capital at its beginning."""
        words = list(self.words)
        for place, core in cores.items():
            before, old, after = core_of(words[place])
            words[place] = before + (core[:1].upper() + core[1:] if old[:1].isupper() else core) + after
        return replace(self, words=tuple(words))


def read_wording(text: str, tokens: Sequence[str] | None = None) -> Wording:
    """A text by its words: the task's `tokens` where they stand in it, else what stands between white space."""
    spans = (locate_words(text, tokens) if tokens else None) or split_words(text)
    ends = [0, *(end for _, end in spans)]
    return Wording(
        tuple(text[start:end] for start, end in spans),
        tuple(text[end:start] for end, (start, _) in zip(ends, spans, strict=False)),
        text[ends[-1] :],
        tuple(range(len(spans))),
    )


def another_text(text: str) -> Wording:
    """A text that was written anew: its words come from no word."""
    fresh = read_wording(text)
    return replace(fresh, origins=(NO_ORIGIN,) * len(fresh.words))


def core_of(word: str) -> tuple[str, str, str]:
    """The marks before a word, the word, the marks after it: ("(", "hello", "!")."""
    match = _CORE.match(word)
    assert match is not None, "it matches everything"
    return match[1], match[2], match[3]
