"""The ONNX form: a student by onnxruntime and tokenizers, on one thread, without torch and transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from contract.errors import CorruptArtifact, MissingExtra
from distill.reading.words import NO_TOKEN, first_tokens, gather_words
from distill.shipping.forms import Heard, Spoken
from distill.shipping.meaning import Meaning
from distill.training.batches import by_length

TOKENIZER = "tokenizer.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LOGITS, SENTENCE_LOGITS = "logits", "sentence_logits"  # the latter of a joint student: its logits are the words'
TOKENS_A_BATCH = 4096


@dataclass(frozen=True)
class Encoded:
    """One text as the model reads it: (L,) ids and sentence numbers, (W,) each word's first token."""

    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class OnnxForm:
    """A student in one ONNX file.

    `alone`: each text goes through it by itself. An int8 model rounds by the range of a whole batch, so that a text's
    answer would follow its neighbours; and a batch of small students gains nothing on one thread.
    """

    def __init__(self, folder: Path, file: str, meaning: Meaning, *, alone: bool) -> None:
        self._meaning = meaning
        self._alone = alone
        self._tokenizer = open_tokenizer(folder / TOKENIZER, meaning.max_length)
        self._session = open_session(folder / file)
        self.inputs = tuple(each.name for each in self._session.get_inputs())
        self._outputs = [each.name for each in self._session.get_outputs()]

    def speak(self, heard: Sequence[Heard]) -> Spoken:
        read = read_tokens(self._tokenizer, heard, with_words=bool(self._meaning.tags))
        sentences: list[npt.NDArray[np.float32] | None] = [None] * len(read)
        words: list[npt.NDArray[np.float32] | None] = [None] * len(read)
        for rows in self._batches(read):
            said = self._run([read[row] for row in rows])
            for place, row in enumerate(rows):
                if self._meaning.tags:
                    words[row] = _of_words(said[LOGITS][place], read[row].places)
                if SENTENCE_LOGITS in said or not self._meaning.tags:
                    sentences[row] = said[SENTENCE_LOGITS if self._meaning.tags else LOGITS][place]
        return Spoken(_stacked(sentences), _joined(words))

    def _batches(self, read: Sequence[Encoded]) -> Iterator[Sequence[int]]:
        if self._alone:
            yield from ([row] for row in range(len(read)))
        else:
            lengths = np.array([len(each.ids) for each in read])
            yield from (rows.tolist() for rows in by_length(lengths, TOKENS_A_BATCH))

    def _run(self, read: Sequence[Encoded]) -> dict[str, npt.NDArray[np.float32]]:
        """What the model says of a batch, by output, padded to the longest of them."""
        shape = (len(read), max(len(each.ids) for each in read))
        ids, types, mask = (np.full(shape, fill, np.int64) for fill in (self._meaning.pad, 0, 0))
        for row, each in enumerate(read):
            ids[row, : len(each.ids)], types[row, : len(each.ids)], mask[row, : len(each.ids)] = each.ids, each.types, 1
        fed = dict(zip(INPUTS, (ids, mask, types), strict=True))
        said = self._session.run(None, {name: fed[name] for name in self.inputs})
        return dict(zip(self._outputs, said, strict=True))


def open_session(path: Path) -> Any:
    """An onnxruntime session on one thread; MissingExtra without the library."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra("The ONNX forms need onnxruntime: pip install 'transferset[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what is wrong with a file is raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class of their own
        raise CorruptArtifact(
            f"{path} is not a model onnxruntime opens ({type(error).__name__}); export the run again"
        ) from error


def open_tokenizer(path: Path, max_length: int) -> Any:
    """The tokenizer, cutting as the student was trained: at `max_length`, of a pair the longer sentence first."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise CorruptArtifact(f"{path} is not a tokenizer ({error}); export the run again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    return tokenizer


def read_tokens(tokenizer: Any, heard: Sequence[Heard], *, with_words: bool) -> list[Encoded]:
    """The texts as tokens. A text without a second sentence, among pairs, is read beside an empty one."""
    paired = any(each.pair is not None for each in heard)
    found = tokenizer.encode_batch([(each.text, each.pair or "") if paired else each.text for each in heard])
    places = [np.empty(0, np.int64)] * len(found)
    if with_words:
        offsets = [np.asarray(each.offsets, np.int64).reshape(-1, 2) for each in found]
        spans = gather_words([each.words or [] for each in heard])
        places = np.split(first_tokens(spans, offsets).astype(np.int64), spans.offsets[1:-1])
    return [
        Encoded(np.array(each.ids, np.int64), np.array(each.type_ids, np.int64), of_words)
        for each, of_words in zip(found, places, strict=True)
    ]


def _of_words(of_tokens: npt.NDArray[np.float32], places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(L, T) logits of tokens -> (W, T) of words, NaN for words without a token."""
    said = of_tokens[np.maximum(places, 0)]
    said[places == NO_TOKEN] = np.nan
    return said


def _stacked(rows: Sequence[npt.NDArray[np.float32] | None]) -> npt.NDArray[np.float32] | None:
    return None if any(row is None for row in rows) else np.stack([row for row in rows if row is not None])


def _joined(rows: Sequence[npt.NDArray[np.float32] | None]) -> npt.NDArray[np.float32] | None:
    return None if any(row is None for row in rows) else np.concatenate([row for row in rows if row is not None])
