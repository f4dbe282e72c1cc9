"""Near-duplicates: passages whose sets of words are almost an earlier one's. MinHash proposes, the word sets decide.

A passage that a band of its MinHash shares with an earlier, kept one is compared with it word by word, so that nothing
is dropped that is not near; what is near is found with the probability 1 - (1 - s**rows)**bands at similarity s.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from numba import njit

from contract.errors import MissingExtra
from indexer.reading.passages import UNSPACED

BANDS = 12
FOUND = 0.95  # of the passages that are exactly as near as the threshold, at least so many are found
MAX_ROWS = 16  # hash functions a band
MAX_COMPARED = 32  # passages of one bucket: the earliest stand for the others
SEED = 1
_WORDS = re.compile(r"\w+")
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")


def method(similarity: float) -> str:
    """How pairs are proposed: part of what a corpus is, since another way proposes others."""
    return f"rensa R{_min_hash().ALGORITHM_VERSION}, {BANDS} x {_rows(similarity)}"


def _rows(similarity: float) -> int:
    """Hash functions a band: as many as still find what is as near as the threshold."""
    return max(rows for rows in range(1, MAX_ROWS + 1) if 1 - (1 - similarity**rows) ** BANDS >= FOUND)


class NearDuplicates:
    """The kept passages' word sets and the buckets of their bands: 8 bytes a band and 4 a different word."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._rows = _rows(similarity)
        self._buckets = [_Buckets() for _ in range(BANDS)]
        self._words = _Growing(np.uint32)
        self._ends = _Growing(np.int64)

    def add(self, texts: pa.Array) -> np.ndarray:
        """Remember the texts (n,) that are near none before them; says of each whether it is one of those (n,)."""
        words, ends = _word_sets(texts.to_pylist())
        bands = self._bands(words, ends)
        first = self._ends.size
        candidates, starts = self._candidates(bands, ends, first)
        is_fresh: np.ndarray = _fresh(
            self._words.values, self._ends.values, words, ends, candidates, starts, first, self._similarity
        )
        self._keep(words, ends, bands, is_fresh)
        return is_fresh

    def remember(self, texts: pa.Array) -> None:
        """Take in texts that were kept before, whatever they are near to."""
        words, ends = _word_sets(texts.to_pylist())
        self._keep(words, ends, self._bands(words, ends), np.ones(len(ends), dtype=bool))

    def _bands(self, words: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """One key a band and text (BANDS, n)."""
        offsets = np.concatenate([[0], ends]).astype(np.uint64)
        signatures = _min_hash().digest_matrix_from_flat_token_hashes(
            words.astype(np.uint64), offsets, BANDS * self._rows, SEED
        )
        values = np.array(signatures.to_rows(), np.uint64).reshape(len(ends), BANDS, self._rows)
        keys = np.zeros((len(ends), BANDS), np.uint64)
        for row in range(self._rows):
            keys = (keys ^ values[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        return np.asarray((keys >> np.uint64(32)).T)

    def _candidates(self, bands: np.ndarray, ends: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """For each text the numbers of earlier ones in its buckets, those of this batch from `first` on, ascending."""
        pairs = []
        for buckets, keys in zip(self._buckets, bands, strict=True):
            pairs.append(buckets.pairs(keys))
            here = _Buckets()
            here.add(keys, np.arange(first, first + len(keys)))
            text, number = here.pairs(keys)
            is_earlier = number < first + text
            pairs.append((text[is_earlier], number[is_earlier]))
        text, number = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        packed = np.unique(text.astype(np.uint64) << np.uint64(32) | number.astype(np.uint64))
        starts = np.searchsorted(packed, np.arange(len(ends) + 1, dtype=np.uint64) << np.uint64(32))
        return (packed & np.uint64(0xFFFFFFFF)).astype(np.int64), starts

    def _keep(self, words: np.ndarray, ends: np.ndarray, bands: np.ndarray, is_kept: np.ndarray) -> None:
        sizes = np.diff(ends, prepend=0)
        numbers = self._ends.size + np.arange(int(is_kept.sum()))
        self._ends.extend(self._words.size + np.cumsum(sizes[is_kept]))
        self._words.extend(words[np.repeat(is_kept, sizes)])
        has_words = sizes[is_kept] > 0
        for buckets, keys in zip(self._buckets, bands, strict=True):
            buckets.add(keys[is_kept][has_words], numbers[has_words])


class _Buckets:
    """Of one band: key and number of every passage in 8 bytes, in sorted runs, merged when two are of a size."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        self._runs.append(np.sort(keys << np.uint64(32) | numbers.astype(np.uint64)))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            merged.sort(kind="stable")  # of two sorted runs: a merge
            self._runs.append(merged)

    def pairs(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(text, number) for the first MAX_COMPARED passages in each key's bucket, whatever the runs."""
        left = np.full(len(keys), MAX_COMPARED)
        texts, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for run in self._runs:  # in the order of the numbers
            begin = np.searchsorted(run, keys << np.uint64(32))
            end = np.searchsorted(run, keys << np.uint64(32) | np.uint64(0xFFFFFFFF), side="right")
            count = np.minimum(end - begin, left)
            left = left - count
            text = np.repeat(np.arange(len(keys)), count)
            place = np.arange(len(text)) - np.repeat(np.cumsum(count) - count, count)
            texts.append(text)
            numbers.append((run[begin[text] + place] & np.uint64(0xFFFFFFFF)).astype(np.int64))
        return np.concatenate(texts), np.concatenate(numbers)


class _Growing:
    """An array that grows in place."""

    def __init__(self, dtype: type) -> None:
        self._held: np.ndarray = np.zeros(1024, dtype)
        self.size = 0

    @property
    def values(self) -> np.ndarray:
        return self._held[: self.size]

    def extend(self, values: np.ndarray) -> None:
        wanted = self.size + len(values)
        if wanted > len(self._held):
            self._held.resize(max(wanted, len(self._held) * 5 // 4), refcheck=False)
        self._held[self.size : wanted] = values
        self.size = wanted


def _word_sets(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every text's different words as sorted hashes, one text after another, and where each text ends (n,)."""
    sets = [sorted(set(map(_hash, _words_of(text)))) for text in texts]
    ends = np.cumsum([len(words) for words in sets], dtype=np.int64)
    return np.fromiter((word for words in sets for word in words), np.uint32, int(ends[-1]) if len(ends) else 0), ends


def _words_of(text: str) -> list[str]:
    """Words but for case and punctuation; in scripts without spaces every two neighbouring characters."""
    words = _WORDS.findall(text.casefold())
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return words
    return [part for word in words for part in _pairs_of(word)]


def _pairs_of(word: str) -> list[str]:
    if len(word) < 3 or not _HAS_UNSPACED.search(word):
        return [word]
    return [word[start : start + 2] for start in range(len(word) - 1)]


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return crc32(word.encode())


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _fresh(
    kept_words: np.ndarray,
    kept_ends: np.ndarray,
    words: np.ndarray,
    ends: np.ndarray,
    candidates: np.ndarray,
    starts: np.ndarray,
    first: int,
    similarity: float,
) -> np.ndarray:  # pragma: no cover - compiled
    """One text after another: whether it is near none of its candidates that were kept (n,)."""
    is_fresh = np.ones(len(ends), np.bool_)
    for text in range(len(ends)):
        begin = ends[text - 1] if text else 0
        own = words[begin : ends[text]]
        for place in range(starts[text], starts[text + 1]):
            number = candidates[place]
            if number >= first:
                if not is_fresh[number - first]:
                    continue
                start = ends[number - first - 1] if number > first else 0
                other = words[start : ends[number - first]]
            else:
                start = kept_ends[number - 1] if number else 0
                other = kept_words[start : kept_ends[number]]
            common, mine, theirs = 0, 0, 0
            while mine < len(own) and theirs < len(other):
                if own[mine] == other[theirs]:
                    common, mine, theirs = common + 1, mine + 1, theirs + 1
                elif own[mine] < other[theirs]:
                    mine += 1
                else:
                    theirs += 1
            if common and common >= similarity * (len(own) + len(other) - common):
                is_fresh[text] = False
                break
    return is_fresh


def _min_hash() -> Any:
    try:
        from rensa import RMinHash
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "--near-duplicates needs the library rensa; install it with pip install 'transferset[indexer]'"
        ) from error
    return RMinHash
