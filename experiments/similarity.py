"""Similarity of two bodies of text, a domain's and a generic one's, by four measures; in all of them higher is nearer.

The paper does not say by which it measured (papers.md, A). *Nearest*: the mean cosine of an utterance to the generic
text nearest to it. *Centre*: the cosine of both mean vectors. *Vocabulary*: the share of the domain's frequent words
that are frequent in the generic text. *Predictability*: minus the bits a word that a trigram model of the generic text
needs for the domain's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.heldout import folded_words
from service.inspection import vocabulary_overlap

MEASURES = ("nearest", "centre", "vocabulary", "predictability")
ORDER = 3  # words of the longest n-gram
_START, _END = "<s>", "</s>"
_BLOCK = 512  # utterances compared with all generic texts at once

Vectors = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]  # unit vectors, a row a text


@dataclass(frozen=True)
class Similarity:
    """A domain beside the generic text."""

    nearest: float
    centre: float
    vocabulary: float
    predictability: float


class Generic:
    """A generic text, made ready for domains to be laid beside it."""

    def __init__(self, texts: Sequence[str], encode: Encode) -> None:
        self._encode = encode
        self._vectors = encode(texts)
        self._words = _counted(texts)
        self._model = TrigramModel(texts)

    def similarity(self, texts: Sequence[str]) -> Similarity:
        """Of a domain's texts; both are to have at least one word."""
        vectors = self._encode(texts)
        return Similarity(
            nearest=nearest(vectors, self._vectors),
            centre=_cosine(vectors.mean(axis=0), self._vectors.mean(axis=0)),
            vocabulary=vocabulary_overlap(_counted(texts), self._words) or 0.0,
            predictability=-self._model.bits_per_word(texts),
        )


class TrigramModel:
    """Words by the two before them, smoothed by Witten and Bell's interpolation down to one of all words alike.

    An n-gram's followers are believed as far as they were seen, and as much as they are of few kinds:
    p(w | h) = (c(h w) + kinds(h) p(w | shorter h)) / (c(h) + kinds(h)). Unknown words share one place.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._after: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            for before, word in _steps(text):
                for length in range(ORDER):
                    self._after[before[length:]][word] += 1
        self._totals = {before: words.total() for before, words in self._after.items()}
        self._least = 1 / (len(self._after.get((), ())) + 1)

    def probability(self, word: str, before: tuple[str, ...]) -> float:
        """Of a word after others; of words it knows and one it does not, they add up to 1."""
        shorter = self.probability(word, before[1:]) if before else self._least
        words = self._after.get(before)
        if words is None:
            return shorter
        kinds = len(words)
        return (words.get(word, 0) + kinds * shorter) / (self._totals[before] + kinds)

    def bits_per_word(self, texts: Sequence[str]) -> float:
        """The cross-entropy of the texts, their ends counted as words."""
        steps = [step for text in texts for step in _steps(text)]
        return -sum(math.log2(self.probability(word, before)) for before, word in steps) / len(steps)


def nearest(vectors: Vectors, others: Vectors) -> float:
    """The mean over `vectors` (n, d) of the greatest cosine with one of `others` (m, d); all are unit vectors."""
    blocks = range(0, len(vectors), _BLOCK)
    return float(np.concatenate([(vectors[at : at + _BLOCK] @ others.T).max(axis=1) for at in blocks]).mean())


def _steps(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each word with the two before it."""
    words = [*[_START] * (ORDER - 1), *folded_words(text), _END]
    for at in range(ORDER - 1, len(words)):
        yield tuple(words[at - ORDER + 1 : at]), words[at]


def _counted(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in folded_words(text))


def _cosine(one: Vectors, other: Vectors) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
