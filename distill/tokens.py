"""Tokens: texts as the integers a model reads, in one flat array; made once, cut into padded batches when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distill.words import Words, WordSpans, first_tokens

CHUNK = 4096  # texts tokenised at a time


@dataclass(frozen=True)
class Batch:
    """One batch on a device, each (B, L) int64; `attention_mask` is 1 where there is a token."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor | None  # None when the tokenizer knows no such thing
    words: torch.Tensor | None = None  # (W,): where in the flat (B * L) batch each word's first token stands

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
        words = None
        if self.words is not None:
            numbers, places_of = self.words.of(rows)
            words = _on(device, places_of * mask.shape[1] + self.words.places[numbers])
        return Batch(_on(device, ids), _on(device, mask), _on(device, types) if self.typed else None, words)


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str | None],
    *,
    max_length: int,
    words: WordSpans | None = None,
) -> Tokens:
    """Tokens of texts, cut at `max_length` (of a pair the longer sentence is cut), special tokens included.

    With `words` it is also found which token says each word first: for single texts, not for pairs.
    """
    flat: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    seconds: list[int] = []
    said: list[npt.NDArray[np.int32]] = []
    paired = any(pair is not None for pair in pairs)  # a task is of pairs or it is not
    assert words is None or not paired, "slots are of single texts"
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
            said.append(first_tokens(words.slice(start, start + len(some)), characters))
    return Tokens(
        np.concatenate(flat) if flat else np.empty(0, np.int32),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        np.asarray(seconds, np.int32),
        int(tokenizer.pad_token_id),
        "token_type_ids" in tokenizer.model_input_names,
        None if words is None else Words(np.concatenate([*said, np.empty(0, np.int32)]), words.offsets),
    )


def _second(sequence_ids: list[int | None]) -> int:
    """Where the second sentence begins: at its first token, its separator included after it."""
    return next((place for place, which in enumerate(sequence_ids) if which == 1), len(sequence_ids))


def _on(device: str, array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
