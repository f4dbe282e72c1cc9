"""Pieces: what a tokenizer's vocabulary is made of, by the kind of its model, and what of it cannot be done without."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from contract.errors import BadInput

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # what a character without a piece falls back to, where there is such a thing


class Pieces(ABC):
    """The pieces of a tokenizer's model (as in tokenizer.json) and of what was added to it, by their numbers."""

    def __init__(self, model: dict[str, Any], added: frozenset[int]) -> None:
        self.model = model
        self.added = added
        self.numbers = self._numbers()

    @property
    def always(self) -> frozenset[int]:
        """What must stay: what was added, what stands for the unknown, and all that smaller pieces do not make up."""
        smallest = {number for piece, number in self.numbers.items() if self._is_smallest(piece)}
        whole = {*self.added, *self._unknown(), *smallest}
        return frozenset().union(*(self.with_parts(token) for token in whole))

    @property
    def end(self) -> int:
        """One more than the highest number."""
        return 1 + max((*self.numbers.values(), *self.added))

    def with_parts(self, token: int) -> set[int]:
        """A token, and those that the model makes it of."""
        return {token}

    @abstractmethod
    def model_of(self, number: Mapping[int, int]) -> dict[str, Any]:
        """The model with the tokens in `number` alone, under their new numbers."""

    @abstractmethod
    def characters(self, piece: str) -> list[str]:
        """The smallest pieces that say the same."""

    def _numbers(self) -> dict[str, int]:
        numbers: dict[str, int] = self.model["vocab"]
        return numbers

    def _unknown(self) -> set[int]:
        piece = self.model.get("unk_token")
        return {self.numbers[piece]} if piece in self.numbers else set()

    def _is_smallest(self, piece: str) -> bool:
        """A single character, a byte, or a piece with a character that is no piece itself."""
        if self.model.get("byte_fallback") and _BYTE.fullmatch(piece):
            return True
        characters = self.characters(piece)
        return len(characters) == 1 or any(character not in self.numbers for character in characters)

    def _vocab_of(self, number: Mapping[int, int]) -> dict[str, int]:
        kept = sorted((number[old], piece) for piece, old in self.numbers.items() if old in number)
        return {piece: new for new, piece in kept}


class WordPieces(Pieces):
    """BERT's: the longest piece that fits, from the left; what goes on in a word has a prefix."""

    def characters(self, piece: str) -> list[str]:
        prefix: str = self.model["continuing_subword_prefix"]
        inside = piece.startswith(prefix) and piece != prefix
        text = piece[len(prefix) :] if inside else piece
        return [prefix + character if inside or place else character for place, character in enumerate(text)]

    def model_of(self, number: Mapping[int, int]) -> dict[str, Any]:
        return {**self.model, "vocab": self._vocab_of(number)}


class BytePairs(Pieces):
    """GPT's and RoBERTa's: characters or bytes, merged pair by pair; a piece needs those it is merged of."""

    def __init__(self, model: dict[str, Any], added: frozenset[int]) -> None:
        super().__init__(model, added)
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._merges = [tuple(each.split(" ") if isinstance(each, str) else each) for each in model["merges"]]
        self._parts: dict[int, set[int]] = defaultdict(set)
        for left, right in self._merges:
            self._parts[self._merged(left, right)] |= {self.numbers[left], self.numbers[right]}

    def characters(self, piece: str) -> list[str]:
        suffix = self.model.get("end_of_word_suffix") or ""
        ends = bool(suffix) and piece.endswith(suffix) and piece != suffix
        text = piece[: len(piece) - len(suffix)] if ends else piece
        inside = bool(self._prefix) and text.startswith(self._prefix) and text != self._prefix
        text = text[len(self._prefix) :] if inside else text
        smallest = [self._prefix + one if inside or place else one for place, one in enumerate(text)]
        return [*smallest[:-1], smallest[-1] + suffix] if ends else smallest

    def with_parts(self, token: int) -> set[int]:
        found, to_see = {token}, [token]
        while to_see:
            fresh = self._parts.get(to_see.pop(), set()) - found
            found |= fresh
            to_see += fresh
        return found

    def model_of(self, number: Mapping[int, int]) -> dict[str, Any]:
        merges = [
            [left, right]
            for left, right in self._merges
            if {self.numbers[left], self.numbers[right], self._merged(left, right)} <= number.keys()
        ]
        return {**self.model, "vocab": self._vocab_of(number), "merges": merges}

    def _merged(self, left: str, right: str) -> int:
        return self.numbers[left + right.removeprefix(self._prefix)]


class Unigrams(Pieces):
    """XLM-R's and T5's: the likeliest way to cut a word."""

    def characters(self, piece: str) -> list[str]:
        return list(piece)

    def model_of(self, number: Mapping[int, int]) -> dict[str, Any]:
        unknown = self.model.get("unk_id")
        vocab = [scored for old, scored in enumerate(self.model["vocab"]) if old in number]
        return {**self.model, "vocab": vocab, "unk_id": None if unknown is None else number[unknown]}

    def _numbers(self) -> dict[str, int]:
        return {piece: number for number, (piece, _) in enumerate(self.model["vocab"])}

    def _unknown(self) -> set[int]:
        unknown = self.model.get("unk_id")
        return set() if unknown is None else {unknown}


_KINDS: dict[str, type[Pieces]] = {"WordPiece": WordPieces, "BPE": BytePairs, "Unigram": Unigrams}


def pieces_of(settings: Mapping[str, Any]) -> Pieces:
    """The pieces of a tokenizer's settings; BadInput when its model has none to fall back to."""
    kind = settings["model"]["type"]
    if kind not in _KINDS:
        raise BadInput(
            f"A vocabulary can be trimmed where words fall back to smaller pieces ({', '.join(sorted(_KINDS))}), "
            f'found a tokenizer of {kind}; leave student.vocabulary = "teacher"'
        )
    return _KINDS[kind](settings["model"], frozenset(added["id"] for added in settings["added_tokens"]))
