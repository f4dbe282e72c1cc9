"""The forward pass: texts through a sentence-transformers model, nothing padded, each batch on one thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexer.encoders.packed import PackedBert, batches
from indexer.encoders.threads import cores, shared_out

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GPU_TOKENS = 65_536  # of a batch there


class Forward:
    """From texts to the model's vectors: batches of texts of like length, as many at once as there are cores."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._packed = PackedBert(model) if PackedBert.can(model) else None
        self._tokenizing = threading.Lock()  # a tokenizer cannot be used by two threads

    def vectors(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        """(n, dim) float32, in the order of the texts."""
        tokens = self._tokens([prompt + text for text in texts])
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        on_gpu = self._model.device.type != "cpu"
        parts = list(batches(lengths, GPU_TOKENS) if on_gpu else batches(lengths))

        def encoded(groups: list[np.ndarray]) -> np.ndarray:
            if self._packed is not None:
                return self._packed.vectors([np.array([tokens[text] for text in group]) for group in groups])
            return np.concatenate([self._by_library([texts[text] for text in group], prompt) for group in groups])

        found = shared_out(encoded, parts, 1 if on_gpu else cores())
        vectors = np.empty((len(texts), found[0].shape[1]), np.float32)
        for groups, part in zip(parts, found, strict=True):
            vectors[np.concatenate(groups)] = part
        return vectors

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        with self._tokenizing:
            encoded = self._model.tokenizer(texts, truncation=True, max_length=self._model.max_seq_length)
        tokens: list[list[int]] = encoded["input_ids"]
        return tokens

    def _by_library(self, texts: list[str], prompt: str) -> np.ndarray:
        """The library's own way; texts of one length, so that it has nothing to pad."""
        with self._tokenizing:
            vectors = self._model.encode(
                texts, prompt=prompt, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
            )
        found: np.ndarray = vectors.float().cpu().numpy()
        return found
