"""Tokens: texts as the integers a model reads, in one flat array; made once, cut into padded batches when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distill.words import Words, WordSpans, find_tokens, pair_shift

CHUNK = 4096  # texts tokenised at a time


@dataclass(frozen=True)
class Batch:
    """One batch on a device, each (B, L) int64; `attention_mask` is 1 where there is a token."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor | None  # None when the tokenizer knows no such thing
    words: torch.Tensor | None = None  # (W,): where in the flat (B * L) batch each word's first token stands
    compared: torch.Tensor | None = None  # (B, V, L) float32: the share of each token in each word that is compared

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

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> Batch:
        """The texts of `rows`, padded to the longest of them."""
        lengths = self.lengths[rows]
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
    flat: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    seconds: list[int] = []
    said: list[Words] = []
    paired = any(pair is not None for pair in pairs)  # a task is of pairs or it is not
    for start in range(0, len(texts), CHUNK):
        some, partners = list(texts[start : start + CHUNK]), list(pairs[start : start + CHUNK])
        given = [some, [pair or "" for pair in partners]] if paired else [some]
        encoded = tokenizer(
            *given,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_offsets_mapping=words is not None,
        )
        for index, ids in enumerate(encoded["input_ids"]):
            flat.append(np.asarray(ids, np.int32))
            lengths.append(len(ids))
            seconds.append(_second(encoded.sequence_ids(index)) if paired else len(ids))
        if words is not None:
            characters = [np.asarray(of_text, np.int64).reshape(-1, 2) for of_text in encoded["offset_mapping"]]
            if paired:
                for index, text in enumerate(some):
                    characters[index][[which == 1 for which in encoded.sequence_ids(index)]] += pair_shift(text)
            said.append(find_tokens(words.slice(start, start + len(some)), characters))
    return Tokens(
        np.concatenate(flat) if flat else np.empty(0, np.int32),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        np.asarray(seconds, np.int32),
        int(tokenizer.pad_token_id),
        "token_type_ids" in tokenizer.model_input_names,
        None if words is None else _joined(said, words),
    )


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
