"""Token vectors: what each token of a vocabulary stands for, distilled from an encoder, and their files.

The files are those of model2vec (model.safetensors, tokenizer.json, config.json): its StaticModel opens what is written
here and gives the same vectors, and what it wrote is read here. Read and written by `indexer.encoders.static`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contract.errors import BadInput, MissingExtra
from contract.manifest import canonical_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

MODEL, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"
MAX_LENGTH = 512  # tokens of a text, as model2vec has it
SIF = 1e-4  # weight of a token: SIF / (SIF + its frequency), which Zipf's law guesses from its place in the vocabulary
RECIPE = 1  # the number of this way of distilling: another way gives other vectors, and another fingerprint
_ANY_LENGTH = 2**31 - 1
_UNUSED = re.compile(r"\[unused\d+\]")
_TOKENS_AT_ONCE = 256  # always so many in a batch of the teacher: its last bit may follow the shape of a batch


@dataclass(frozen=True)
class TokenVectors:
    """A static model: what a tokenizer's tokens stand for, (tokens, dim) float32; zeros for one that says nothing."""

    vectors: np.ndarray
    tokenizer: Tokenizer
    max_length: int = MAX_LENGTH


def is_static(directory: Path) -> bool:
    """Whether a folder holds a static model in the form of model2vec."""
    from safetensors import SafetensorError, safe_open

    if not all((directory / name).is_file() for name in (MODEL, TOKENIZER, CONFIG)):
        return False
    try:
        with safe_open(directory / MODEL, framework="np") as file:
            return "embeddings" in file.keys()  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _no_static_model(directory, f"{MODEL}: {str(error)[:100]}") from error


def distil(teacher: SentenceTransformer, tokenizer: Tokenizer, *, dims: int, max_length: int) -> TokenVectors:
    """Every token of a model's vocabulary encoded alone, laid on its principal axes, weighted by its rank.

    The same to the bit on one machine: batches of one shape, one thread, the axes' signs settled.
    """
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    special = set(tokenizer.get_added_tokens_decoder())
    kept = np.array([number for token, number in vocabulary if number not in special and not _UNUSED.match(token)])
    with _one_thread():
        encoded = _encoded_tokens(teacher, tokenizer, kept)
        laid = _principal(encoded, dims)
    vectors = np.zeros((vocabulary[-1][1] + 1, laid.shape[1]), np.float32)
    # Rounded as they are stored: what is distilled and what is read back are one table.
    vectors[kept] = (laid * _weights(len(kept))[:, None]).astype(np.float16)
    return TokenVectors(vectors, _without_added_tokens(tokenizer), max_length)


def write_token_vectors(table: TokenVectors, paths: Sequence[Path]) -> None:
    """A table as model2vec's files, in the order of MODEL, TOKENIZER, CONFIG."""
    from safetensors.numpy import save

    model, tokenizer, config = paths
    halves = table.vectors.astype(np.float16)
    stored = halves if np.array_equal(halves, table.vectors) else table.vectors
    model.write_bytes(save({"embeddings": stored}))
    tokenizer.write_text(table.tokenizer.to_str(pretty=False), encoding="utf-8")
    described = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "hidden_dim": table.vectors.shape[1],
        "embedding_dtype": stored.dtype.name,
        "normalize": True,
        "pooling": "mean",
        "max_length": table.max_length,
        "seq_length": 1_000_000,
    }
    config.write_bytes(canonical_json(described))


