"""Contextual replacement: words that a masked language model thinks likely in their place (nlpaug, Distiller)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contract.errors import BadInput
from distill.augmentation.edits import chosen
from distill.augmentation.wording import Wording, core_of
from distill.models.device import Device
from distill.models.masked import Masked, load_masked_lm
from distill.models.pretrained import load_tokenizer
from distill.reading.tokens import Batch
from distill.training.batches import by_length

TOKENS_A_BATCH = 2048  # fixed, since batches of another shape round otherwise
LONGEST = 256  # tokens; words beyond stay as they are
_BEGINS = ("Ġ", "▁")  # how byte-level and SentencePiece vocabularies mark the first piece of a word
_GOES_ON = "##"  # how WordPiece marks every other piece


@dataclass(frozen=True)
class Hidden:
    """A text with words hidden: before character `ends[i]` stands the mask in place of the word at `places[i]`."""

    text: str
    places: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Guesses:
    """What may stand in one hidden place, likeliest first, with how likely."""

    words: Sequence[str]
    weights: Sequence[float]

    def without(self, old: str, most: int) -> Guesses:
        """Those that are not the word that stood there, so many at most."""
        kept = [both for both in zip(self.words, self.weights, strict=True) if both[0].casefold() != old][:most]
        return Guesses([word for word, _ in kept], [weight for _, weight in kept])

    def drawn(self, draw: random.Random) -> str:
        """One of them, as likely as it is among them."""
        left = draw.random() * sum(self.weights)
        for word, weight in zip(self.words, self.weights, strict=True):
            left -= weight
            if left < 0:
                return word
        return self.words[-1]


class Contextual:
    """Each word is, with a probability, hidden and replaced by one drawn from the `top_k` likeliest words.

    All hidden words of a text are hidden at once. Only words of one piece come in question; the word itself does not.
    """

    def __init__(self, directory: Path, probability: float, top_k: int, device: Device) -> None:
        self._tokenizer = load_tokenizer(directory)
        loaded = load_masked_lm(directory, device)
        if loaded is None or self._tokenizer.mask_token_id is None:
            raise BadInput(
                f"{directory} is no masked language model: its head or its mask token is not there; take one that was "
                "trained to fill masks, such as bert-base-uncased"
            )
        self._model = loaded[0].to(device.name).eval()
        self._probability = probability
        self._top_k = top_k
        self._device = device
        outputs = self._model.transformer.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
        self._words = _whole_words(self._tokenizer, outputs)
        allowed = [bool(word) for word in self._words]
        if sum(allowed) <= top_k:
            raise BadInput(f"The vocabulary of {directory} has {sum(allowed)} whole words, expected more than {top_k}")
        self._longest = min(LONGEST, places_of(self._model.transformer.config))
        self._barred = ~torch.tensor(allowed, device=device.name)

    def __call__(self, wordings: Sequence[Wording], draws: Sequence[random.Random]) -> list[Wording]:
        picked = [chosen(wording, self._probability, draw) for wording, draw in zip(wordings, draws, strict=True)]
        done = list(wordings)
        rows = [row for row, places in enumerate(picked) if places]
        hidden = [_hide(wordings[row], picked[row], self._tokenizer.mask_token) for row in rows]
        for index, place, guesses in sorted(self._guess(hidden), key=lambda found: found[:2]):
            row = rows[index]
            old = core_of(wordings[row].words[place])[1].casefold()
            new = guesses.without(old, self._top_k).drawn(draws[row])
            done[row] = done[row].with_cores({place: new})
        return done

    def _guess(self, hidden: Sequence[Hidden]) -> Iterator[tuple[int, int, Guesses]]:
        """(text, place, the likeliest words there), one more than `top_k`, for every hidden word that is read."""
        if not hidden:
            return
        encoded = self._tokenizer(
            [text.text for text in hidden], truncation=True, max_length=self._longest, return_offsets_mapping=True
        )
        tokens = [np.asarray(ids, np.int64) for ids in encoded["input_ids"]]
        masks = [
            _masks(text, ids == self._tokenizer.mask_token_id, np.asarray(offsets))
            for text, ids, offsets in zip(hidden, tokens, encoded["offset_mapping"], strict=True)
        ]
        for rows in by_length(np.array([len(ids) for ids in tokens]), TOKENS_A_BATCH):
            where = [(row, token, place) for row in rows.tolist() for token, place in masks[row]]
            weights, found = self._likeliest([tokens[row] for row in rows.tolist()], rows.tolist(), where)
            for (row, _, place), share, ids in zip(where, weights, found, strict=True):
                yield row, place, Guesses([self._words[number] for number in ids], share)

    def _likeliest(
        self, tokens: Sequence[npt.NDArray[np.int64]], rows: Sequence[int], where: Sequence[tuple[int, int, int]]
    ) -> tuple[list[list[float]], list[list[int]]]:
        """How likely, and which: (masks, top_k + 1) each, of the masks at (text, token, …)."""
        if not where:
            return [], []
        batch = _batch(tokens, self._tokenizer.pad_token_id, self._device.name)
        line, length = {row: index for index, row in enumerate(rows)}, batch.input_ids.shape[1]
        at = torch.tensor([line[row] * length + token for row, token, _ in where], device=self._device.name)
        with torch.inference_mode(), self._device.matmuls():
            logits = self._model(Masked(batch, at, at))
        shares, found = logits.masked_fill(self._barred, -torch.inf).softmax(-1).topk(self._top_k + 1, dim=-1)
        return shares.tolist(), found.tolist()


def _hide(wording: Wording, places: Sequence[int], mask: str) -> Hidden:
    """The text with masks in the place of some words; the marks around a word stay. What is no word but marks stays."""
    parts: list[str] = []
    ends, hidden, length = [], [], 0
    for place, (gap, word) in enumerate(zip(wording.gaps, wording.words, strict=True)):
        before, core, after = core_of(word)
        if place in places and core:
            ends.append(length + len(gap) + len(before) + len(mask))
            hidden.append(place)
            word = before + mask + after
        parts += (gap, word)
        length += len(gap) + len(word)
    return Hidden("".join(parts) + wording.tail, tuple(hidden), tuple(ends))


def _masks(text: Hidden, masked: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """(token, place) of our masks: a user may have written one too. Some tokenizers count the space before to it."""
    by_end = dict(zip(text.ends, text.places, strict=True))
    return [
        (int(token), by_end[int(offsets[token, 1])])
        for token in np.flatnonzero(masked)
        if int(offsets[token, 1]) in by_end
    ]


def _whole_words(tokenizer: Any, outputs: int) -> list[str]:
    """What each token says where it is a whole word of letters or digits; nothing for all others, (outputs,)."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), outputs))))
    special = set(tokenizer.all_special_ids)
    marked = any(piece.startswith(_BEGINS) for piece in pieces if piece)
    words = []
    for number, piece in enumerate(pieces):
        begins = piece.startswith(_BEGINS) if marked else not piece.startswith(_GOES_ON)
        word = tokenizer.convert_tokens_to_string([piece]).strip() if begins and number not in special else ""
        words.append(word if word.isalnum() else "")
    return words + [""] * (outputs - len(words))


def _batch(tokens: Sequence[npt.NDArray[np.int64]], pad: int, device: str) -> Batch:
    """These texts, padded to the longest of them."""
    longest = max(len(ids) for ids in tokens)
    padded = np.full((len(tokens), longest), pad, np.int64)
    attention = np.zeros_like(padded)
    for line, ids in enumerate(tokens):
        padded[line, : len(ids)], attention[line, : len(ids)] = ids, 1
    return Batch(torch.from_numpy(padded).to(device), torch.from_numpy(attention).to(device), None)


def places_of(config: Any) -> int:
    """How many tokens a model has places for: some leave the first two of them out."""
    places = getattr(config, "max_position_embeddings", None)
    return places - 2 if isinstance(places, int) else 1 << 20
