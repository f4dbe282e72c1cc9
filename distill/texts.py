"""The texts of a transfer set: what the student is distilled on, each text once, in the order it first stands there.

A neighbour of a sentence pair is read as the second sentence beside the first one it was found for (our choice).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from contract.artifact import Artifact, open_artifact
from contract.errors import BadInput
from contract.store import Store
from distill.words import Span, WordSpans, gather_words, locate_words, split_words

TRANSFER_SET_VERSION = 1
TEXTS = pa.schema(
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pair", pa.string()),
        pa.field("utterance_id", pa.string()),  # of the utterance it is; null for a neighbour
        pa.field("tokens", pa.list_(pa.string())),  # its words, as the task has them; null for a neighbour
    ]
)
_COLUMNS = ("utterance_id", "text", "text_pair", "tokens", "include_utterance", "neighbours")


@dataclass(frozen=True)
class Texts:
    """`table` is in TEXTS; `utterances` and `neighbours` count what stood there before equal texts were made one."""

    table: pa.Table
    utterances: int
    neighbours: int

    @property
    def duplicates(self) -> int:
        return self.utterances + self.neighbours - int(self.table.num_rows)

    @property
    def generic_share(self) -> float:
        """The share of the texts that came from the corpus."""
        return float(self.table["utterance_id"].null_count / self.table.num_rows)

    @cached_property
    def words(self) -> WordSpans:
        """The words of every text: the task's where it has them, else what stands between white space."""
        columns = (self.table[name].to_pylist() for name in ("text", "tokens"))
        return gather_words(_words_of(text, tokens) for text, tokens in zip(*columns, strict=True))


def open_transfer_set(store: Store, name: str) -> Artifact:
    return open_artifact(store.path("transfer-set", name), "transfer-set", version=TRANSFER_SET_VERSION)


def read_texts(transfer_set: Artifact) -> Texts:
    """All texts of a transfer set; BadInput when there are none."""
    seen: set[str] = set()
    rows: list[pa.RecordBatch] = []
    utterances = neighbours = 0
    for batch in transfer_set.batches(columns=_COLUMNS):
        fresh = []
        for text, pair, utterance_id, tokens in _texts_of(batch):
            utterances += utterance_id is not None
            neighbours += utterance_id is None
            identity = text_id(text, pair)
            if identity not in seen:
                seen.add(identity)
                fresh.append((identity, text, pair, utterance_id, tokens))
        columns = list(zip(*fresh, strict=True)) if fresh else [()] * len(TEXTS)
        rows.append(pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, TEXTS, strict=True)], schema=TEXTS))
    if not seen:
        raise BadInput(
            f"{transfer_set.directory} holds no text to distil on; expected utterances or neighbours: "
            "build it with a higher k, or with its utterances included"
        )
    return Texts(pa.Table.from_batches(rows, TEXTS), utterances, neighbours)


def text_id(text: str, pair: str | None) -> str:
    """What a text is known by: 32 hex digits of the sha256 of it and of its second sentence."""
    whole = text if pair is None else f"{text}\0{pair}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _words_of(text: str, tokens: Sequence[str] | None) -> Sequence[Span]:
    return (locate_words(text, tokens) if tokens else None) or split_words(text)


def _texts_of(batch: pa.RecordBatch) -> Iterator[tuple[str, str | None, str | None, list[str] | None]]:
    """(text, text_pair, utterance_id, tokens) of every utterance that is included, and of its neighbours after it."""
    columns = (batch.column(name).to_pylist() for name in _COLUMNS)
    for utterance_id, text, pair, tokens, included, found in zip(*columns, strict=True):
        if included:
            yield text, pair, utterance_id, tokens
        for neighbour in found:
            neighbouring = neighbour["text"]
            yield (neighbouring, None, None, None) if pair is None else (text, neighbouring, None, None)
