"""The torch form: a student opened from its Hugging Face folder, answering as the pipeline judged it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distill.models.device import threads
from distill.models.logits import logits_of
from distill.models.states import Speaker
from distill.reading.tokens import tokenize
from distill.reading.words import gather_words
from distill.shipping.forms import Heard, Spoken
from distill.shipping.meaning import Meaning
from distill.students.student import CPU, open_student


class TorchForm:
    """A model in torch, its tokenizer, and how a batch goes through it; also a teacher, beside its student."""

    def __init__(
        self, model: nn.Module, forward: Speaker, tokenizer: object, max_length: int, *, with_words: bool
    ) -> None:
        self._model = model
        self._forward = forward
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._with_words = with_words

    @classmethod
    def of_folder(cls, folder: Path, meaning: Meaning) -> TorchForm:
        student = open_student(folder, CPU)
        return cls(student.model, student.forward, student.tokenizer, meaning.max_length, with_words=bool(meaning.tags))

    def speak(self, heard: Sequence[Heard]) -> Spoken:
        words = gather_words([each.words or [] for each in heard]) if self._with_words else None
        tokens = tokenize(
            self._tokenizer,
            [each.text for each in heard],
            [each.pair for each in heard],
            max_length=self._max_length,
            words=words,
        )
        with threads():
            logits = logits_of(self._model, self._forward, tokens, CPU)
        return Spoken(logits.sentence, logits.slots)
