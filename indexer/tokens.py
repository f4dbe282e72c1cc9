"""Texts into terms: split with Arrow kernels, then lower, stem and filter each distinct word once.

The same path serves passages and queries, so that equal words always become equal terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import Stemmer

from contract.errors import BadInput

# Past this a word is an address or encoded bytes: its beginning stands for it, so that a vocabulary stays small.
MAX_TERM_CHARACTERS = 64

# Scripts written without spaces between words: Thai to Khmer, kana, Han with its extensions.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
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
class Tokenizer:
    """What makes a term of a word: `language` names a Snowball stemmer or is "none"; stop words make no term."""

    language: str = "english"
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = sorted({*Stemmer.algorithms(), "none"})
        if self.language not in known:
            raise BadInput(f"language is {self.language!r}; expected one of {', '.join(known)}")

    def tokens(self, batches: Iterable[pa.Array]) -> Tokens:
        """The terms of all texts of the batches (Arrow strings without nulls), in order."""
        counts, encoded = [np.zeros(1, np.int64)], []
        for texts in batches:
            words = pc.ascii_split_whitespace(texts)
            counts.append(pc.list_value_length(words).to_numpy(zero_copy_only=False).astype(np.int64))
            encoded.append(words.flatten().dictionary_encode())
        if not encoded:
            return Tokens(np.zeros(1, np.int64), np.empty(0, np.int32), pa.array([], pa.large_string()))
        chunks = pa.chunked_array(encoded).unify_dictionaries().chunks
        words_of_texts = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
        term_starts, terms, vocabulary = _numbered(*self._terms_of(chunks[0].dictionary))
        word_starts = np.cumsum(np.concatenate(counts))
        positions, starts = _expand(word_starts, words_of_texts, term_starts)
        return Tokens(starts, terms[positions], vocabulary)

    def _terms_of(self, words: pa.Array) -> tuple[np.ndarray, pa.Array]:
        """The terms of distinct words, each a run of anything but white space: (starts (n + 1,), flat terms)."""
        pieces = pc.split_pattern_regex(self._normal(words), self._between)
        encoded = pc.utf8_trim(pieces.flatten(), "'").dictionary_encode()
        terms = pa.array(self._terms_of_pieces(encoded.dictionary.to_pylist()), pa.list_(pa.string()))
        piece_starts = np.cumsum(np.concatenate([[0], pc.list_value_length(pieces).to_numpy(zero_copy_only=False)]))
        positions, starts = _expand(piece_starts, encoded.indices.to_numpy(), terms.offsets.to_numpy())
        return starts, terms.values.take(pa.array(positions))

    def _terms_of_pieces(self, pieces: list[str]) -> list[list[str]]:
        stems = self._stem(pieces)
        return [self._terms_of_piece(piece, stem) for piece, stem in zip(pieces, stems, strict=True)]

    def _terms_of_piece(self, piece: str, stem: str) -> list[str]:
        if not piece or piece in self._stopped:
            return []
        if _SPACELESS.search(piece) is None:
            term = stem.replace("'", "")[:MAX_TERM_CHARACTERS]
            return [term] if term else []
        apart = [part for part in _SPACELESS.sub(" ", piece).split() if part not in self._stopped]
        pairs = [gram for run in _SPACELESS.findall(piece) for gram in (*run, *map("".join, pairwise(run)))]
        return [*(part[:MAX_TERM_CHARACTERS] for part in self._stem(apart)), *pairs]

    def _stem(self, words: list[str]) -> list[str]:
        if self.language == "none":
            return words
        stems: list[str] = Stemmer.Stemmer(self.language, 0).stemWords(words)  # not shared: it is not thread-safe
        return stems

    def _normal(self, words: pa.Array) -> pa.Array:
        normal = pc.utf8_lower(pc.utf8_normalize(words, "NFKC"))
        return pc.replace_substring(normal, "\u2019", "'") if self.language == "english" else normal

    @property
    def _between(self) -> str:
        return _BETWEEN_ENGLISH if self.language == "english" else _BETWEEN

    @cached_property
    def _stopped(self) -> frozenset[str]:
        return frozenset(self._normal(pa.array(self.stop_words, pa.string())).to_pylist())


def _numbered(starts: np.ndarray, terms: pa.Array) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Flat terms as numbers into their sorted vocabulary."""
    encoded = terms.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return starts, rank[encoded.indices.to_numpy()], encoded.dictionary.take(order).cast(pa.large_string())


def _expand(outer: np.ndarray, members: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists of lists made flat: `outer` cuts `members`, each of which is a list that `inner` cuts from a flat array.

    Returns the flat array's positions in order, and where each outer list starts among them.
    """
    first, lengths = inner[members].astype(np.int64), np.diff(inner)[members].astype(np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    positions = np.arange(ends[-1]) + np.repeat(first - ends[:-1], lengths)
    return positions, ends[outer]
