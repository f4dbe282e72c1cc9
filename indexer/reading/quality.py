"""Quality: named measures of a passage, each a filter where a threshold is set. None is set by default. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput

Measure = Callable[[pa.Array], np.ndarray]  # texts (n,) -> a number each (n,)

_REPEATED = re.compile(r"(\S)\1*")
_ADDRESS = re.compile(r"https?://|www\.|\w@\w|\w\.(?:com|org|net|edu|gov|io)\b", re.IGNORECASE)
# What pages say beside their text (after the rules of C4; English only).
_PHRASES = re.compile(
    r"lorem ipsum|enable javascript|requires javascript|use of cookies|uses cookies|cookie policy|accept cookies"
    r"|privacy policy|terms of (?:use|service)|all rights reserved|click here|sign up for|log in to|add to cart"
    r"|subscribe to our|share on (?:facebook|twitter)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Filter:
    """What a filter measures, and beyond which value it drops a passage unless another is given."""

    measure: Measure
    threshold: float
    about: str


def check_filters(thresholds: Mapping[str, float]) -> None:
    """BadInput for a filter that there is not, or a threshold that no measure can be compared with."""
    for name, threshold in thresholds.items():
        if name not in FILTERS:
            raise BadInput(f"Expected a filter out of {', '.join(FILTERS)}, found {name[:40]!r}; change --filter")
        if not 0 <= threshold < float("inf"):
            raise BadInput(f"Expected a threshold from 0 on for the filter {name}, found {threshold}; change --filter")


def read_filters(given: Sequence[str]) -> dict[str, float]:
    """`symbols`, `digits=0.4` -> thresholds by name, the default where none is given."""
    thresholds = {}
    for entry in given:
        name, separator, value = entry.partition("=")
        try:
            thresholds[name] = float(value) if separator else FILTERS[name].threshold
        except KeyError:
            check_filters({name: 0.0})
        except ValueError:
            raise BadInput(f"--filter expects NAME or NAME=NUMBER, as in digits=0.4, found {entry[:40]!r}") from None
    check_filters(thresholds)
    return thresholds


def symbols(texts: pa.Array) -> np.ndarray:
    return _share(texts, r"[^\p{L}\p{M}\p{N}\s]", r"\S")


def digits(texts: pa.Array) -> np.ndarray:
    return _share(texts, r"\p{N}", r"\S")


def upper_case(texts: pa.Array) -> np.ndarray:
    return _share(texts, r"\p{Lu}", r"[\p{Lu}\p{Ll}]")


def repeated_words(texts: pa.Array) -> np.ndarray:
    return np.array([_repeated(text.casefold().split()) for text in texts.to_pylist()], np.float64)


def repeated_characters(texts: pa.Array) -> np.ndarray:
    longest = (max((len(run[0]) for run in _REPEATED.finditer(text)), default=0) for text in texts.to_pylist())
    return np.fromiter(longest, np.float64, len(texts))


def addresses(texts: pa.Array) -> np.ndarray:
    words = (text.split() for text in texts.to_pylist())
    return np.array([sum(map(bool, map(_ADDRESS.search, found))) / max(len(found), 1) for found in words], np.float64)


def boilerplate(texts: pa.Array) -> np.ndarray:
    return np.array([len(_PHRASES.findall(text)) for text in texts.to_pylist()], np.float64)


FILTERS: dict[str, Filter] = {
    "symbols": Filter(symbols, 0.3, "share of characters that are no letters and no digits"),
    "digits": Filter(digits, 0.3, "share of characters that are digits"),
    "upper_case": Filter(upper_case, 0.6, "share of cased letters that are capitals"),
    "repeated_words": Filter(repeated_words, 0.5, "share of words that stood earlier in the passage"),
    "repeated_characters": Filter(repeated_characters, 6, "longest run of one character"),
    "addresses": Filter(addresses, 0.2, "share of words that are web or mail addresses"),
    "boilerplate": Filter(boilerplate, 0, "phrases that pages say beside their text, as of cookies and carts"),
}


def _share(texts: pa.Array, counted: str, of: str) -> np.ndarray:
    """Matches of one pattern to those of another; 0 where there is nothing to share."""
    part = pc.count_substring_regex(texts, counted).to_numpy(zero_copy_only=False)
    whole = pc.count_substring_regex(texts, of).to_numpy(zero_copy_only=False)
    return np.asarray(part / np.maximum(whole, 1))


def _repeated(words: list[str]) -> float:
    return 1 - len(set(words)) / len(words) if words else 0.0
