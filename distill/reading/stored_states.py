"""Stored states: what a teacher's layers make of every token of a transfer set, laid down once and read by every run.

They spare the teacher that otherwise runs beside its student, in every epoch of every run anew, and takes most of such
a run's time. They are large: two bytes a number, so 768 bytes a token and layer of a teacher that is 384 wide. Like all
on the shelf they can be made again, and the longest unused go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contract.draft import Draft
from contract.manifest import Json
from distill.models.device import Device
from distill.models.states import QKV, Attention, Part, Shape, Speaker, States
from distill.reading.shelf import Pages
from distill.reading.texts import Texts
from distill.reading.tokens import Batch, Tokens

STATES = "states.float16"
CHUNK = 512  # texts whose states are held at once
TEXTS = 64  # a batch
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class StoredStates:
    """The states of every token by part of the model, as long as the tokens' flat array; heads of its attention."""

    offsets: npt.NDArray[np.int64]  # (n + 1,), the tokens'
    parts: Mapping[Part, npt.NDArray[np.float16]]  # (tokens, H) each
    heads: int

    def of(self, rows: npt.NDArray[np.int64], batch: Batch) -> States:
        """Those of the texts of `rows`, beside `batch`, which is made of them; nothing where it is padding."""
        mask = batch.attention_mask
        real = mask.bool().cpu().numpy()
        places = (self.offsets[rows][:, None] + np.arange(real.shape[1]))[real]

        def padded(part: Part) -> Tensor:
            found = self.parts[part][places].astype(np.float32)
            states = np.zeros((*real.shape, found.shape[1]), np.float32)
            states[real] = found
            return torch.from_numpy(states).to(mask.device)

        of_hidden = {layer: padded((what, layer)) for what, layer in sorted(self.parts) if what == "hidden"}
        empty = torch.empty(*real.shape, 0, device=mask.device)
        attended = sorted({layer for what, layer in self.parts if what != "hidden"})

        def attention(layer: int) -> Attention:
            queries, keys, values = (padded((what, layer)) if (what, layer) in self.parts else empty for what in QKV)
            return Attention(queries, keys, values, self.heads)

        return States(of_hidden, {layer: attention(layer) for layer in attended}, mask, batch.compared)


def read_states(
    texts: Texts,
    tokens: Tokens,
    key: Mapping[str, Json],
    speak: Speaker,
    shape: Shape,
    parts: frozenset[Part],
    device: Device,
) -> StoredStates:
    """The states of these parts of a teacher of that shape, mapped; those that are not there are laid down now.

    `speak` is the teacher with its states shown, `tokens` are what it reads of the texts, and `key` names both. One
    pass of the teacher lays down all that is missing.
    """
    whole = {**texts.params, **key, "dtype": device.dtype}
    wanted = {_name(part): {**whole, "what": part[0], "layer": part[1]} for part in sorted(parts)}
    part_of = {_name(part): part for part in parts}

    def make(drafts: Mapping[str, Draft]) -> Mapping[str, Mapping[str, Json]]:
        with ExitStack() as stack:
            files = {name: stack.enter_context(draft.partial(STATES).open("wb")) for name, draft in drafts.items()}
            pages = {name: Pages({STATES: file}) for name, file in files.items()}
            for stop, said in _said(tokens, speak, shape.width, frozenset(part_of[name] for name in drafts), device):
                for name, of_name in pages.items():
                    of_name.add(states=said[part_of[name]])
                texts.shelf.progress("the teacher's states", stop, len(tokens))
        return {name: {} for name in drafts}

    laid = texts.shelf.obtain_together(wanted, [STATES], make)
    arrays = {part_of[name]: entry.array(STATES, shape.width) for name, entry in laid.items()}
    return StoredStates(tokens.offsets, arrays, shape.heads)


def _name(part: Part) -> str:
    return f"{part[0]}-{part[1]}"


def _said(
    tokens: Tokens, speak: Speaker, width: int, parts: frozenset[Part], device: Device
) -> Iterator[tuple[int, dict[Part, npt.NDArray[np.float16]]]]:
    """(texts done, the states of the tokens of the last of them by part), some texts after the other."""
    for start in range(0, len(tokens), CHUNK):
        stop = min(start + CHUNK, len(tokens))
        first = tokens.offsets[start]
        said = {part: np.empty((tokens.offsets[stop] - first, width), np.float16) for part in parts}
        by_length = start + np.argsort(tokens.lengths[start:stop], kind="stable")  # so that little is padding
        for some in range(0, len(by_length), TEXTS):
            rows = by_length[some : some + TEXTS]
            batch = tokens.batch(rows, device.name)
            real = batch.attention_mask.bool()
            places = (tokens.offsets[rows][:, None] - first + np.arange(real.shape[1]))[real.cpu().numpy()]
            with device.matmuls():
                states = speak(batch).states
            assert states is not None, "the teacher's states are shown"
            for part in parts:
                said[part][places] = _halved(states.part(part)[real])
        yield stop, said


def _halved(states: Tensor) -> npt.NDArray[np.float16]:
    """In half precision; what is larger than it can say is as large as it can say."""
    halved: npt.NDArray[np.float16] = states.float().clamp(-_LARGEST, _LARGEST).cpu().numpy().astype(np.float16)
    return halved
