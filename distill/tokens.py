"""Tokens: texts as the integers a model reads, in one flat array; made once, cut into padded batches when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

CHUNK = 4096  # texts tokenised at a time


@dataclass(frozen=True)
class Batch:
    """One batch on a device, each (B, L) int64; `attention_mask` is 1 where there is a token."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor | None  # None when the tokenizer knows no such thing

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
        return Batch(_on(device, ids), _on(device, mask), _on(device, types) if self.typed else None)


def tokenize(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str | None], *, max_length: int) -> Tokens:
    """Tokens of texts, cut at `max_length` (of a pair the longer sentence is cut), special tokens included."""
    flat: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    seconds: list[int] = []
    paired = any(pair is not None for pair in pairs)  # a task is of pairs or it is not
    for start in range(0, len(texts), CHUNK):
        some, partners = list(texts[start : start + CHUNK]), list(pairs[start : start + CHUNK])
        given = [some, [pair or "" for pair in partners]] if paired else [some]
        encoded = tokenizer(*given, truncation=True, max_length=max_length, return_attention_mask=False)
        for index, ids in enumerate(encoded["input_ids"]):
            flat.append(np.asarray(ids, np.int32))
            lengths.append(len(ids))
            seconds.append(_second(encoded.sequence_ids(index)) if paired else len(ids))
    return Tokens(
        np.concatenate(flat) if flat else np.empty(0, np.int32),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        np.asarray(seconds, np.int32),
        int(tokenizer.pad_token_id),
        "token_type_ids" in tokenizer.model_input_names,
    )


def _second(sequence_ids: list[int | None]) -> int:
    """Where the second sentence begins: at its first token, its separator included after it."""
    return next((place for place, which in enumerate(sequence_ids) if which == 1), len(sequence_ids))


def _on(device: str, array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
