"""Words: texts cut into words and the distinct ones numbered, by one pass over their bytes.

A word is a piece of plain ASCII, lowered, or, where a run of anything but white space holds other letters, that whole
run as it stands: what these mean is for the tokenizer, which sees each distinct word once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

_SPACES = b" \t\n\v\f\r"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789"
_OTHER, _SPACE = 0, 1  # classes of bytes; a class above these is the letter in lower case
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_FIRST_WORDS, _FIRST_LETTERS = 1 << 12, 1 << 14  # room in an empty table; a full one doubles
_LONG = np.uint64(1 << 63)  # marks the key of a word that is not the key itself


@dataclass(frozen=True)
class NumberedWords:
    """Text i holds the words numbers[starts[i]:starts[i + 1]], which are positions in `distinct`."""

    starts: np.ndarray  # (n + 1,) int64
    numbers: np.ndarray  # (m,) int32
    distinct: pa.Array  # (w,) large_string, in the order they were first met


class _Known(NamedTuple):
    """The words so far, as a hash table with open addressing; w of them are in use."""

    slots: np.ndarray  # (a power of two,) int32, the word's number, -1 where none is
    keys: np.ndarray  # by slot: up to seven ASCII letters as they are, else the hash and the mark _LONG
    hashes: np.ndarray  # (at least w,) uint64
    ends: np.ndarray  # (at least w + 1,) int64: word i is letters[ends[i]:ends[i + 1]]
    letters: np.ndarray  # uint8


class WordNumbers:
    """Numbers given out to words as they come, over any number of batches."""

    def __init__(self, joining: bytes = b"") -> None:
        """`joining`: the ASCII that belongs into words beside letters and digits."""
        self._classes = _classes(joining)
        self._known, self._used = _room_for(_FIRST_WORDS, _FIRST_LETTERS), 0
        self._numbers = [np.empty(0, np.int32)]
        self._counts = [np.zeros(1, np.int64)]

    def add(self, texts: pa.Array) -> None:
        """Number the words of further texts (strings without nulls)."""
        letters, starts = _bytes_of(texts)
        counts, numbers = (
            np.zeros(len(texts), np.int64),
            np.empty((starts[-1] - starts[0] + 1) // 2 + len(texts), np.int32),
        )
        done, found = 0, 0
        while done < len(texts):
            begun = done
            done, found, self._used = _number(
                letters, starts, self._classes, self._known, self._used, counts, numbers, done, found
            )
            if done == begun or done < len(texts):
                self._grow(int(starts[done + 1] - starts[done]))
        self._counts.append(counts)
        self._numbers.append(numbers[:found].copy())

    def finish(self) -> NumberedWords:
        """All texts so far."""
        ends = self._known.ends[: self._used + 1].copy()
        letters = self._known.letters[: ends[-1]].copy()
        distinct = pa.LargeStringArray.from_buffers(self._used, pa.py_buffer(ends), pa.py_buffer(letters))
        return NumberedWords(np.cumsum(np.concatenate(self._counts)), np.concatenate(self._numbers), distinct)

    def _grow(self, size: int) -> None:
        """Make room for twice what there is, and for a text of `size` bytes beside."""
        used, old = self._used, self._known
        self._known = _room_for(2 * len(old.hashes) + size, 2 * len(old.letters) + size)
        _spread(self._known, old, used)


def _room_for(words: int, letters: int) -> _Known:
    slots = np.full(1 << (2 * words - 1).bit_length(), -1, np.int32)
    return _Known(
        slots,
        np.empty(len(slots), np.uint64),
        np.empty(words, np.uint64),
        np.zeros(words + 1, np.int64),
        np.empty(letters, np.uint8),
    )


def _classes(joining: bytes) -> np.ndarray:
    classes = np.full(256, _OTHER, np.uint8)
    classes[list(_SPACES)] = _SPACE
    for letter in _LETTERS + joining:
        classes[[letter, ord(chr(letter).upper())]] = letter
    return classes


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 and the texts' bounds in it, without a copy of the letters."""
    wide = texts.cast(pa.large_string())
    _, starts, letters = wide.buffers()
    if not len(wide):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(starts, np.int64)[wide.offset : wide.offset + len(wide) + 1]
    return np.frombuffer(letters or b"", np.uint8), bounds


