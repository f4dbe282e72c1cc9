"""Mixup (Zhang et al. 2018) on word embeddings, as Distiller's: texts mixed two by two, and what is taught of them.

Which texts, and by what share, follows from the seed and the batch's rows alone, so that a killed loop goes on with the
same draws. Two models that read the same rows, by whatever tokens, mix the same texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.models.states import Said, Speaker
from distill.reading.gold import NO_LABEL
from distill.reading.source import ExampleSource, Rows, Targets, TokenSource, taught
from distill.reading.tokens import Batch, Mixture

_SALT = 0x317B  # so that no other draw of the seed is this one


@dataclass(frozen=True)
class Mixup:
    """How batches are mixed. `append`: the plain texts stay, the mixed ones come after them."""

    beta: float
    append: bool
    seed: int

    def partners(self, rows: Rows) -> tuple[npt.NDArray[np.int64], float]:
        """Which of these texts each is mixed with, (B,), and the share that stays its own, one for all."""
        draw = np.random.default_rng([self.seed, _SALT, *rows.tolist()])
        return draw.permutation(len(rows)), float(draw.beta(self.beta, self.beta))

    def mixture(self, rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The batch to be: which of `rows` each text is, its partner's row in the batch, its own share, (B',) each."""
        partners, share = self.partners(rows)
        own = np.arange(len(rows))
        shares = np.full(len(rows), share, np.float32)
        if not self.append:
            return own, partners, shares
        twice, ones = np.concatenate([own, own]), np.ones(len(rows), np.float32)
        return twice, np.concatenate([own, partners]), np.concatenate([ones, shares])


@dataclass(frozen=True)
class MixedTokens:
    """Tokens of which a batch is mixed; the models that read it mix the embeddings (`mixing`)."""

    plain: TokenSource
    mixup: Mixup

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.plain.lengths

    @property
    def pad(self) -> int:
        return self.plain.pad

    def met(self) -> Rows:
        return self.plain.met()

    def compared_in(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self.plain.compared_in(rows)

    def batch(self, rows: Rows, device: str = "cpu") -> Batch:
        """A mixed text is as long as the longer of its two; where it has no token of its own it has its partner's."""
        plain = self.plain.batch(rows, device)
        own, partners, shares = (torch.from_numpy(array).to(device) for array in self.mixup.mixture(rows))
        real, theirs = plain.attention_mask[own], plain.attention_mask[own][partners]
        borrowed = (shares < 1).unsqueeze(1) & (real == 0) & (theirs == 1)
        types = plain.token_type_ids
        return Batch(
            _filled(plain.input_ids[own], borrowed, partners),
            real | borrowed.long(),
            None if types is None else _filled(types[own], borrowed, partners),
            mixture=Mixture(partners, shares, real),
        )


@dataclass(frozen=True)
class MixedExamples:
    """Examples of which every batch is mixed. A mixed text has no gold; what is taught of it is mixed, or asked for.

    `probabilities`: the softened classes are mixed, of which soft targets are made at `temperature`; else the logits.
    """

    plain: ExampleSource
    mixup: Mixup
    teacher: Speaker | None  # where it runs beside the student; one that mixes too
    live: bool
    probabilities: bool
    temperature: float

    @property
    def tokens(self) -> MixedTokens:
        return MixedTokens(self.plain.tokens, self.mixup)

    @property
    def teacher_tokens(self) -> MixedTokens | None:
        others = self.plain.teacher_tokens
        return None if others is None else MixedTokens(others, self.mixup)

    def targets(self, rows: Rows, device: str) -> Targets:
        plain = self.plain.targets(rows, device)
        own, _, shares = (torch.from_numpy(array).to(device) for array in self.mixup.mixture(rows))
        mixed = shares < 1
        return Targets(
            None if plain.classes is None else plain.classes[own].masked_fill(mixed, NO_LABEL),
            None if plain.amounts is None else plain.amounts[own].masked_fill(mixed, torch.nan),
        )

    def stored(self, rows: Rows, device: str) -> Said:
        logits = self.plain.stored(rows, device).logits
        if logits is None:
            return Said(None)
        own, partners, shares = (torch.from_numpy(array).to(device) for array in self.mixup.mixture(rows))
        return Said(self._mixed(logits[own], logits[own][partners], shares.unsqueeze(1)))

    def taught(self, rows: Rows, batch: Batch) -> Said:
        return taught(self, rows, batch, live_logits=self.live)

    def _mixed(self, logits: Tensor, others: Tensor, shares: Tensor) -> Tensor:
        """Logits whose softened classes are those of both, each by its share."""
        if not self.probabilities or logits.shape[1] == 1:
            return shares * logits + (1 - shares) * others
        ours, theirs = ((of / self.temperature).log_softmax(-1) for of in (logits, others))
        both = torch.logaddexp(ours + shares.log(), theirs + (1 - shares).log())
        return torch.where(shares < 1, both * self.temperature, logits)


def mixing(speak: Speaker, embeddings: nn.Module) -> Speaker:
    """The same, with the word embeddings of a mixed batch mixed. Between batches nothing is left on the model."""

    def speaking(batch: Batch) -> Said:
        if batch.mixture is None:
            return speak(batch)
        hook = embeddings.register_forward_hook(partial(_mix, batch.mixture))
        try:
            return speak(batch)
        finally:
            hook.remove()

    return speaking


def _mix(mixture: Mixture, _module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
    """(B, L, H) -> (B, L, H). What has no token of its own is its partner's alone, by the partner's share."""
    shares = mixture.shares[:, None, None].to(embedded.dtype)
    heard = mixture.real[:, :, None].to(embedded.dtype)
    real = embedded * heard
    mixed = shares * real + (1 - shares) * real[mixture.partners]
    return torch.where(shares < 1, mixed, embedded)


def _filled(values: Tensor, borrowed: Tensor, partners: Tensor) -> Tensor:
    """(B, L), with the partner's where it is borrowed."""
    return torch.where(borrowed, values[partners], values)
