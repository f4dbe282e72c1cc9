"""Held-out text: what of a transfer set equals or comes near an utterance that tests the student (law 7).

Three tests, cheapest first. *Exact*: equal after folding. *n-gram*: enough of a held-out utterance's word n-grams
stand in the passage, whatever else stands there. *Cosine*: the encoder puts both in nearly one place. The papers say
nothing of leaks, so n, the thresholds and the least length are ours, and settings.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from service.neighbours import Encoder

CLEAR, EXACT, NGRAM, COSINE = range(4)  # verdicts on a text
_WORD = re.compile(r"\w+")
_APOSTROPHES = str.maketrans("", "", "'’ʼ`´")
_COSINE_BATCH = 1024  # passages compared with all held-out vectors at once

Gram = tuple[str, ...]


class HeldoutSettings(BaseModel):
    """When a text is too near to held-out text. Equal text always is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ngram: int = Field(default=3, ge=1, le=20, description="words in an n-gram")
    containment: float = Field(
        default=0.75, gt=0, le=1, description="share of an utterance's n-grams that makes a leak"
    )
    min_words: int = Field(default=5, ge=1, description="of shorter utterances ('yes', 'thank you') only equals leak")
    cosine: float | None = Field(
        default=None, gt=0, le=1, description="cosine that makes a leak; asks the index's encoder"
    )


@dataclass(frozen=True)
class Folded:
    """A text as its duplicates see it: its words, and these as one string; folding is most of the work of judging."""

    text: str
    words: Sequence[str]

    @staticmethod
    def of(text: str) -> Folded:
        words = folded_words(text)
        return Folded(" ".join(words) or " ".join(text.split()), words)


def folded_words(text: str) -> list[str]:
    """The words of a text, folded so that case, punctuation, white space and spelling of accents do not tell apart."""
    if text.isascii():  # the same, four times as fast
        return _WORD.findall(text.lower().replace("'", "").replace("`", ""))
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return _WORD.findall(plain.translate(_APOSTROPHES))


def folded(text: str) -> str:
    """A text's folded words as one string; a text without words ("?!") stands for itself."""
    return Folded.of(text).text


def texts_of(rows: pa.Table) -> list[str]:
    """Every text of a task table, both of a pair."""
    return [text for name in ("text", "text_pair") for text in rows[name].to_pylist() if text]


def equal_examples(rows: pa.Table, heldout: Iterable[pa.Table]) -> npt.NDArray[np.bool_]:
    """Which of `rows` equal a held-out row after folding; a pair equals when both its texts do."""
    seen = {key for table in heldout for key in _example_keys(table)}
    return np.fromiter((key in seen for key in _example_keys(rows)), bool, rows.num_rows)


@dataclass(frozen=True)
class Heldout:
    """Held-out texts, ready to judge any number of others.

    `postings` leads from an n-gram to the utterances for which it is among the rarest: as an utterance is a leak only
    when `needed` of its n-grams are found, one of its rarest must be, and the common ones need no posting.
    """

    settings: HeldoutSettings
    folded: frozenset[str] = frozenset()
    grams: tuple[frozenset[Gram], ...] = ()
    needed: tuple[int, ...] = ()
    postings: dict[Gram, list[int]] = field(default_factory=dict)
    vectors: npt.NDArray[np.float32] | None = None  # (texts, dim), when cosine is asked for
    encoder: Encoder | None = None

    def judge(self, texts: Sequence[str], folds: Iterable[Folded] | None = None) -> npt.NDArray[np.int8]:
        """CLEAR, EXACT, NGRAM or COSINE for every text; `folds` are the texts folded, where that is done already."""
        folds = map(Folded.of, texts) if folds is None else folds
        verdicts = np.fromiter((self._judge_words(fold) for fold in folds), np.int8, len(texts))
        if self.vectors is not None:
            clear = np.flatnonzero(verdicts == CLEAR)
            verdicts[clear[self._near([texts[i] for i in clear.tolist()])]] = COSINE
        return verdicts

    def _judge_words(self, fold: Folded) -> int:
        if fold.text in self.folded:
            return EXACT
        found = frozenset(_grams(fold.words, self.settings.ngram))
        candidates = {heldout for gram in found & self.postings.keys() for heldout in self.postings[gram]}
        leaks = (len(self.grams[heldout] & found) >= self.needed[heldout] for heldout in candidates)
        return NGRAM if any(leaks) else CLEAR

    def _near(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        assert self.vectors is not None
        assert self.encoder is not None
        assert self.settings.cosine is not None
        near = np.zeros(len(texts), bool)
        for first in range(0, len(texts), _COSINE_BATCH):
            batch = self.encoder.encode(texts[first : first + _COSINE_BATCH], kind="passage")
            near[first : first + len(batch)] = (batch @ self.vectors.T).max(axis=1) >= self.settings.cosine
        return near


def hold_out(texts: Sequence[str], settings: HeldoutSettings, encoder: Encoder | None = None) -> Heldout:
    """Prepare held-out texts. With `settings.cosine` the encoder is needed."""
    distinct = sorted(set(texts))
    if not distinct:
        return Heldout(settings)
    words = [folded_words(text) for text in distinct]
    grams = tuple(frozenset(_grams(w, settings.ngram)) if len(w) >= settings.min_words else frozenset() for w in words)
    needed = tuple(math.ceil(settings.containment * len(own) - 1e-9) for own in grams)
    vectors = None
    if settings.cosine is not None:
        assert encoder is not None, "a cosine threshold needs an encoder"
        vectors = encoder.encode(distinct, kind="passage")  # both sides as passages: the comparison is symmetric
    return Heldout(
        settings, frozenset(folded(text) for text in distinct), grams, needed, _rarest(grams, needed), vectors, encoder
    )


def _rarest(grams: Sequence[frozenset[Gram]], needed: Sequence[int]) -> dict[Gram, list[int]]:
    """Postings of every utterance's `len - needed + 1` rarest n-grams: any leak holds at least one of them."""
    uses = Counter(gram for own in grams for gram in own)
    postings: dict[Gram, list[int]] = defaultdict(list)
    for heldout, own in enumerate(grams):
        by_rarity = sorted(own, key=lambda gram: (uses[gram], gram))
        for gram in by_rarity[: len(own) - needed[heldout] + 1]:
            postings[gram].append(heldout)
    return dict(postings)


def _grams(words: Sequence[str], n: int) -> Iterator[Gram]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _example_keys(rows: pa.Table) -> Iterator[tuple[str, str]]:
    for text, text_pair in zip(rows["text"].to_pylist(), rows["text_pair"].to_pylist(), strict=True):
        yield folded(text), folded(text_pair or "")
