"""The words of texts: where they stand by characters, and which tokens of a tokenizer say each.

A word is what teacher and student are compared on, since their tokenizers may cut it differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.reading.shelf import Laid, Pages

NO_TOKEN = -1  # the place of a word that no token says: beyond the cut, or nothing to its tokenizer

_PACK_WORDS = 1 << 16

Span = tuple[int, int]  # from character, to character (not included)

# Scripts without white space between words (Thai, Lao, Burmese, Khmer, kana, Han) are cut by the character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True)
class WordSpans:
    """Word j of all texts is characters `bounds[j]`; text i's words are `offsets[i]:offsets[i+1]`."""

    bounds: npt.NDArray[np.int32]  # (W, 2)
    offsets: npt.NDArray[np.int64]  # (n + 1,)

    def slice(self, start: int, stop: int) -> WordSpans:
        """The words of texts start … stop-1."""
        offsets = self.offsets[start : stop + 1]
        return WordSpans(self.bounds[offsets[0] : offsets[-1]], offsets - offsets[0])


@dataclass(frozen=True)
class Words:
    """Word j of all texts is said by tokens `places[j]` … `stops[j]` - 1 of its text; i's are `offsets[i:i + 2]`."""

    places: npt.NDArray[np.int32]  # (W,), NO_TOKEN where there is none
    stops: npt.NDArray[np.int32]  # (W,), the same
    offsets: npt.NDArray[np.int64]  # (n + 1,)

    def of(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The words of the texts `rows` that have a token: their numbers, and which of `rows` each is in, (W,) both."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        texts = np.repeat(np.arange(len(rows)), counts)
        before = np.cumsum(counts) - counts
        numbers = np.arange(counts.sum()) - before[texts] + self.offsets[rows][texts]
        said = self.places[numbers] != NO_TOKEN
        return numbers[said], texts[said]

    def slice(self, start: int, stop: int) -> Words:
        """The words of texts start … stop-1."""
        offsets = self.offsets[start : stop + 1]
        here = slice(offsets[0], offsets[-1])
        return Words(self.places[here], self.stops[here], offsets - offsets[0])

    @property
    def texts(self) -> npt.NDArray[np.int64]:
        """Which text each word is in, (W,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def word_arrays(side: str = "") -> list[str]:
    """The arrays of words and their tokens on the shelf; with a name before them where there are two sides."""
    return [f"{side}places.int32", f"{side}stops.int32", f"{side}words.int64"]


def lay_words(pages: Pages, words: Words, side: str = "") -> None:
    """The words of the next texts."""
    pages.add(**{f"{side}places": words.places, f"{side}stops": words.stops})
    pages.add_ends(**{f"{side}words": np.diff(words.offsets)})


def words_laid(laid: Laid, side: str = "") -> Words:
    return Words(*map(laid.array, word_arrays(side)))


def split_words(text: str) -> list[Span]:
    """The words of a text that nobody cut: what stands between white space."""
    return [match.span() for match in _WORD.finditer(text)]


def pair_words(text: str, pair: str | None) -> list[Span]:
    """The words of both sentences of a pair, laid end to end: the second begins `pair_shift(text)` characters on."""
    shift = pair_shift(text)
    return [*split_words(text), *((start + shift, end + shift) for start, end in split_words(pair or ""))]


def pair_shift(text: str) -> int:
    """Where the second sentence of a pair begins: a character that is nobody's stands between them."""
    return len(text) + 1


def locate_words(text: str, words: Sequence[str]) -> list[Span] | None:
    """Where the words of a task's row stand in its text, one after the other; None where one does not."""
    spans, start = [], 0
    for word in words:
        start = text.find(word, start)
        if start < 0 or not word:
            return None
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def gather_words(spans: Iterable[Sequence[Span]]) -> WordSpans:
    """The words of many texts; a million texts' are packed as they come."""
    counts: list[int] = [0]
    packed = [np.empty((0, 2), np.int32)]
    loose: list[Span] = []
    for of_text in spans:
        counts.append(len(of_text))
        loose.extend(of_text)
        if len(loose) >= _PACK_WORDS:
            packed.append(np.array(loose, np.int32))
            loose.clear()
    packed.append(np.array(loose, np.int32).reshape(-1, 2))
    return WordSpans(np.concatenate(packed), np.cumsum(counts, dtype=np.int64))


def first_tokens(words: WordSpans, tokens: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int32]:
    """The place of the first token that shares a character with each word, (W,)."""
    return find_tokens(words, tokens).places


def find_tokens(words: WordSpans, tokens: Sequence[npt.NDArray[np.int64]]) -> Words:
    """Each word's tokens, from the first to the last that share a character with it.

    `tokens[i]` holds the characters of text i's tokens, (L, 2), a special token's being (0, 0). All texts are searched
    at once, laid end to end.
    """
    lengths = np.array([len(of_text) for of_text in tokens], np.int64)
    bounds = np.concatenate(tokens).reshape(-1, 2) if len(tokens) else np.empty((0, 2), np.int64)
    texts, of_words = np.repeat(np.arange(len(lengths)), lengths), np.diff(words.offsets)
    places = np.arange(len(bounds)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    real = bounds[:, 1] > bounds[:, 0]
    bounds, texts, places = bounds[real], texts[real], places[real]
    if not len(bounds) or not len(words.bounds):
        nothing = np.full(len(words.bounds), NO_TOKEN, np.int32)
        return Words(nothing, nothing, words.offsets)
    span = int(max(bounds.max(), words.bounds.max())) + 1
    shift = np.repeat(np.arange(len(of_words)), of_words) * span
    starts, ends = words.bounds[:, 0] + shift, words.bounds[:, 1] + shift
    # Neither starts nor ends fall inside a text, so that both are found by halving: the first token that ends beyond a
    # word's start, and the last that begins before its end.
    first = np.searchsorted(np.maximum.accumulate(bounds[:, 1] + texts * span), starts, side="right")
    inside = np.minimum(first, len(bounds) - 1)
    shares = (first < len(bounds)) & (bounds[inside, 0] + texts[inside] * span < ends)
    last = np.searchsorted(np.maximum.accumulate(bounds[:, 0] + texts * span), ends, side="left") - 1
    return Words(
        np.where(shares, places[inside], NO_TOKEN).astype(np.int32),
        np.where(shares, places[np.maximum(last, 0)] + 1, NO_TOKEN).astype(np.int32),
        words.offsets,
    )
