"""Texts into terms: cut into words, then normalise, cut further, stem and filter each distinct word once.

The same path serves passages and queries, so that equal words always become equal terms.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import Stemmer
from numba import njit

from contract.errors import BadInput
from indexer.bm25.words import WordNumbers

# Past this a word is an address or encoded bytes: its beginning stands for it, so that a vocabulary stays small.
MAX_TERM_CHARACTERS = 64

# Scripts in which spaces do not part words, or in which (Hangul) what stands between them is more than a word.
_SPACELESS = (
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\ua9e0-\ua9ff\uaa60-\uaadf\uac00-\ud7ff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
)
_RUN = re.compile(_SPACELESS)
_UNSEEN = (  # soft hyphens, joiners of lines and looks, the boxes of emoji: they part nothing and mean nothing
    "[\u00ad\u034f\u061c\u180b-\u180f\u200e\u200f\u202a-\u202e\u2060-\u206f\u20dd-\u20e4\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e0fff]"
)
_BETWEEN = r"[^\p{L}\p{N}\p{M}]+"
_BETWEEN_ENGLISH = r"[^\p{L}\p{N}\p{M}']+"  # don't is one word; in l'homme the apostrophe parts two


@dataclass(frozen=True)
class Tokens:
    """The terms of texts: text i holds vocabulary[terms[starts[i]:starts[i + 1]]], in order, with repetitions."""

    starts: np.ndarray  # (n + 1,) int64
    terms: np.ndarray  # (m,) int32
    vocabulary: pa.Array  # (v,) large_string, distinct, sorted by code points


@dataclass(frozen=True)
class _Lists:
    """Lists of terms, end to end: list i is terms[starts[i]:starts[i + 1]]."""

    starts: np.ndarray  # (n + 1,) int64
    terms: pa.Array  # large_string


@dataclass(frozen=True)
class Tokenizer:
    """What makes a term of a word: `language` names a Snowball stemmer or is "none"; stop words make no term.

    Where spaces do not part words (Han, kana, Hangul, Thai and their like) every character and every two that stand
    side by side are terms: no dictionary, and a query finds what holds its words wherever they are cut.
    """

    language: str = "english"
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = sorted({*Stemmer.algorithms(), "none"})
        if self.language not in known:
            raise BadInput(f"language is {self.language!r}; expected one of {', '.join(known)}")

    def tokens(self, batches: Iterable[pa.Array]) -> Tokens:
        """The terms of all texts of the batches (Arrow strings without nulls), in order."""
        words = WordNumbers(b"'" if self.language == "english" else b"")
        for texts in batches:
            words.add(texts)
        numbered = words.finish()
        terms_of = self._terms_of(numbered.distinct)
        numbers, vocabulary = _numbered(terms_of.terms)
        starts, terms = _spelled_out(numbered.starts, numbered.numbers, terms_of.starts, numbers)
        return Tokens(starts, terms, vocabulary)

    def _terms_of(self, words: pa.Array) -> _Lists:
        """The terms of distinct words: plain ASCII ones, lowered, are a piece each, others are cut further."""
        plain = pc.string_is_ascii(words)
        others = np.flatnonzero(pc.invert(plain).to_numpy(zero_copy_only=False))
        split = pc.split_pattern_regex(self._normal(words.take(pa.array(others))), self._between)
        words = pc.if_else(plain, words, "")
        pieces = _with_lists(words, np.ones(len(words), bool), others, _sizes(split), split.flatten())
        encoded = pc.utf8_trim(pieces.terms, "'").dictionary_encode()
        terms_of = self._terms_of_pieces(encoded.dictionary)
        every = np.arange(len(terms_of.terms), dtype=np.int32)
        starts, positions = _spelled_out(pieces.starts, encoded.indices.to_numpy(), terms_of.starts, every)
        return _Lists(starts, terms_of.terms.take(pa.array(positions)))

    def _terms_of_pieces(self, pieces: pa.Array) -> _Lists:
        """The terms of runs of letters: their stems, but those in scripts without spaces are taken apart."""
        terms = pc.replace_substring(self._stems(pieces), "'", "")
        terms = pc.utf8_slice_codeunits(terms, 0, MAX_TERM_CHARACTERS)
        stopped = pc.is_in(pieces, value_set=self._stopped)
        kept = pc.and_not(pc.not_equal(terms, ""), stopped).to_numpy(zero_copy_only=False)
        spaceless = np.flatnonzero(kept & pc.match_substring_regex(pieces, _SPACELESS).to_numpy(zero_copy_only=False))
        apart = [self._taken_apart(piece) for piece in pieces.take(pa.array(spaceless)).to_pylist()]
        sizes = np.array([len(part) for part in apart], np.int64)
        return _with_lists(terms, kept, spaceless, sizes, pa.array(chain.from_iterable(apart), pa.large_string()))

    def _taken_apart(self, piece: str) -> list[str]:
        """The stems of what is written with spaces, then the characters and pairs of every run that is not."""
        words = pa.array(_RUN.sub(" ", piece).split(), pa.large_string())
        kept = words.filter(pc.invert(pc.is_in(words, value_set=self._stopped)))
        stopped = self._stopped_set
        grams = [gram for run in _RUN.findall(piece) for gram in _grams(run) if gram not in stopped]
        return [term[:MAX_TERM_CHARACTERS] for term in (*self._stems(kept).to_pylist(), *grams)]

    def _stems(self, words: pa.Array) -> pa.Array:
        if self.language == "none":
            return words
        stemmer = Stemmer.Stemmer(self.language, 0)  # not shared: it is not thread-safe
        return pa.array(stemmer.stemWords(words.to_pylist()), pa.large_string())

    def _normal(self, words: pa.Array) -> pa.Array:
        """Compatible forms made one, lower case; what cannot be seen is left out."""
        normal = pc.utf8_lower(pc.utf8_normalize(words, "NFKC"))
        normal = pc.replace_substring_regex(normal, _UNSEEN, "")
        return pc.replace_substring(normal, "\u2019", "'") if self.language == "english" else normal

    @property
    def _between(self) -> str:
        return _BETWEEN_ENGLISH if self.language == "english" else _BETWEEN

    @cached_property
    def _stopped(self) -> pa.Array:
        return self._normal(pa.array(self.stop_words, pa.large_string()))

    @cached_property
    def _stopped_set(self) -> frozenset[str]:
        return frozenset(self._stopped.to_pylist())


def _with_lists(values: pa.Array, kept: np.ndarray, at: np.ndarray, sizes: np.ndarray, parts: pa.Array) -> _Lists:
    """A list for each value: of itself where it is `kept`, but at the positions `at` of so many of `parts` in turn."""
    first, counts = np.arange(len(values)), kept.astype(np.int64)
    first[at], counts[at] = len(values) + np.cumsum(sizes) - sizes, sizes
    starts = _bounds(counts)
    positions = np.arange(starts[-1]) + np.repeat(first - starts[:-1], counts)
    return _Lists(starts, pa.concat_arrays([values, parts]).take(pa.array(positions)))


def _sizes(lists: pa.Array) -> np.ndarray:
    return np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False), np.int64)


def _grams(run: str) -> list[str]:
    """The characters of a run, each with the marks and vowels that stand on it, and every two of them."""
    characters: list[str] = []
    for letter in run:
        if characters and unicodedata.category(letter).startswith("M"):
            characters[-1] += letter
        else:
            characters.append(letter)
    return [*characters, *map("".join, pairwise(characters))]


def _bounds(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where lists of so many start and the last one ends, (n + 1,) int64."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _numbered(terms: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Terms as numbers into their sorted vocabulary."""
    encoded = terms.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(order)


@njit(nogil=True, cache=True)
def _spelled_out(outer, members, inner, values):  # type: ignore[no-untyped-def]
    """Lists of lists made flat: `outer` cuts `members`, each a list that `inner` cuts from `values`.

    Returns where each outer list starts, and the values of all in order.
    """
    starts = np.zeros(len(outer), np.int64)
    for at in range(len(outer) - 1):
        size = 0
        for member in range(outer[at], outer[at + 1]):
            size += inner[members[member] + 1] - inner[members[member]]
        starts[at + 1] = starts[at] + size
    flat = np.empty(starts[-1], values.dtype)
    filled = 0
    for member in range(len(members)):
        for value in range(inner[members[member]], inner[members[member] + 1]):
            flat[filled] = values[value]
            filled += 1
    return starts, flat
