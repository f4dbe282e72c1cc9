"""Masked tokens: which tokens of a batch are hidden, and what a masked language model would put in their places.

As BERT's own (Devlin et al. 2019): of each text 15 % of the tokens are to be told, at least one; eight in ten of these
are hidden, one in ten is another token, one in ten stays. Which they are follows from the seed and the text alone: a
text is masked alike in whatever batch it stands, whoever reads it, teacher or student, however often it was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, float32, nn
from transformers import AutoConfig, AutoModelForMaskedLM

from contract.errors import BadInput
from distill.models.device import Device
from distill.models.pretrained import in_a_sentence, quiet
from distill.models.states import Said, Speaker
from distill.reading.tokens import Batch

TOLD = 0.15  # of a text's tokens, special ones not counted
HIDDEN, OTHER = 0.8, 0.1  # of those that are to be told
_WITH_HEAD = ("ForMaskedLM", "ForPreTraining")  # as which a model with a head for tokens was saved

Words64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Masked:
    """A batch with tokens hidden: where in the flat (B * L) batch those to be told stand, and which they were, (M,)."""

    batch: Batch
    places: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Masking:
    """How a tokenizer's tokens are hidden: by `mask`; `ordinary` are those that are no special ones."""

    mask: int
    ordinary: npt.NDArray[np.int64]  # (V',)
    tokens: int  # V

    @classmethod
    def of(cls, tokenizer: Any) -> Masking:
        """That of a tokenizer; BadInput when it has no token to hide another with."""
        if tokenizer.mask_token_id is None:
            raise BadInput(
                "The teacher's tokenizer has no mask token, so that its model was not made to tell masked tokens; "
                "expected one of a masked language model, such as BERT's: take another teacher.model, or leave "
                "teacher.adapt and objective.mlm_weight out"
            )
        special = {*tokenizer.all_special_ids}
        ordinary = np.array([token for token in range(len(tokenizer)) if token not in special], np.int64)
        return cls(int(tokenizer.mask_token_id), ordinary, len(tokenizer))

    def hide(self, batch: Batch, seed: int) -> Masked:
        """The batch with its tokens hidden as this seed says."""
        ids, real = batch.input_ids.cpu().numpy(), batch.attention_mask.cpu().numpy().astype(bool)
        chosen = self._chosen(ids, real, seed)
        how, which = (_uniform(ids, real, seed, salt)[chosen] for salt in (2, 3))
        told = ids[chosen]
        other = self.ordinary[(which * len(self.ordinary)).astype(np.int64)]
        shown = np.where(how < HIDDEN, self.mask, np.where(how < HIDDEN + OTHER, other, told))
        hidden = ids.copy()
        hidden[chosen] = shown
        device = batch.input_ids.device
        places, tokens = (torch.from_numpy(array).to(device) for array in (np.flatnonzero(chosen), told))
        return Masked(replace(batch, input_ids=torch.from_numpy(hidden).to(device)), places, tokens)

    def _chosen(self, ids: npt.NDArray[np.int64], real: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.bool_]:
        """Which tokens are to be told, (B, L): of each text as many as its length says, those of the lowest draws."""
        ordinary = real & np.isin(ids, self.ordinary)
        lengths = ordinary.sum(1)
        wanted = np.where(lengths > 0, np.maximum(1, np.floor(TOLD * lengths + 0.5)), 0)
        draws = np.where(ordinary, _uniform(ids, real, seed, 1), np.inf)
        ranks = np.argsort(np.argsort(draws, axis=1, kind="stable"), axis=1, kind="stable")
        return ranks < wanted[:, None]


def _uniform(ids: npt.NDArray[np.int64], real: npt.NDArray[np.bool_], seed: int, salt: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) that follow from the seed, the text and the place in it, (B, L)."""
    places = np.arange(ids.shape[1], dtype=np.uint64)[None, :]
    of_tokens = np.where(real, _mixed(ids.astype(np.uint64) * np.uint64(0x1_0000) + places), np.uint64(0))
    texts = _mixed(of_tokens.sum(1, dtype=np.uint64) ^ _mixed(np.array([seed], np.uint64)))
    drawn = _mixed(texts[:, None] + _mixed(places * np.uint64(8) + np.uint64(salt)))
    return (drawn >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(words: Words64) -> Words64:
    """splitmix64's finish (Steele et al. 2014): every bit of a word depends on all of them."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class MaskedLM(nn.Module):
    """A transformers model with a head that tells masked tokens. The head reads the places that are asked for alone."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    @property
    def encoder(self) -> nn.Module:
        """What reads the text; the head is no part of it."""
        encoder: nn.Module = self.transformer.base_model  # type: ignore[assignment]
        return encoder

    def forward(self, masked: Masked) -> Tensor:
        """The logits of all tokens in every place that is to be told, (M, V)."""
        hook = self.encoder.register_forward_hook(partial(_leave, masked.places))
        try:
            logits: Tensor = self.transformer(**masked.batch.inputs).logits[0]
        finally:
            hook.remove()
        return logits.float()


def load_masked_lm(directory: Path, device: Device, *, make: bool = False) -> tuple[MaskedLM, bool] | None:
    """The model with its head, and whether the head was found in its files; None where it was not.

    `make` makes one there: the weights of its own as torch's seed says, those of the tokens tied to the embeddings.
    BadInput when transformers knows no masked language model of this kind.
    """
    if not (make or _was_saved_with_head(directory)):
        return None
    with quiet(), in_a_sentence(directory):
        transformer, loaded = AutoModelForMaskedLM.from_pretrained(
            directory,
            dtype=float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation=device.attention,
            output_loading_info=True,
        )
    found = not loaded["missing_keys"]
    return (MaskedLM(transformer), found) if found or make else None


def _was_saved_with_head(directory: Path) -> bool:
    with quiet(), in_a_sentence(directory):
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    return any(name.endswith(_WITH_HEAD) for name in config.architectures or ())


def guessing(speak: Speaker, guess: Callable[[Masked], Tensor], masking: Masking) -> Speaker:
    """The same, and what is made of the batch's masked places, which follow from the seed of the update (torch's)."""

    def speaking(batch: Batch) -> Said:
        masked = masking.hide(batch, torch.initial_seed())
        return replace(speak(batch), masked=guess(masked), told=masked.tokens)

    return speaking


def _leave(places: Tensor, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Of an encoder's states those of some places, (1, M, H): heads read each place by itself."""
    output["last_hidden_state"] = output.last_hidden_state.flatten(0, 1)[places].unsqueeze(0)
    return output