@njit(nogil=True, cache=True)
def _number(letters, text_starts, classes, known, used, counts, numbers, text, found):  # type: ignore[no-untyped-def]
    """Number the words from `text` on until there may not be room; returns the text after, and what is in use by then.

    Arrays are taken out of their tuple once and no other function is called with them: counting references would take
    several times as long as the work itself. Unsigned positions spare the wrapping of negative ones.
    """
    slots, keys, hashes, ends, its = known
    mask = np.uint64(len(slots) - 1)
    while text < len(counts):
        size = text_starts[text + 1] - text_starts[text]
        if used + (size + 1) // 2 > len(hashes) or ends[used] + size > len(its):
            break
        at, stop, before = np.uintp(text_starts[text]), np.uintp(text_starts[text + 1]), found
        end, whole = at, False
        while at < stop:
            if at == end:  # at a run's beginning: how far does it go, and is it plain ASCII
                if classes[letters[at]] == _SPACE:
                    at += np.uintp(1)
                    end = at
                    continue
                high = np.uint8(0)
                while end < stop and classes[letters[end]] != _SPACE:
                    high |= letters[end]
                    end += np.uintp(1)
                whole = bool(high >= 128)
            begin, mixed, chunk, shift = at, _SEED, np.uint64(0), np.uint64(0)
            while at < end:
                letter = letters[at] if whole else classes[letters[at]]
                if letter == _OTHER and not whole:
                    break
                chunk |= np.uint64(letter) << shift
                shift += np.uint64(8)
                if shift == 64:
                    mixed = (mixed ^ chunk) * _PRIME
                    mixed ^= mixed >> np.uint64(32)
                    chunk, shift = np.uint64(0), np.uint64(0)
                at += np.uintp(1)
            length = at - begin
            if length == 0:
                at += np.uintp(1)
                continue
            short = length < 8 and not whole
            mixed = (mixed ^ chunk) * _PRIME
            mixed ^= mixed >> np.uint64(32)
            key = chunk if short else mixed | _LONG
            slot = mixed & mask
            number = slots[slot]
            while number >= 0:
                if keys[slot] == key:
                    if short:
                        break
                    first = np.uintp(ends[np.uintp(number)])
                    if np.uintp(ends[np.uintp(number + 1)]) - first == length:
                        same = np.uintp(0)
                        while same < length:
                            letter = letters[begin + same]
                            if its[first + same] != (letter if whole else classes[letter]):
                                break
                            same += np.uintp(1)
                        if same == length:
                            break
                slot = (slot + np.uint64(1)) & mask
                number = slots[slot]
            if number < 0:
                number = np.int32(used)
                slots[slot], keys[slot] = used, key
                hashes[used] = mixed
                first = np.uintp(ends[used])
                for step in range(length):
                    letter = letters[begin + np.uintp(step)]
                    its[first + np.uintp(step)] = letter if whole else classes[letter]
                used += 1
                ends[used] = first + length
            numbers[found] = number
            found += 1
        counts[text] = found - before
        text += 1
    return text, found, used


@njit(nogil=True, cache=True)
def _spread(known, old, used):  # type: ignore[no-untyped-def]
    """Put the words of a table into a larger one."""
    slots, keys, hashes, ends, letters = known
    hashes[:used], ends[: used + 1], letters[: old.ends[used]] = (
        old.hashes[:used],
        old.ends[: used + 1],
        old.letters[: old.ends[used]],
    )
    mask = np.uint64(len(slots) - 1)
    for at in range(len(old.slots)):
        if old.slots[at] >= 0:
            slot = hashes[old.slots[at]] & mask
            while slots[slot] >= 0:
                slot = (slot + np.uint64(1)) & mask
            slots[slot], keys[slot] = old.slots[at], old.keys[at]
