"""A trimmed vocabulary: its texts are cut as before, nothing becomes unknown, and it is an ordinary tokenizer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from contract.errors import BadInput
from distill.students.vocabulary import Text, changed_share, trim_vocabulary
from tests.distill.piece_encoders import CUTS, WORLD, Cut, make_tokenizer
from tests.distill.tiny import SPECIALS, utterances
from tests.distill.tokenizers_for_tests import SENTENCES, letters

TEXTS: list[Text] = [(text, None) for text, _ in utterances(8, 3)]
LONG = [*WORLD, *" ".join(SENTENCES).split()]
anything = st.lists(st.sampled_from(LONG) | st.text("abcdeplaykzäß' 東é", max_size=8), max_size=8).map(" ".join)


@cache
def whole(cut: Cut) -> Any:
    return make_tokenizer(cut, 220, LONG * 3)


def cut_of(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    return tokens


def unknown_characters(tokenizer: Any, text: str) -> set[int]:
    encoded = tokenizer(text, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return {place for token, (start, end) in pairs if token == tokenizer.unk_token_id for place in range(start, end)}


@pytest.mark.parametrize("cut", CUTS)
@given(st.lists(anything, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_texts_it_was_made_for_are_cut_as_before(cut: Cut, texts: list[str]) -> None:
    trimmed = trim_vocabulary(whole(cut), [[(text, None) for text in texts]], None)
    for text in texts:
        assert cut_of(trimmed.tokenizer, text) == cut_of(whole(cut), text)
    assert changed_share(whole(cut), trimmed.tokenizer, [(text, None) for text in texts]) == 0


@pytest.mark.parametrize("cut", CUTS)
@given(st.lists(anything, max_size=3), st.lists(anything, min_size=1, max_size=4), st.integers(0, 40) | st.none())
@settings(max_examples=60, deadline=None)
def test_no_character_becomes_unknown_that_was_not(
    cut: Cut, made_for: list[str], others: list[str], more: int | None
) -> None:
    texts: list[Text] = [(text, None) for text in made_for]
    size = None if more is None else smallest(cut) + more
    trimmed = trim_vocabulary(whole(cut), [texts], size)
    for text in others:
        assert unknown_characters(trimmed.tokenizer, text) <= unknown_characters(whole(cut), text)


@cache
def smallest(cut: Cut) -> int:
    return len(trim_vocabulary(whole(cut), [], None).kept)


@pytest.mark.parametrize("cut", CUTS)
def test_it_is_as_large_as_asked_and_holds_the_most_frequent(cut: Cut) -> None:
    texts: list[Text] = [("lamp lamp lamp", None), ("lamp flight", "lamp"), ("hotel", None)]
    least = smallest(cut)
    for more in range(6):
        trimmed = trim_vocabulary(whole(cut), [texts], least + more)
        assert least <= len(trimmed.kept) == len(trimmed.tokenizer) <= least + more
    fewer = {*trim_vocabulary(whole(cut), [texts], least + 2).kept.tolist()}
    assert fewer < {*trim_vocabulary(whole(cut), [texts], None).kept.tolist()}
    longest = max(cut_of(whole(cut), "lamp"), key=len)
    assert longest in trim_vocabulary(whole(cut), [texts], least + 4).tokenizer.get_vocab()


def test_a_part_of_few_texts_counts_as_much_as_one_of_many() -> None:
    """The task's own words stay, be its neighbours a thousand: by plain counts "lamp" would be the last."""
    neighbours: list[Text] = [("hotel flight ticket", None)] * 1000
    size = smallest("word pieces") + 2
    trimmed = trim_vocabulary(whole("word pieces"), [neighbours, [("lamp", None)]], size)
    assert cut_of(trimmed.tokenizer, "lamp") == cut_of(whole("word pieces"), "lamp")
    alone = trim_vocabulary(whole("word pieces"), [[*neighbours, ("lamp", None)]], size)
    assert cut_of(alone.tokenizer, "lamp") != cut_of(whole("word pieces"), "lamp")


@pytest.mark.parametrize("cut", CUTS)
def test_token_for_token_it_is_part_of_the_whole(cut: Cut) -> None:
    trimmed = trim_vocabulary(whole(cut), [TEXTS], None)
    assert np.all(np.diff(trimmed.kept) > 0)
    for token, old in enumerate(trimmed.kept.tolist()):
        assert trimmed.tokenizer.convert_ids_to_tokens(token) == whole(cut).convert_ids_to_tokens(old)
    for name, text in whole(cut).special_tokens_map.items():
        assert trimmed.tokenizer.special_tokens_map[name] == text
    for text, _ in TEXTS:
        found = trimmed.kept[trimmed.tokenizer(text, "play")["input_ids"]]
        assert found.tolist() == whole(cut)(text, "play")["input_ids"]


@pytest.mark.parametrize("cut", CUTS)
def test_an_ordinary_tokenizer_is_saved(cut: Cut, tmp_path: Path) -> None:
    tokenizer = deepcopy(whole(cut))
    tokenizer.model_max_length = 17
    trimmed = trim_vocabulary(tokenizer, [TEXTS], smallest(cut) + 9).tokenizer
    trimmed.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert opened.is_fast
    for text in (*SENTENCES, "", "some lamp"):
        for pair in (None, "play"):
            assert dict(opened(text, pair)) == dict(trimmed(text, pair))
    assert (opened.model_max_length, len(opened), opened.pad_token_id) == (17, len(trimmed), trimmed.pad_token_id)
    assert opened.model_input_names == tokenizer.model_input_names


