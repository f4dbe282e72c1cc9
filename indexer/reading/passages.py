"""Passages: documents cleaned, and split on sentence borders within word bounds. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from contract.schemas import CORPUS

MAX_WORD = 100  # characters: a longer run without white space counts, and is cut, as several words
NFC_SPAN = 1000  # characters

# Scripts written without spaces, or a page would be one word. In Chinese and Japanese (with their punctuation) two
# characters count as a word; in Tibetan, Thai, Lao, Burmese and Khmer four do, each with the marks above and below it.
_CJK = (
    r"\u3000-\u303f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff01-\uff9f\U00020000-\U0003ffff"
)
_SOUTHEAST = r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
_MARKS = (
    r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f18\u0f19\u0f35\u0f37\u0f39\u0f71-\u0f84"
    r"\u0f90-\u0fbc\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d"
    r"\u108f\u109a-\u109d\u17b4-\u17d3\u17dd"
)
UNSPACED = _CJK + _SOUTHEAST
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(f"(?:[{_SOUTHEAST}][{_MARKS}]{{0,8}}){{1,4}}|[{_CJK}]{{1,2}}|[^\\s{UNSPACED}]{{1,{MAX_WORD}}}")

# What no reader sees and a tokenizer stumbles on: controls, byte-order marks, soft hyphens, zero-width spaces,
# direction marks. Joiners (U+200C, U+200D) stay: Persian and emoji are spelled with them.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff]"
)

_PARAGRAPH = re.compile(r"\n\s*\n")
# Bounded repeats only: on a million full stops this stays linear.
# A full stop ends a sentence before white space, the marks of scripts that need none end it anyway: Chinese and
# Japanese, Arabic and Urdu, Devanagari and its neighbours, Armenian, Ethiopic, Tibetan, Burmese, Khmer.
_BORDER = re.compile(
    r"[.!?…][\"'”’»)\]]{0,3}\s|[。！？｡．][\"'”’」』）】》]{0,3}\s?|[؟۔।॥։።፧፨།༎။។៕][\"'”’»)\]]{0,3}\s?"
)
# Initials and chains of them (J., e.g., z. B., U.S., т.е.), numbers that count (3. Oktober), and common short forms.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“„«‘.])(?:[^\W\d_]|\d{1,2}|"
    r"Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|No|Vol|Fig|Gen|Col|Capt|Lt|Rev|Hon|Inc|Ltd|Co|Corp|approx|ca|cf|eds?|al|pp"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|Abs|Abt|Art|Bd|Bde|bzgl|bzw|Dipl|evtl|geb|gest|ggf|Hr|Fr|Hrsg|inkl|Jh|Jhd|Kap|Mio|Mrd|Nr|Tel|usw|vgl|zzgl"
    r"|Mme|Mlle|env|av|apr|Sra|Srta|Dra|Ud|Uds|Vd|pág|núm|art|Sig|Dott|Ing|pag|ecc|Exmo|bijv|dhr|mevr|blz|dr|prof|mr"
    r"|г|гг|им|ул|стр|руб|тыс|млн|млрд)\.$"
)
_ABBREVIATED = 12  # characters before a full stop that are looked at


@dataclass(frozen=True)
class Bounds:
    """How many words a passage may have."""

    min_words: int = 3
    max_words: int = 64


@dataclass(frozen=True)
class Split:
    """The passages of some documents in the CORPUS schema, and the ids of the pieces too short to be one."""

    passages: pa.RecordBatch
    too_short: list[str]


def clean(text: str) -> str:
    """NFC, no invisible characters, one space wherever there was white space."""
    words = text.split()
    cleaned = " ".join(words)
    if not cleaned.isascii():
        cleaned = _composed(cleaned, max(map(len, words)))
    return cleaned if cleaned.isprintable() else " ".join(_INVISIBLE.sub("", cleaned).split())


def count_words(text: str) -> int:
    """Words of cleaned text: runs between spaces, or pairs of characters in scripts that write no spaces."""
    words = text.split(" ") if text else []
    if (len(text) <= MAX_WORD or max(map(len, words)) <= MAX_WORD) and (
        text.isascii() or not _HAS_UNSPACED.search(text)
    ):
        return len(words)
    return sum(1 for _ in _WORD.finditer(text))


def split_document(text: str, bounds: Bounds) -> list[tuple[str, int]]:
    """The pieces of a document, cleaned, each with its number of words; none has more than `max_words`.

    A document within the bound stays whole. A longer one is packed sentence by sentence, a longer sentence is cut.
    """
    whole = clean(text)
    n_words = count_words(whole)
    if n_words <= bounds.max_words:
        return [(whole, n_words)]
    return list(_packed(text, bounds.max_words))


def split_documents(documents: pa.RecordBatch, bounds: Bounds) -> Split:
    """All passages of a batch of documents. The pieces of a document that was split are named ID#1, ID#2 …"""
    ids: list[str] = []
    texts: list[str] = []
    rows: list[int] = []
    words: list[int] = []
    too_short: list[str] = []
    document_ids = documents.column("id").to_pylist()
    for row, text in enumerate(documents.column("text").to_pylist()):
        pieces = split_document(text, bounds)
        for number, (piece, n_words) in enumerate(pieces, start=1):
            name = document_ids[row] if len(pieces) == 1 else f"{document_ids[row]}#{number}"
            if n_words < bounds.min_words:
                too_short.append(name)
                continue
            ids.append(name)
            texts.append(piece)
            rows.append(row)
            words.append(n_words)
    taken = pa.array(rows, pa.int32())
    columns = [
        pa.array(ids, pa.string()),
        pa.array(texts, pa.string()),
        documents.column("source").take(taken),
        documents.column("lang").take(taken),
        pa.array(words, pa.int32()),
    ]
    return Split(pa.RecordBatch.from_arrays(columns, schema=CORPUS), too_short)


