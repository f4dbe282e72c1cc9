"""Translators as the hub has them: Marian's, whose tokenizer is two sentencepiece models beside a vocabulary."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import sentencepiece
from transformers import MarianConfig, MarianMTModel

from contract.errors import MissingExtra
from distill.augmentation.translation import Translator
from distill.models.device import Device
from distill.models.pretrained import content_hash, quiet
from tests.distill.tiny import FILLER, TOPICS

CPU = Device("cpu", "float32")
PIECES = 40


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("marian")
    words = [*" ".join([*TOPICS.values(), FILLER]).split()]
    vocabulary = {"</s>": 0, "<unk>": 1}
    for side in ("source", "target"):
        with (directory / f"{side}.spm").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(words), model_writer=file, vocab_size=PIECES, minloglevel=2
            )
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(directory / f"{side}.spm"))
        for number in range(pieces.get_piece_size()):
            vocabulary.setdefault(pieces.id_to_piece(number), len(vocabulary))
    vocabulary["<pad>"] = len(vocabulary)
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    config = MarianConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        pad_token_id=vocabulary["<pad>"],
        eos_token_id=0,
        decoder_start_token_id=vocabulary["<pad>"],
    )
    with quiet():
        MarianMTModel(config).save_pretrained(directory)
    return directory


def test_a_marian_model_translates(marian: Path) -> None:
    texts = [" ".join(words.split()[:3]) for words in TOPICS.values()]
    made = Translator(marian, CPU)(texts, None)
    assert len(made) == len(texts)
    assert all(isinstance(text, str) for text in made)
    assert made == Translator(marian, CPU)(texts, None)


def test_its_pieces_are_of_what_it_is_known_by(marian: Path, tmp_path: Path) -> None:
    for path in marian.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert content_hash(tmp_path) == content_hash(marian)
    (tmp_path / "source.spm").write_bytes(b"another")
    assert content_hash(tmp_path) != content_hash(marian)


def test_without_sentencepiece_it_says_what_to_install(marian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtra, match=r"transferset\[translation\]"):
        Translator(marian, CPU)
