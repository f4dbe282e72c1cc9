"""The vocabulary of a student, trimmed to the pieces that its texts need: another tokenizer, cut like the whole one.

What stays: special tokens, single characters (so that nothing becomes unknown that was not), and the pieces its texts
are cut into, the most frequent first. Those texts are cut as before, unless a size was asked for; other words fall back
to smaller pieces. Texts come in parts, transfer set and training rows, which count alike however many texts they have:
among a thousand neighbours the task's own words would be rare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from contract.errors import BadInput
from distill.reporting.outcome import VocabularyFacts
from distill.students.pieces import Pieces, pieces_of

CHUNK = 4096  # texts cut at a time

Text = tuple[str, str | None]  # a text, and its second sentence if it has one


@dataclass(frozen=True)
class Vocabulary:
    """A trimmed tokenizer: its token i is token `kept[i]` of the `whole` one."""

    tokenizer: Any
    kept: npt.NDArray[np.int64]
    whole: Any

    def facts(self, texts: Sequence[Text], *, width: int) -> VocabularyFacts:
        """What a report says of it; `texts` are the test's, and each piece costs `width` numbers."""
        pieces, of = len(self.kept), len(self.whole)
        return VocabularyFacts(pieces, of, (of - pieces) * width, changed_share(self.whole, self.tokenizer, texts))


def trim_vocabulary(tokenizer: Any, parts: Sequence[Iterable[Text]], size: int | None) -> Vocabulary:
    """The tokenizer with the pieces that the texts of all parts need, at most `size` of them.

    BadInput when `size` does not hold what must stay, or when a tokenizer knows no smaller pieces to fall back to.
    """
    rust = _without_limits(tokenizer)
    settings = json.loads(rust.to_str())
    pieces = pieces_of(settings)
    kept = _choose(pieces, _frequencies(rust, parts, pieces.end), size)
    return Vocabulary(_rebuilt(tokenizer, settings, pieces, kept), kept, tokenizer)


def changed_share(whole: Any, trimmed: Any, texts: Sequence[Text]) -> float:
    """The share of the whole tokenizer's tokens of `texts` that the trimmed one cuts otherwise, or does not know."""
    changed = total = 0
    before, after = (_without_limits(each) for each in (whole, trimmed))
    for some in _chunks(texts):
        for one, other in zip(before.encode_batch(some), after.encode_batch(some), strict=True):
            same = {*zip(other.tokens, other.offsets, other.sequence_ids, strict=True)}
            total += len(one.tokens)
            changed += sum(each not in same for each in zip(one.tokens, one.offsets, one.sequence_ids, strict=True))
    return changed / total if total else 0.0


def _choose(pieces: Pieces, frequencies: npt.NDArray[np.float64], size: int | None) -> npt.NDArray[np.int64]:
    """The tokens that stay, in the order of their numbers."""
    kept = set(pieces.always)
    if size is not None and size < len(kept):
        raise BadInput(
            f"student.vocabulary is {size:,}, but special tokens and single characters alone, without which texts "
            f"would become unknown, are {len(kept):,}; ask for more"
        )
    used = np.flatnonzero(frequencies)
    for token in used[np.argsort(-frequencies[used], kind="stable")].tolist():
        needed = pieces.with_parts(token) - kept
        if size is not None and len(kept) + len(needed) > size:
            break
        kept |= needed
    return np.array(sorted(kept), np.int64)


def _frequencies(rust: Tokenizer, parts: Sequence[Iterable[Text]], tokens: int) -> npt.NDArray[np.float64]:
    """The share of each token in the parts, added up, (tokens,)."""
    counts = (_counts(rust, texts, tokens) for texts in parts)
    return sum((each / max(1, each.sum()) for each in counts), np.zeros(tokens))


def _counts(rust: Tokenizer, texts: Iterable[Text], tokens: int) -> npt.NDArray[np.int64]:
    """How often each token stands in the texts, however long they are, (tokens,)."""
    counts = np.zeros(tokens, np.int64)
    for some in _chunks(texts):
        for encoding in rust.encode_batch(some):
            np.add.at(counts, np.array(encoding.ids, np.int64), 1)
    return counts


def _chunks(texts: Iterable[Text]) -> Iterable[list[Any]]:
    rest = iter(texts)
    while some := list(islice(rest, CHUNK)):
        yield [text if pair is None else (text, pair) for text, pair in some]


def _without_limits(tokenizer: Any) -> Tokenizer:
    """A copy of the inner tokenizer that neither cuts nor pads."""
    rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    rust.no_truncation()
    rust.no_padding()
    return rust


def _rebuilt(tokenizer: Any, settings: dict[str, Any], pieces: Pieces, kept: npt.NDArray[np.int64]) -> Any:
    """The tokenizer of the kept pieces: an ordinary fast one, as `AutoTokenizer` opens."""
    number = {int(token): index for index, token in enumerate(kept)}
    settings["model"] = pieces.model_of(number)
    settings["added_tokens"] = [{**added, "id": number[added["id"]]} for added in settings["added_tokens"]]
    settings["post_processor"] = _renumbered(settings["post_processor"], number)
    settings["truncation"] = settings["padding"] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(settings, ensure_ascii=False)),
        model_max_length=tokenizer.model_max_length,
        model_input_names=list(tokenizer.model_input_names),
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        **tokenizer.special_tokens_map,
    )


def _renumbered(processor: Any, number: Mapping[int, int]) -> Any:
    """A post-processor, which names special tokens by their numbers too: in "ids", or as [text, number]."""
    if isinstance(processor, list):
        is_named = len(processor) == 2 and isinstance(processor[0], str) and isinstance(processor[1], int)
        return [processor[0], number[processor[1]]] if is_named else [_renumbered(each, number) for each in processor]
    if not isinstance(processor, dict):
        return processor
    return {
        key: [number[token] for token in value] if key == "ids" else _renumbered(value, number)
        for key, value in processor.items()
    }
