"""Back-translation: a text into another language and back, by two sequence-to-sequence models (Sennrich 2016)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from contract.errors import BadInput, MissingExtra
from distill.augmentation.contextual import places_of
from distill.augmentation.wording import Wording, another_text
from distill.models.device import Device
from distill.models.pretrained import in_a_sentence, quiet
from distill.training.batches import by_length

TOKENS_A_BATCH = 2048  # fixed, since batches of another shape round and draw otherwise
LONGEST = 256  # tokens


class Translator:
    """One direction: a sequence-to-sequence model with its tokenizer."""

    def __init__(self, directory: Path, device: Device) -> None:
        self._device = device
        _refuse_without_pieces(directory)
        with quiet(), in_a_sentence(directory):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                directory, trust_remote_code=False, local_files_only=True
            )
            model, loaded = AutoModelForSeq2SeqLM.from_pretrained(
                directory,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        if loaded["missing_keys"] or self._tokenizer.pad_token_id is None:
            raise BadInput(
                f"{directory} is no translator: weights or a padding token are missing; expected a "
                "sequence-to-sequence model as transformers saves it"
            )
        whole: nn.Module = model.to(device.name).eval()
        self._model: Any = whole
        self._places = places_of(model.config)

    def __call__(self, texts: Sequence[str], seed: int | None) -> list[str]:
        """The translations: the likeliest word after word, or with a `seed` drawn."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=min(LONGEST, self._places))["input_ids"]
        done = [""] * len(texts)
        for index, rows in enumerate(by_length(np.array([len(of_text) for of_text in ids]), TOKENS_A_BATCH)):
            batch = self._tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            if seed is not None:
                torch.manual_seed(seed * 1_000_003 + index)
            with torch.inference_mode(), self._device.matmuls(), quiet():
                made = self._model.generate(
                    **batch.to(self._device.name),
                    max_new_tokens=min(2 * batch["input_ids"].shape[1] + 16, self._places),
                    num_beams=1,
                    do_sample=seed is not None,
                )
            for row, text in zip(
                rows.tolist(), self._tokenizer.batch_decode(made, skip_special_tokens=True), strict=True
            ):
                done[row] = text.strip()
        return done


def _refuse_without_pieces(directory: Path) -> None:
    """Marian's tokenizers are read by sentencepiece, without which transformers speaks in riddles."""
    if list(directory.glob("*.spm")) and find_spec("sentencepiece") is None:
        raise MissingExtra(f"The tokenizer of {directory} needs sentencepiece: pip install 'transferset[translation]'")


class BackTranslation:
    """Each text is, with a probability, what comes back of it; nothing that comes back leaves it as it is."""

    def __init__(self, there: Translator, back: Translator, probability: float, *, sampled: bool) -> None:
        self._ways = (there, back)
        self._probability = probability
        self._sampled = sampled

    def __call__(self, wordings: Sequence[Wording], draws: Sequence[random.Random]) -> list[Wording]:
        rows = [row for row, draw in enumerate(draws) if draw.random() < self._probability and wordings[row].words]
        if not rows:
            return list(wordings)
        texts = [wordings[row].text for row in rows]
        seed = draws[rows[0]].randrange(2**31) if self._sampled else None
        for way in self._ways:
            texts = way(texts, seed)
        done = list(wordings)
        for row, text in zip(rows, texts, strict=True):
            if text:
                done[row] = another_text(text)
        return done
