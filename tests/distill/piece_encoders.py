"""Encoders whose tokenizers cut the tiny world's words into pieces, each in its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from distill.models.pretrained import quiet
from tests.distill.tiny import FILLER, SPECIALS, TOPICS

Cut = Literal["word pieces", "byte pairs", "unigrams"]
CUTS: tuple[Cut, ...] = ("word pieces", "byte pairs", "unigrams")
WORLD = " ".join([*TOPICS.values(), FILLER]).split()


def make_tokenizer(cut: Cut, size: int = 90, words: list[str] | None = None) -> Any:
    """A tokenizer of at most so many pieces, trained on the words of the world."""
    inner, trainer = _untrained(cut, size)
    trainer.show_progress = False
    inner.train_from_iterator(words or WORLD, trainer)
    ends = (("[SEP]", inner.token_to_id("[SEP]")), ("[CLS]", inner.token_to_id("[CLS]")))
    inner.post_processor = processors.BertProcessing(*ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_piece_encoder(
    directory: Path, cut: Cut = "word pieces", *, width: int = 24, layers: int = 2, seed: int = 1, size: int = 90
) -> Path:
    """A BERT of random weights with such a tokenizer, as transformers saves it."""
    tokenizer = make_tokenizer(cut, size)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quiet():
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def _untrained(cut: Cut, size: int) -> tuple[Tokenizer, Any]:
    if cut == "word pieces":
        inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        inner.normalizer = normalizers.BertNormalizer(lowercase=True)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return inner, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIALS)
    if cut == "byte pairs":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        return inner, trainers.BpeTrainer(vocab_size=size + 256, special_tokens=SPECIALS, initial_alphabet=alphabet)
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return inner, trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIALS, unk_token="[UNK]")
