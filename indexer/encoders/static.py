"""The static encoder: one vector a token, distilled from an encoder once; a text is the sum of its tokens' vectors.

An index that uses one keeps it in its folder `encoder/`, in the form of model2vec (whose StaticModel opens it), so that
queries are encoded without torch and without the model it was distilled from. Written by `index build`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput
from contract.manifest import Json, canonical_json, hash_file
from contract.progress import Progress, silent
from indexer.encoder import EncoderSettings, TextKind, _check_safe, _load, _pooling, find_model, hash_model
from indexer.encoders.token_vectors import (
    CONFIG,
    MAX_LENGTH,
    MODEL,
    RECIPE,
    SIF,
    TOKENIZER,
    TokenVectors,
    distil,
    is_static,
    open_tokenizer,
    read_token_vectors,
    write_token_vectors,
)

PREFIX = "static:"
FOLDER = "encoder"  # of an index
STEP = "encoder"
DIMS = 256
_TEXTS_AT_ONCE = 8192  # bounds the memory of encoding
_MOST_PIECES = 400_000  # kept with their tokens: about 80 MB


class StaticEncoder:
    """Texts to unit vectors by a table, which is read or distilled when it is first needed. Safe from many threads."""

    def __init__(
        self, settings: EncoderSettings, location: str, fingerprint: str, table: Callable[[], TokenVectors]
    ) -> None:
        self.settings = settings
        self.location = location
        self.fingerprint = fingerprint
        self._make = table
        self._lock = threading.Lock()

    @cached_property
    def table(self) -> TokenVectors:
        return self._make()

    @property
    def dim(self) -> int:
        return int(self.table.vectors.shape[1])

    def encode(self, texts: Sequence[str], *, kind: TextKind) -> np.ndarray:
        """Unit vectors of `texts`, (n, dim) float32, in their order; zeros for a text without a known token.

        A text's vector is the same to the bit whatever it is encoded with.
        """
        prompt = (self.settings.query_prompt if kind == "query" else self.settings.passage_prompt) or ""
        most = self._pieces.most_characters
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            batch = [(prompt + text)[:most] for text in texts[start : start + _TEXTS_AT_ONCE]]
            with self._lock:
                text_starts, pieces, starts, tokens = self._pieces.tokens(batch)
            _add_up(
                self.table.vectors,
                tokens,
                starts,
                pieces,
                text_starts,
                self.table.max_length,
                vectors[start : start + len(batch)],
            )
        return vectors

    def keep(self, draft: Draft, progress: Progress = silent) -> None:
        """Leave the model in an index in the making, or take up the one that lies there; a step of the build."""
        names = [f"{FOLDER}/{name}" for name in (MODEL, TOKENIZER, CONFIG)]
        if draft.receipt(STEP) is None:
            progress("distil encoder", 0, None)
            write_token_vectors(self.table, [draft.partial(name) for name in names])
            draft.keep(STEP, {name: len(self.table.vectors) for name in names})
        self.table = read_token_vectors(draft.directory / FOLDER)

    def __reduce__(self) -> tuple[Any, ...]:
        """On its way to a worker process it takes its table along."""
        return _with_table, (self.settings, self.location, self.fingerprint, self.table)

    @cached_property
    def _pieces(self) -> _Pieces:
        return _Pieces(self.table)


def open_static(settings: EncoderSettings) -> StaticEncoder:
    """`static:NAME` as an encoder: a static model as it is, any other model as one to distil.

    The fingerprint of a distilled one is that of the model and of the recipe: it is known before the distilling.
    """
    if settings.dtype == "bfloat16":
        raise BadInput("Expected dtype auto or float32 for a static encoder, found bfloat16: it is a table of vectors")
    model = settings.model.removeprefix(PREFIX)
    directory, revision = find_model(model, settings.revision)
    settings = replace(settings, revision=revision)
    location = PREFIX + (str(directory.resolve()) if Path(model).expanduser().is_dir() else model)
    if not (directory / TOKENIZER).is_file():
        raise BadInput(f"{directory} has no {TOKENIZER}: expected a model with a fast tokenizer; save it with one")
    if is_static(directory):
        if settings.dims is not None:
            raise BadInput(f"Expected no number of dimensions for {model}, found {settings.dims}: it is static already")
        content: Json = {name: hash_file(directory / name) for name in (MODEL, TOKENIZER, CONFIG)}
        settings = _resolved(settings, directory, read_token_vectors(directory).max_length)
        most = settings.max_length or MAX_LENGTH
        return StaticEncoder(
            settings,
            location,
            _fingerprint(settings, content),
            lambda: replace(read_token_vectors(directory), max_length=most),
        )
    _check_safe(directory)
    settings = replace(_resolved(settings, directory, MAX_LENGTH), dims=settings.dims or DIMS)
    teacher = _load(directory)
    content = {"teacher": hash_model(directory), "pooling": _pooling(teacher), "recipe": RECIPE, "sif": SIF}
    tokenizer = open_tokenizer(directory / TOKENIZER)
    return StaticEncoder(
        settings,
        location,
        _fingerprint(settings, content),
        lambda: distil(teacher, tokenizer, dims=settings.dims or DIMS, max_length=settings.max_length or MAX_LENGTH),
    )


def open_static_of(artifact: Artifact, settings: EncoderSettings, fingerprint: str) -> StaticEncoder:
    """The static encoder an index keeps; its files are checked against the manifest."""
    directory = artifact.path(f"{FOLDER}/{MODEL}").parent
    for name in (TOKENIZER, CONFIG):
        artifact.path(f"{FOLDER}/{name}")
    return StaticEncoder(settings, str(directory), fingerprint, lambda: read_token_vectors(directory))


def _with_table(settings: EncoderSettings, location: str, fingerprint: str, table: TokenVectors) -> StaticEncoder:
    return StaticEncoder(settings, location, fingerprint, lambda: table)


def has_static(artifact: Artifact) -> bool:
    """Whether an index keeps a static encoder."""
    return any(entry.name == f"{FOLDER}/{MODEL}" for entry in artifact.manifest.files)


class _Pieces:
    """Texts as pieces whose tokens are known: what stands between spaces and ASCII punctuation, each cut up once.

    Only a tokenizer of BERT's kind cuts there itself, whatever is around; to any other the whole text is a piece.
    """

    def __init__(self, table: TokenVectors) -> None:
        self._tokenizer = table.tokenizer
        described = json.loads(table.tokenizer.to_str())
        self._cuts = (
            (described["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
            and (described["normalizer"] or {"type": "BertNormalizer"}).get("type") == "BertNormalizer"
            and not described["added_tokens"]
        )
        lengths = [len(token) for token in table.tokenizer.get_vocab()]
        self.most_characters = table.max_length * max(int(np.median(lengths)), 1)  # as model2vec cuts long texts
        self._known: dict[str, int] = {}
        self._starts, self._tokens = np.zeros(1, np.int64), np.zeros(0, np.int32)

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Text i is pieces[text_starts[i]:text_starts[i + 1]], piece p is tokens[starts[p]:starts[p + 1]]."""
        pieces = _strings(texts)
        if self._cuts:
            pieces = pc.split_pattern(pc.replace_substring_regex(pieces, r"([!-/:-@\[-`{-~])", r" \1 "), " ")
            counts, pieces = pc.list_value_length(pieces).to_numpy(), pieces.flatten()
        else:
            counts = np.ones(len(texts), np.int64)
            self._forget()
        encoded = pieces.dictionary_encode()
        numbers = self._numbers(encoded.dictionary.to_pylist())
        text_starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        return text_starts, numbers[encoded.indices.to_numpy()], self._starts, self._tokens

    def _numbers(self, pieces: list[str]) -> np.ndarray:
        if len(self._known) + len(pieces) > _MOST_PIECES:
            self._forget()
        new = [piece for piece in pieces if piece not in self._known]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(new, add_special_tokens=False)]
        ends = self._starts[-1] + np.cumsum([len(of_piece) for of_piece in ids], dtype=np.int64)
        self._known.update(zip(new, range(len(self._known), len(self._known) + len(new)), strict=True))
        self._starts = np.concatenate([self._starts, ends])
        self._tokens = np.concatenate([self._tokens, np.fromiter(chain.from_iterable(ids), np.int32)])
        return np.fromiter((self._known[piece] for piece in pieces), np.int64, len(pieces))

    def _forget(self) -> None:
        self._known = {}
        self._starts, self._tokens = np.zeros(1, np.int64), np.zeros(0, np.int32)