def read_token_vectors(directory: Path) -> TokenVectors:
    """A static model from model2vec's files; BadInput when they are not what it writes."""
    tensors = _tensors(directory / MODEL)
    tokenizer = open_tokenizer(directory / TOKENIZER)
    try:
        stated = json.loads((directory / CONFIG).read_bytes()).get("max_length", MAX_LENGTH)
        max_length = _ANY_LENGTH if stated is None else int(stated)
        vectors = tensors["embeddings"].astype(np.float32)
        if "mapping" in tensors:
            vectors = vectors[tensors["mapping"]]
        if "weights" in tensors:
            vectors = vectors * tensors["weights"].astype(np.float32)[:, None]
        unknown = _unknown_token(tokenizer)
        if unknown is not None:
            vectors[unknown] = 0
        is_table = vectors.ndim == 2 and bool(np.isfinite(vectors).all())
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _no_static_model(directory, f"{type(error).__name__}: {str(error)[:100]}") from error
    tokens = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if not is_table or len(vectors) < tokens or max_length < 1:
        found = f"its table is of shape {vectors.shape} for {tokens} tokens, its max_length {max_length}"
        raise _no_static_model(directory, found)
    return TokenVectors(vectors, tokenizer, max_length)


def _encoded_tokens(teacher: SentenceTransformer, tokenizer: Tokenizer, tokens: np.ndarray) -> np.ndarray:
    """The model's own pooling over each token between its special ones, not normalised, (n, width) float32."""
    import torch

    steps = [module for module in teacher if type(module).__name__ != "Normalize"]
    around = tokenizer.encode("a")
    first = around.special_tokens_mask.index(0)
    last = len(around.ids) - around.special_tokens_mask[::-1].index(0)
    encoded = []
    for start in range(0, len(tokens), _TOKENS_AT_ONCE):
        batch = [[*around.ids[:first], token, *around.ids[last:]] for token in tokens[start:][:_TOKENS_AT_ONCE]]
        size = len(batch)
        batch += batch[:1] * (_TOKENS_AT_ONCE - size)
        numbers = torch.tensor(np.array(batch, np.int64), device=teacher.device)
        features = {"input_ids": numbers, "attention_mask": torch.ones_like(numbers)}
        with torch.inference_mode():
            for step in steps:
                features = step(features)
        encoded.append(features["sentence_embedding"].float().cpu().numpy()[:size])
    return np.concatenate(encoded)


def _principal(vectors: np.ndarray, dims: int) -> np.ndarray:
    """The vectors about their mean on their `dims` main axes, (n, dims) float64; the largest of an axis is positive."""
    import torch  # its one thread is the one that was asked for; numpy's library has threads of its own

    centred = torch.from_numpy(vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64))
    _, axes = torch.linalg.eigh(centred.T @ centred)
    laid: np.ndarray = (centred @ axes.flip(1)[:, :dims]).numpy()
    largest = laid[np.abs(laid).argmax(axis=0), np.arange(laid.shape[1])]
    return laid * np.where(largest < 0, -1.0, 1.0)


def _weights(tokens: int) -> np.ndarray:
    """How much each token says, the most frequent first: by Zipf's law, as model2vec has it."""
    frequencies = 1 / np.arange(2, tokens + 2)
    weights: np.ndarray = SIF / (SIF + frequencies / frequencies.sum())
    return weights


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over two threads round otherwise than over one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, np.ndarray] = load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:
        raise _no_static_model(path.parent, f"{path.name}: {str(error)[:100]}") from error
    return tensors


def open_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that neither pads nor cuts: how long a text may be, the table says."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra(
            f"A static encoder needs tokenizers ({error}); pip install 'transferset[indexer]'"
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise _no_static_model(path.parent, f"{path.name}: {str(error)[:100]}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, to which "[CLS]" in a text is a word like others, and which puts nothing around a text."""
    described = json.loads(tokenizer.to_str())
    return type(tokenizer).from_str(json.dumps(described | {"added_tokens": [], "post_processor": None}))


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    """The number of the token for what no token stands for: it says nothing of a text."""
    model = json.loads(tokenizer.to_str())["model"]
    token = model.get("unk_token")
    number: int | None = model.get("unk_id") if token is None else tokenizer.token_to_id(token)
    return number


def _no_static_model(directory: Path, what: str) -> BadInput:
    return BadInput(
        f"{directory} holds no static model this version can read ({what}); expected {MODEL}, {TOKENIZER} and {CONFIG} "
        "as model2vec writes them"
    )
