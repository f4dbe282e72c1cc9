"""Logits: what a model says of many texts, and how long it takes to say it of one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from distill.batches import by_length
from distill.device import Device, threads
from distill.tokens import Batch, Tokens, tokenize

TOKENS_A_BATCH = 4096  # fixed, since batches of another shape round otherwise
WARM_UPS, TIMED = 10, 100


def logits_of(
    model: nn.Module, forward: Callable[[Batch], torch.Tensor], tokens: Tokens, device: Device
) -> npt.NDArray[np.float32]:
    """The logits of all texts, (n, C), in their order."""
    model.eval()
    logits: npt.NDArray[np.float32] | None = None
    with torch.inference_mode(), device.matmuls():
        for rows in by_length(tokens.lengths, TOKENS_A_BATCH):
            found = forward(tokens.batch(rows, device.name)).float().cpu().numpy()
            if logits is None:
                logits = np.empty((len(tokens), found.shape[1]), np.float32)
            logits[rows] = found
    assert logits is not None, "there is at least one text"
    return logits


def ms_per_utterance(
    model: nn.Module,
    forward: Callable[[Batch], torch.Tensor],
    tokenizer: Any,
    texts: Sequence[tuple[str, str | None]],
    device: Device,
    *,
    max_length: int,
) -> float:
    """The median milliseconds for one text, tokenising included: batch 1, one thread, float32."""
    model.eval()
    taken = []
    with torch.inference_mode(), threads(1):
        for text, pair in [texts[0]] * WARM_UPS + list(texts[:TIMED]):
            began = time.perf_counter()
            batch = tokenize(tokenizer, [text], [pair], max_length=max_length).batch(np.zeros(1, np.int64), device.name)
            forward(batch).cpu()
            taken.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(taken[WARM_UPS:]), 3)