@pytest.mark.parametrize("cut", CUTS)
def test_the_order_of_the_texts_does_not_matter_and_nothing_else_does(cut: Cut) -> None:
    turned = TEXTS.copy()
    random.Random(1).shuffle(turned)
    tokenizer = deepcopy(whole(cut))
    tokenizer("remembers how it was used", truncation=True, max_length=4, padding="max_length")
    size = smallest(cut) + 12
    one, other = trim_vocabulary(whole(cut), [TEXTS], size), trim_vocabulary(tokenizer, [turned], size)
    assert one.kept.tolist() == other.kept.tolist()
    assert one.tokenizer.backend_tokenizer.to_str() == other.tokenizer.backend_tokenizer.to_str()


def test_texts_are_read_to_their_end() -> None:
    """However long they are, and whatever the tokenizer was told before about cutting."""
    tokenizer = deepcopy(whole("word pieces"))
    tokenizer("lamp", truncation=True, max_length=4)
    trimmed = trim_vocabulary(tokenizer, [[(" ".join(["a"] * 3000 + ["lamp"]), None)]], None)
    assert cut_of(trimmed.tokenizer, "lamp") == cut_of(whole("word pieces"), "lamp")


def test_what_changed_is_counted_in_tokens() -> None:
    tokenizer = whole("word pieces")
    lamp = cut_of(tokenizer, "lamp")[1:-1]
    trimmed = trim_vocabulary(tokenizer, [], None).tokenizer
    assert cut_of(trimmed, "lamp") == ["[CLS]", "l", "##a", "##m", "##p", "[SEP]"]
    assert len(lamp) < 4
    tokens = 2 + len(lamp) + 1
    assert changed_share(tokenizer, trimmed, [("lamp", "a")]) == pytest.approx(len(lamp) / (tokens + 1))
    assert changed_share(tokenizer, trimmed, []) == 0


def test_its_facts_are_what_was_saved() -> None:
    trimmed = trim_vocabulary(whole("word pieces"), [TEXTS], None)
    facts = trimmed.facts(TEXTS, width=16)
    assert (facts.pieces, facts.of) == (len(trimmed.tokenizer), len(whole("word pieces")))
    assert facts.parameters_saved == 16 * (facts.of - facts.pieces) > 0
    assert facts.changed == 0


@pytest.mark.parametrize("cut", CUTS)
def test_too_few_pieces_are_refused_with_the_least_number(cut: Cut) -> None:
    with pytest.raises(BadInput, match=f"student.vocabulary is 10, but .* are {smallest(cut):,}; ask for more"):
        trim_vocabulary(whole(cut), [TEXTS], 10)


def test_a_tokenizer_without_pieces_is_refused() -> None:
    with pytest.raises(BadInput, match=r"BPE, Unigram, WordPiece.* found a tokenizer of WordLevel; leave"):
        trim_vocabulary(letters(), [TEXTS], None)


# Other tokenizers of the same three kinds


def bytes_of(inner: Tokenizer, trainer: Any, **tokens: str) -> Any:
    trainer.show_progress = False
    inner.train_from_iterator(LONG, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **tokens)


def roberta() -> Any:
    """Bytes, special tokens first, a post-processor that names them in its own way, one token added later."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    special = list(tokens.values())
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    made = bytes_of(inner, trainer, **tokens)
    made.backend_tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.add_tokens(["<account>"])
    return made


def marked_ends() -> Any:
    """A mark at the end of a word, as of the first byte pairs."""
    inner = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=SPECIALS, end_of_word_suffix="</w>")
    return bytes_of(inner, trainer, pad_token="[PAD]", unk_token="[UNK]")


def late_specials() -> Any:
    """Special tokens among the pieces, as BERT's own, named in a template."""
    pieces = ["[PAD]", *"weathrlmpsoy", *(f"##{character}" for character in "weathrlmpsoy"), "weather", "some"]
    pieces += ["[CLS]", "[SEP]", "[UNK]", "lamp", "play", "##er", "漢字"]  # whose characters are no pieces themselves
    numbers = {piece: number for number, piece in enumerate(pieces)}
    inner = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.Sequence(
        [processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def sentence_pieces_in_bytes() -> Any:
    """Unigrams whose unknown characters are bytes."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    pieces += [(character, -5.0) for character in "lampy<0x123456789ABCDEF>"] + [
        ("▁lamp", -1.0),
        ("la", -1.5),
        ("▁play", -1.0),
    ]
    inner = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<unk>")


@pytest.mark.parametrize("make", [roberta, marked_ends, late_specials, sentence_pieces_in_bytes])
def test_tokenizers_of_other_makes_are_trimmed_too(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    texts: Sequence[str] = ["play some lamp", "lamp <account>", "lamp"]
    trimmed = trim_vocabulary(tokenizer, [[(text, None) for text in texts]], None)
    assert len(trimmed.kept) < len(tokenizer)
    trimmed.tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert cut_of(opened, text) == cut_of(tokenizer, text)
        for pair in (None, "lamp"):
            assert trimmed.kept[opened(text, pair)["input_ids"]].tolist() == tokenizer(text, pair)["input_ids"]
    for text in ("weather", "Zürich 漢字", "lam", "mapl"):
        assert unknown_characters(opened, text) <= unknown_characters(tokenizer, text)
    assert opened.special_tokens_map == tokenizer.special_tokens_map