def _composed(text: str, longest_word: int) -> str:
    """NFC. Its cost is quadratic in a run of combining marks, so that text with monstrous words is taken in pieces."""
    if longest_word <= NFC_SPAN:
        return unicodedata.normalize("NFC", text)
    pieces = (text[start : start + NFC_SPAN] for start in range(0, len(text), NFC_SPAN))
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces)


def _packed(text: str, max_words: int) -> Iterator[tuple[str, int]]:
    """Sentences put together while they fit; one that never fits is cut every `max_words` words."""
    held: list[str] = []
    held_words = 0
    for sentence in _sentences(text):
        for piece, n_words in _cut(sentence, max_words):
            if held and held_words + n_words > max_words:
                yield " ".join(held), held_words
                held, held_words = [], 0
            held.append(piece)
            held_words += n_words
    if held:
        yield " ".join(held), held_words


def _sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        cleaned = clean(paragraph)
        start = 0
        for border in _BORDER.finditer(cleaned):
            if _ends_sentence(cleaned, border):
                yield cleaned[start : border.end()].rstrip()
                start = border.end()
        if cleaned[start:]:
            yield cleaned[start:]


def _ends_sentence(text: str, border: re.Match[str]) -> bool:
    """False where the next word is in lower case, or the full stop belongs to an abbreviation."""
    if text[border.end() : border.end() + 1].islower():
        return False
    before = text[max(0, border.start() - _ABBREVIATED) : border.start() + 1]
    return not _ABBREVIATION.search(before)


def _cut(sentence: str, max_words: int) -> Iterator[tuple[str, int]]:
    n_words = count_words(sentence)
    if n_words <= max_words:
        yield sentence, n_words
        return
    start, end, held = 0, 0, 0
    for word in _WORD.finditer(sentence):
        if held == max_words:
            yield sentence[start:end], held
            held = 0
        if not held:
            start = word.start()
        end = word.end()
        held += 1
    yield sentence[start:end], held
