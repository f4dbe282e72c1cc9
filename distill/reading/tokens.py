"""Tokens: texts as the integers a model reads, in one flat array; made once, cut into padded batches when needed.

Those of a transfer set are laid down on the shelf and mapped from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tokenizers
import torch

from contract.manifest import Json, canonical_json
from distill.reading.shelf import Pages
from distill.reading.texts import CHUNK, Texts
from distill.reading.words import Words, WordSpans, find_tokens, lay_words, pair_shift, word_arrays, words_laid


@dataclass(frozen=True)
class Mixture:
    """Text i is `shares[i]` of what stands in its row and the rest of what stands in row `partners[i]`.

    `real` (B, L) is 1 where the row has a token of its own.
    """

    partners: torch.Tensor  # (B,) int64
    shares: torch.Tensor  # (B,) float32; 1 for a text that is not mixed
    real: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """One batch on a device, each (B, L) int64; `attention_mask` is 1 where there is a token."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor | None  # None when the tokenizer knows no such thing
    words: torch.Tensor | None = None  # (W,): where in the flat (B * L) batch each word's first token stands
    compared: torch.Tensor | None = None  # (B, V, L) float32: the share of each token in each word that is compared
    mixture: Mixture | None = None  # of mixup: which texts are mixed with which

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """As a transformers model takes them."""
        plain = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return plain if self.token_type_ids is None else {**plain, "token_type_ids": self.token_type_ids}


