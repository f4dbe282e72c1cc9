"""What the indexer's tests share: a store, small corpora, an encoder that behaves, a model that loads."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from contract.store import Store
from indexer.corpus import CorpusSettings, build_corpus

LINE = "play some jazz what is the weather in paris tomorrow set an alarm for seven book a table near me"
WORDS = LINE.split()


class HashingEncoder:
    """An encoder that behaves: a text's vector is made of its words' hashes, so that equal words are near."""

    dim = 16
    fingerprint = "hashing"

    def __init__(self, fail_after: int | None = None) -> None:
        self.left = fail_after

    def encode(self, texts, *, kind):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise InterruptedError("the machine went away")
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                vectors[row] += np.random.default_rng(seed).normal(size=self.dim)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "artifacts")


def sentences(n: int, seed: int = 0) -> list[str]:
    """n different sentences of four to nine words."""
    draw = np.random.default_rng(seed)
    return [f"{' '.join(draw.choice(WORDS, draw.integers(3, 9)))} {number}" for number in range(n)]


def make_corpus(store: Store, folder: Path, texts: list[str], name: str = "c", shard_passages: int = 40):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = CorpusSettings(min_words=1, shard_passages=shard_passages)
    return build_corpus(store, name, [str(folder / "docs.jsonl")], settings)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A BERT of 2 x 32 with random weights and a real tokenizer: it loads and encodes as any encoder does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *sorted(set(WORDS))]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(tokens)) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(set(tokens)), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
