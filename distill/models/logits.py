"""Logits: what a model says of many texts, and how long it takes to say it of one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from distill.models.device import Device, threads
from distill.models.states import Said
from distill.reading.tokens import Batch, Tokens, tokenize
from distill.reading.words import gather_words, split_words
from distill.training.batches import by_length

TOKENS_A_BATCH = 4096  # fixed, since batches of another shape round otherwise
WARM_UPS, TIMED = 10, 100


@dataclass(frozen=True)
class Logits:
    """Of many texts: one row a text, and one row a word, NaN where no token says the word; None for what is not."""

    sentence: npt.NDArray[np.float32] | None  # (n, C)
    slots: npt.NDArray[np.float32] | None  # (W, T)


def logits_of(
    model: nn.Module,
    forward: Callable[[Batch], Said],
    tokens: Tokens,
    device: Device,
    on_texts: Callable[[int], None] = lambda _: None,
) -> Logits:
    """The logits of all texts, in their order. `on_texts` hears after each batch how many are done."""
    model.eval()
    done = 0
    sentence: npt.NDArray[np.float32] | None = None
    slots: npt.NDArray[np.float32] | None = None
    with torch.inference_mode(), device.matmuls():
        for rows in by_length(tokens.lengths, TOKENS_A_BATCH):
            outputs = forward(tokens.batch(rows, device.name))
            if outputs.logits is not None:
                found = outputs.logits.float().cpu().numpy()
                sentence = np.empty((len(tokens), found.shape[1]), np.float32) if sentence is None else sentence
                sentence[rows] = found
            if outputs.slot_logits is not None and tokens.words is not None:
                found = outputs.slot_logits.float().cpu().numpy()
                if slots is None:
                    slots = np.full((len(tokens.words.places), found.shape[1]), np.nan, np.float32)
                slots[tokens.words.of(rows)[0]] = found
            done += len(rows)
            on_texts(done)
    assert sentence is not None or slots is not None, "there is at least one text"
    return Logits(sentence, slots)


def ms_per_utterance(
    model: nn.Module,
    forward: Callable[[Batch], Said],
    tokenizer: Any,
    texts: Sequence[tuple[str, str | None]],
    device: Device,
    *,
    max_length: int,
    with_words: bool = False,
) -> float:
    """The median milliseconds for one text, tokenising included: batch 1, one thread, float32.

    `with_words`: its words are found and tagged too, as a task with slots asks.
    """
    model.eval()
    taken = []
    with torch.inference_mode(), threads(1):
        for text, pair in [texts[0]] * WARM_UPS + list(texts[:TIMED]):
            began = time.perf_counter()
            words = gather_words([split_words(text)]) if with_words else None
            tokens = tokenize(tokenizer, [text], [pair], max_length=max_length, words=words)
            outputs = forward(tokens.batch(np.zeros(1, np.int64), device.name))
            for logits in (outputs.logits, outputs.slot_logits):
                if logits is not None:
                    logits.cpu()
            taken.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(taken[WARM_UPS:]), 3)