@njit(nogil=True, cache=True)
def _add_up(table, tokens, starts, pieces, text_starts, most, vectors):  # type: ignore[no-untyped-def]
    """Fill `vectors` with the unit vectors of texts: the sum of the first `most` tokens, one after another."""
    axes = vectors.shape[1]
    for text in range(len(vectors)):
        for axis in range(axes):
            vectors[text, axis] = 0
        left = most
        for place in range(text_starts[text], text_starts[text + 1]):
            start = starts[pieces[place]]
            stop = min(starts[pieces[place] + 1], start + left)
            left -= stop - start
            for at in range(start, stop):
                token = tokens[at]
                for axis in range(axes):
                    vectors[text, axis] += table[token, axis]
        square = 0.0
        for axis in range(axes):
            square += np.float64(vectors[text, axis]) ** 2
        scale = 1 / np.sqrt(square) if square > 0 else 0.0
        for axis in range(axes):
            vectors[text, axis] *= scale


def _resolved(settings: EncoderSettings, directory: Path, max_length: int) -> EncoderSettings:
    """With nothing left open, and no word of where the model lies."""
    model = settings.model.removeprefix(PREFIX)
    return replace(
        settings,
        model=PREFIX + (directory.name if Path(model).expanduser().is_dir() else model),
        dtype="float32",
        max_length=min(settings.max_length or max_length, max_length),
        query_prompt=settings.query_prompt or "",
        passage_prompt=settings.passage_prompt or "",
    )


def _fingerprint(settings: EncoderSettings, content: Json) -> str:
    """Equal fingerprints, equal vectors: 32 hex digits over all that changes one."""
    described = asdict(settings) | {"model": content, "normalisation": "l2"}
    return hashlib.sha256(canonical_json(described)).hexdigest()[:32]


def _strings(texts: Sequence[str]) -> pa.Array:
    try:
        return pa.array(texts, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowException):
        raise BadInput("A text is not Unicode: expected strings without lone surrogates") from None
