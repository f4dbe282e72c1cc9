"""The forms a student is shipped in, behind one seam: texts in, logits out, whatever computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from distill.reading.words import Span
from distill.shipping.meaning import Meaning

FormName = Literal["torch", "onnx", "int8"]
EXPORT_VERSION = 1  # of the format of an exported folder
FORMS: tuple[FormName, ...] = ("torch", "onnx", "int8")
FILE_OF: dict[FormName, str] = {"torch": "model.safetensors", "onnx": "model.onnx", "int8": "model.int8.onnx"}
TITLES: dict[FormName, str] = {"torch": "torch float32", "onnx": "ONNX float32", "int8": "ONNX int8"}


@dataclass(frozen=True)
class Heard:
    """One text as it is asked about: its second sentence, and where its words stand, where there are such things."""

    text: str
    pair: str | None = None
    words: Sequence[Span] | None = None


@dataclass(frozen=True)
class Spoken:
    """The logits of many texts: a row a text, a row a word, NaN where no token says the word; None for what is not."""

    sentence: npt.NDArray[np.float32] | None  # (n, C)
    slots: npt.NDArray[np.float32] | None  # (W, T)


class Form(Protocol):
    """A student that answers."""

    def speak(self, heard: Sequence[Heard]) -> Spoken:
        """The logits of some texts, at least one, in their order."""
        ...


def open_form(folder: Path, name: FormName, meaning: Meaning) -> Form:
    """The form of that name in a student's folder."""
    if name == "torch":
        from distill.shipping.torch_form import TorchForm

        return TorchForm.of_folder(folder, meaning)
    from distill.shipping.onnx_form import OnnxForm

    return OnnxForm(folder, FILE_OF[name], meaning, alone=name == "int8")
