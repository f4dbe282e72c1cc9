"""Small models for augmentation: two translators made by hand, and a masked language model trained in seconds."""

from __future__ import annotations

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertForMaskedLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from distill.models.pretrained import quiet
from tests.distill.masked_lms import WORDS, make_masked_lm, make_tokenizer
from tests.distill.tiny import FILLER, TOPICS

HERE = [*" ".join([*TOPICS.values(), FILLER]).split()]
MEANT = {word: f"{word[::-1]}o" for word in HERE}  # the other language
# What comes back is another word of the same topic, where there is one.
BACK = {
    MEANT[word]: of[(of.index(word) + 1) % len(of)]
    for of in (*(words.split() for words in TOPICS.values()), FILLER.split())
    for word in of
}
PLACES = 24
MARKS = ["<pad>", "<s>", "</s>", "<unk>"]


def make_translators(directory: Path) -> tuple[Path, Path]:
    """The tiny world's language into another, and back into its own by other words."""
    there = _made(directory / "there", MEANT)
    return there, _made(directory / "back", BACK)


def make_trained_lm(directory: Path) -> Path:
    """A masked language model that knows which words go together."""
    make_masked_lm(directory)
    model = BertForMaskedLM.from_pretrained(directory)
    number = {word: index for index, word in enumerate(WORDS)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    draw = random.Random(0)
    topics = [words.split() for words in TOPICS.values()]
    model.train()
    for _ in range(80):
        texts = [draw.sample(draw.choice(topics), 2) + draw.sample(FILLER.split(), 2) for _ in range(64)]
        ids = torch.tensor([[2, *(number[word] for word in text), 3] for text in texts])
        hidden = ids.clone()
        hidden[:, 1] = number["[MASK]"]
        logits = model(input_ids=hidden).logits[:, 1]
        loss = F.cross_entropy(logits, ids[:, 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with quiet():
        model.save_pretrained(directory)
        make_tokenizer().save_pretrained(directory)
    return directory


def _made(directory: Path, means: dict[str, str]) -> Path:
    """A BART that says, word for word, what each word means; nothing in it was learnt.

    A state has one number for each place and one for each word. The decoder at a place attends to the encoder at that
    place and takes over what its word means. Drawn, it says another word now and then.
    """
    tokenizer = _tokenizer([*means, *means.values()])
    words, width = len(tokenizer), PLACES + len(tokenizer)
    with torch.no_grad():
        model = BartForConditionalGeneration(
            BartConfig(
                vocab_size=words,
                d_model=width,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=1,
                decoder_attention_heads=1,
                encoder_ffn_dim=1,
                decoder_ffn_dim=1,
                max_position_embeddings=PLACES,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=2,
            )
        )
        for name, parameter in model.named_parameters():
            parameter.fill_(float("norm" in name and name.endswith("weight")))
        model.model.shared.weight[:, PLACES:] = torch.eye(words)
        for side in (model.model.encoder, model.model.decoder):
            side.embed_positions.weight[2:, :PLACES] = torch.eye(PLACES)
        attention = model.model.decoder.layers[0].encoder_attn
        places = torch.arange(PLACES)
        attention.q_proj.weight[places, places] = 10.0
        attention.k_proj.weight[places, places] = 1.0
        attention.out_proj.weight[:] = torch.eye(width)
        for word in range(words):
            spelt = tokenizer.convert_ids_to_tokens(word)
            meant = tokenizer.convert_tokens_to_ids(means.get(spelt, spelt))
            attention.v_proj.weight[PLACES + meant, PLACES + word] = 2.0
    with quiet():
        model.generation_config = GenerationConfig(
            decoder_start_token_id=2, pad_token_id=0, bos_token_id=1, eos_token_id=2
        )
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    known = [*MARKS, *dict.fromkeys(words)]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(known)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
