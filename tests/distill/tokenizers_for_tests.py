"""Tokenizers that cut words each in its own way, trained in a moment on a few sentences."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "wake me up at seven o'clock tomorrow morning",
    "play some jazz by miles davis, please",
    "wie wird das wetter in münchen am samstag",
    "book a table for two at 7:30 pm",
]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def word_pieces() -> Any:
    """BERT's way: lower case, without accents, ## before what goes on."""
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(inner, trainers.WordPieceTrainer(vocab_size=160, special_tokens=SPECIALS))


def byte_pairs() -> Any:
    """GPT's and RoBERTa's way: bytes, a blank belongs to the word after it, a letter may be two tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(
        inner, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=sorted(alphabet))
    )


def unigrams() -> Any:
    """XLM-R's way: sentence pieces, with a mark for the blank, after NFKC."""
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return _trained(inner, trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIALS, unk_token="[UNK]"))


def letters() -> Any:
    """Every character for itself."""
    inner = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return _trained(inner, trainers.WordLevelTrainer(special_tokens=SPECIALS))


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "word pieces": cache(word_pieces),
    "byte pairs": cache(byte_pairs),
    "unigrams": cache(unigrams),
    "letters": cache(letters),
}


def _trained(inner: Tokenizer, trainer: Any) -> Any:
    trainer.show_progress = False
    inner.train_from_iterator(SENTENCES, trainer)
    inner.post_processor = processors.BertProcessing(
        ("[SEP]", inner.token_to_id("[SEP]")), ("[CLS]", inner.token_to_id("[CLS]"))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")},
        model_input_names=["input_ids", "attention_mask"],
    )
