"""A masked language model for the tests: the tiny world's words, a token to hide others with, and a head."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from distill.models.pretrained import quiet
from tests.distill.tiny import FILLER, SPECIALS, TOPICS

WORDS = [*SPECIALS, "[MASK]", *" ".join([*TOPICS.values(), FILLER]).split()]


def make_tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_masked_lm(directory: Path, *, with_head: bool = True, width: int = 32, seed: int = 0) -> Path:
    """A BERT of random weights, as transformers saves it, with its head for masked tokens or without."""
    torch.manual_seed(seed)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=64,
        )
    )
    with quiet():
        (model if with_head else model.bert).save_pretrained(directory)
        make_tokenizer().save_pretrained(directory)
    return directory