@dataclass(frozen=True)
class Tokens:
    """Text i is `flat[offsets[i]:offsets[i+1]]`; from `seconds[i]` on it is the second sentence of a pair."""

    flat: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]  # (n + 1,)
    seconds: npt.NDArray[np.int32]  # (n,), the length where there is no second sentence
    pad: int
    typed: bool  # whether models with this tokenizer are told which sentence a token is of
    words: Words | None = None  # where the task has slots
    compared: Words | None = None  # what two models that read other tokens are compared on; each has a token here

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.seconds)

    def met(self) -> npt.NDArray[np.int64]:
        """The tokens that its batches can have, padding too, ascending."""
        seen = np.zeros(1 + max(self.pad, int(self.flat.max(initial=0))), bool)
        seen[self.flat] = seen[self.pad] = True
        return np.flatnonzero(seen)

    def compared_in(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many tokens of each of these texts, or words, are set beside the other model's, (B,)."""
        if self.compared is None:
            return self.offsets[rows + 1] - self.offsets[rows]
        return np.bincount(self.compared.of(rows)[1], minlength=len(rows))

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> Batch:
        """The texts of `rows`, padded to the longest of them."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        places = np.arange(lengths.max())
        mask = places[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.pad, np.int64)
        ids[mask] = self.flat[(self.offsets[rows][:, None] + places[None, :])[mask]]
        types = (places[None, :] >= self.seconds[rows][:, None]) & mask
        return Batch(
            _on(device, ids),
            _on(device, mask),
            _on(device, types) if self.typed else None,
            None if self.words is None else _on(device, _firsts(self.words, rows, mask.shape[1])),
            None if self.compared is None else torch.from_numpy(_shares(self.compared, rows, mask.shape[1])).to(device),
        )


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str | None],
    *,
    max_length: int,
    words: WordSpans | None = None,
) -> Tokens:
    """Tokens of texts, cut at `max_length` (of a pair the longer sentence is cut), special tokens included.

    With `words` it is also found which tokens say each word; those of a pair are as `pair_words` lays them.
    """
    cut = Cutter(tokenizer, max_length, paired=any(pair is not None for pair in pairs))
    parts = []
    for start in range(0, max(len(texts), 1), CHUNK):
        stop = min(start + CHUNK, len(texts))
        of_part = None if words is None else words.slice(start, stop)
        parts.append(cut(texts[start:stop], pairs[start:stop], of_part))
    return replace(
        parts[0],
        flat=np.concatenate([part.flat for part in parts]),
        offsets=_ends(np.concatenate([part.lengths for part in parts])),
        seconds=np.concatenate([part.seconds for part in parts]),
        words=None if words is None else _joined([part.words for part in parts if part.words is not None], words),
    )


@dataclass(frozen=True)
class Cutter:
    """Cuts texts with a tokenizer, as `tokenize` says; `paired` when any of the texts, here or elsewhere, is a pair."""

    tokenizer: Any
    max_length: int
    paired: bool

    def __call__(self, texts: Sequence[str], pairs: Sequence[str | None], words: WordSpans | None) -> Tokens:
        """The tokens of a few texts."""
        given = [list(texts), [pair or "" for pair in pairs]] if self.paired else [list(texts)]
        encoded: Any = {"input_ids": [], "offset_mapping": []}
        if texts:
            encoded = self._encoded(given, words is not None)
        ids = encoded["input_ids"]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        seconds = [_second(encoded.sequence_ids(index)) for index in range(len(ids))] if self.paired else lengths
        return Tokens(
            np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum())),
            _ends(lengths),
            np.asarray(seconds, np.int32),
            int(self.tokenizer.pad_token_id),
            _is_typed(self.tokenizer),
            None if words is None else find_tokens(words, self._characters(texts, encoded)),
        )

    def _encoded(self, given: Sequence[Sequence[str]], with_characters: bool) -> Any:
        return self.tokenizer(
            *given,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            return_offsets_mapping=with_characters,
        )

    def _characters(self, texts: Sequence[str], encoded: Any) -> list[npt.NDArray[np.int64]]:
        """Where each text's tokens stand in it, (L, 2) each; those of a second sentence beyond the first."""
        found = [np.asarray(of_text, np.int64).reshape(-1, 2) for of_text in encoded["offset_mapping"]]
        if self.paired:
            for index, text in enumerate(texts):
                found[index][[which == 1 for which in encoded.sequence_ids(index)]] += pair_shift(text)
        return found


Wanted = Literal["none", "words", "all words"]  # which words' tokens are looked for: none, `Texts.words`, all


def read_tokens(texts: Texts, tokenizer: Any, *, max_length: int, words: Wanted = "none") -> Tokens:
    """The tokens of a transfer set's texts as `tokenize` makes them, mapped; made now where they were not."""
    words = "words" if words == "all words" and not texts.paired else words  # which are the same
    spans_of = {"none": None, "words": texts.words, "all words": texts.all_words}[words]
    cut = Cutter(tokenizer, max_length, texts.paired)

    def lay(pages: Pages) -> Mapping[str, Json]:
        for start, some in texts.chunks():
            stop = start + some.num_rows
            spans = None if spans_of is None else spans_of(start, stop)
            part = cut(some["text"].to_pylist(), some["text_pair"].to_pylist(), spans)
            pages.add(flat=part.flat, seconds=part.seconds)
            pages.add_ends(offsets=part.lengths)
            if part.words is not None:
                lay_words(pages, part.words)
            texts.shelf.progress("tokens", stop, texts.table.num_rows)
        return {}

    params = {**texts.params, **key_of(tokenizer), "max_length": max_length, "words": words}
    arrays = ["flat.int32", "offsets.int64", "seconds.int32", *(() if spans_of is None else word_arrays())]
    laid = texts.shelf.obtain("tokens", params, arrays, lay)
    return Tokens(
        laid.array("flat.int32"),
        laid.array("offsets.int64"),
        laid.array("seconds.int32"),
        int(tokenizer.pad_token_id),
        _is_typed(tokenizer),
        None if spans_of is None else words_laid(laid),
    )


def key_of(tokenizer: Any) -> dict[str, Json]:
    """What says how a tokenizer cuts, for an entry on the shelf."""
    whole = [settings_of(tokenizer), tokenizer.model_input_names, tokenizer.truncation_side, tokenizer.pad_token_id]
    return {
        "tokenizer": hashlib.sha256(canonical_json(whole)).hexdigest(),
        "tokenizers": tokenizers.__version__,
    }


def settings_of(tokenizer: Any) -> Json:
    """All that says how it cuts; where it stops is not of it."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return {name: value for name, value in settings.items() if name not in ("truncation", "padding")}


def _is_typed(tokenizer: Any) -> bool:
    return "token_type_ids" in tokenizer.model_input_names


def _ends(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each begins, and where the last ends, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _second(sequence_ids: list[int | None]) -> int:
    """Where the second sentence begins: at its first token, its separator included after it."""
    return next((place for place, which in enumerate(sequence_ids) if which == 1), len(sequence_ids))


def _joined(said: Sequence[Words], words: WordSpans) -> Words:
    """The tokens of all words, chunk after chunk."""
    empty = np.empty(0, np.int32)
    places, stops = ([empty, *(getattr(some, name) for some in said)] for name in ("places", "stops"))
    return Words(np.concatenate(places), np.concatenate(stops), words.offsets)


def _firsts(words: Words, rows: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Where in the flat batch each word's first token stands, (W,)."""
    numbers, texts = words.of(rows)
    return texts * length + words.places[numbers]


def _shares(compared: Words, rows: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.float32]:
    """The share of each token in each word, (B, V, L): words sum to 1, and what fills up a text's row is nothing."""
    numbers, texts = compared.of(rows)
    counts = np.bincount(texts, minlength=len(rows))
    index = np.arange(len(texts)) - np.repeat(np.cumsum(counts) - counts, counts)
    shares = np.zeros((len(rows), int(counts.max(initial=0)), length), np.float32)
    places, stops = (ends[numbers][:, None] for ends in (compared.places, compared.stops))
    inside = (np.arange(length) >= places) & (np.arange(length) < stops)
    shares[texts, index] = inside / inside.sum(1, keepdims=True)
    return shares


def _on(device: str, array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
