"""The texts of a transfer set: what the student is distilled on, each text once, in the order it first stands there.

A neighbour of a sentence pair is read as the second sentence beside the first one it was found for (our choice).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.artifact import Artifact, open_artifact
from contract.draft import Draft
from contract.errors import BadInput
from contract.manifest import Json
from contract.progress import Progress, silent
from contract.store import Store
from distill.reading.first import first_of_each
from distill.reading.shelf import Shelf
from distill.reading.words import Span, WordSpans, gather_words, locate_words, pair_words, split_words

TRANSFER_SET_VERSION = 1
VERSION = 1  # of how texts and their words are read
TEXTS = pa.schema(
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pair", pa.string()),
        pa.field("utterance_id", pa.string()),  # of the utterance it is; null for a neighbour
        pa.field("tokens", pa.list_(pa.string())),  # its words, as the task has them; null for a neighbour
        pa.field("retriever", pa.string()),  # these three of the neighbour that it first was; null for an utterance
        pa.field("rank", pa.int32()),
        pa.field("score", pa.float32()),
    ]
)
CHUNK = 4096  # texts looked at at a time

_OF_NEIGHBOUR = ("retriever", "rank", "score")
_COLUMNS = (
    *("utterance_id", "text", "text_pair", "tokens", "include_utterance"),
    *(f"neighbours.list.element.{name}" for name in ("text", *_OF_NEIGHBOUR)),
)
_ROWS = 1024  # utterances read at a time: one may have a thousand neighbours
_BLOCK = 8192  # texts to a batch of the file
_FILE = "texts.arrow"
_ID_BYTES = 16


@dataclass(frozen=True)
class Texts:
    """`table` is in TEXTS, mapped from `shelf`: a column of it as a list has the size of the set, `chunks` has not.

    `utterances` and `neighbours` count what stood there before equal texts were made one.
    """

    table: pa.Table
    utterances: int
    neighbours: int
    transfer_set: str  # the id of the one they are of
    shelf: Shelf

    @property
    def params(self) -> dict[str, Json]:
        """What an entry on the shelf that is made of them is known by, beside its own params."""
        return {"texts": VERSION, "transfer_set": self.transfer_set}

    @property
    def duplicates(self) -> int:
        return self.utterances + self.neighbours - int(self.table.num_rows)

    @property
    def generic_share(self) -> float:
        """The share of the texts that came from the corpus."""
        return float(self.table["utterance_id"].null_count / self.table.num_rows)

    @property
    def paired(self) -> bool:
        """Whether any of them has a second sentence: a task is of pairs or it is not."""
        return bool(self.table["text_pair"].null_count < self.table.num_rows)

    def chunks(self) -> Iterator[tuple[int, pa.Table]]:
        """All texts, a few at a time: the number of the first, and the rows."""
        for start in range(0, self.table.num_rows, CHUNK):
            yield start, self.table.slice(start, CHUNK)

    def words(self, start: int, stop: int) -> WordSpans:
        """The words of texts start … stop-1: the task's where it has them, else what stands between white space."""
        some = self.table.slice(start, stop - start)
        texts = zip(some["text"].to_pylist(), some["tokens"].to_pylist(), strict=True)
        return gather_words(_words_of(text, tokens) for text, tokens in texts)

    def all_words(self, start: int, stop: int) -> WordSpans:
        """The same, of pairs the words of both sentences."""
        if not self.paired:
            return self.words(start, stop)
        some = self.table.slice(start, stop - start)
        return gather_words(map(pair_words, some["text"].to_pylist(), some["text_pair"].to_pylist()))


def open_transfer_set(store: Store, name: str) -> Artifact:
    return open_artifact(store.path("transfer-set", name), "transfer-set", version=TRANSFER_SET_VERSION)


def read_texts(transfer_set: Artifact, *, progress: Progress = silent) -> Texts:
    """The texts of a transfer set, laid down now where they were not; BadInput when there are none."""
    shelf = Shelf.beside(transfer_set, progress)

    def lay(draft: Draft) -> Mapping[str, Json]:
        ids = draft.scratch("ids")
        ids.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _lay(transfer_set, ids, draft.partial(_FILE), progress)
        finally:
            ids.unlink(missing_ok=True)

    laid = shelf.obtain_files("texts", {"texts": VERSION, "transfer_set": transfer_set.id}, [_FILE], lay)
    table = pa.ipc.open_file(pa.memory_map(str(laid.directory / _FILE))).read_all()
    return Texts(table, laid.facts["utterances"], laid.facts["neighbours"], transfer_set.id, shelf)


def text_id(text: str, pair: str | None) -> str:
    """What a text is known by: 32 hex digits of the sha256 of it and of its second sentence."""
    return _digest(text, pair).hex()


def _digest(text: str, pair: str | None) -> bytes:
    whole = text if pair is None else f"{text}\0{pair}"
    return hashlib.sha256(whole.encode()).digest()[:_ID_BYTES]


def _words_of(text: str, tokens: Sequence[str] | None) -> Sequence[Span]:
    return (locate_words(text, tokens) if tokens else None) or split_words(text)


def _lay(transfer_set: Artifact, ids: Path, path: Path, progress: Progress) -> Mapping[str, Json]:
    """Write the texts to `path`, reading twice: once for what each is known by, once for those that stand first."""
    utterances = total = 0
    with ids.open("wb") as file:
        for rows, batch in _read(transfer_set):
            utterances += len(batch) - batch["utterance_id"].null_count
            total += len(batch)
            file.writelines(map(_digest, batch["text"].to_pylist(), batch["text_pair"].to_pylist()))
            progress("texts", rows, 2 * transfer_set.rows)
    if not total:
        raise BadInput(
            f"{transfer_set.directory} holds no text to distil on; expected utterances or neighbours: "
            "build it with a higher k, or with its utterances included"
        )
    known = np.memmap(ids, np.uint64, "r").reshape(-1, 2)
    first, start, kept = first_of_each(known), 0, 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TEXTS) as writer:
        fresh = TEXTS.empty_table()
        for rows, batch in _read(transfer_set):
            here = np.flatnonzero(first[start : start + len(batch)])
            named = batch.take(pa.array(here)).add_column(0, TEXTS.field("text_id"), _hex(known[start + here]))
            fresh = pa.concat_tables([fresh, pa.Table.from_batches([named]).select(TEXTS.names).cast(TEXTS)])
            start, kept = start + len(batch), kept + len(here)
            while fresh.num_rows >= _BLOCK:
                writer.write_batch(fresh.slice(0, _BLOCK).combine_chunks().to_batches()[0])
                fresh = fresh.slice(_BLOCK)
            progress("texts", transfer_set.rows + rows, 2 * transfer_set.rows)
        writer.write_table(fresh.combine_chunks())
    return {"utterances": utterances, "neighbours": total - utterances}


def _hex(ids: npt.NDArray[np.uint64]) -> pa.Array:
    """(n, 2) -> n times 32 hex digits."""
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 2 * _ID_BYTES
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(ids.tobytes().hex().encode()))


def _read(transfer_set: Artifact) -> Iterator[tuple[int, pa.RecordBatch]]:
    """How many rows were read, and the texts of the last of them: utterances, if included, before their neighbours."""
    rows = 0
    for batch in transfer_set.batches(columns=_COLUMNS, batch_rows=_ROWS):
        rows += batch.num_rows
        yield rows, _texts_of(batch)


def _texts_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every utterance that is included, and its neighbours after it, each in a row."""
    lists: pa.ListArray = batch["neighbours"]
    found, counts = lists.flatten(), pc.list_value_length(lists).to_numpy()
    of = np.repeat(np.arange(len(batch)), counts)  # which utterance each neighbour is of
    included = batch["include_utterance"].to_numpy(zero_copy_only=False)
    order = np.argsort(np.concatenate([np.flatnonzero(included), of]), kind="stable")
    own, beside = batch.filter(batch["include_utterance"]), batch.take(pa.array(of))
    told = {name: found.field(index) for index, name in enumerate(field.name for field in found.type)}
    paired = beside["text_pair"].is_valid()
    columns: dict[str, tuple[pa.Array, pa.Array]] = {
        "text": (own["text"], pc.if_else(paired, beside["text"], told["text"])),
        "text_pair": (own["text_pair"], pc.if_else(paired, told["text"], None)),
        "utterance_id": (own["utterance_id"], pa.nulls(len(of), pa.string())),
        "tokens": (own["tokens"], pa.nulls(len(of), TEXTS.field("tokens").type)),
        **{name: (pa.nulls(len(own), TEXTS.field(name).type), told[name]) for name in _OF_NEIGHBOUR},
    }
    joined = {name: pa.concat_arrays([mine, theirs]) for name, (mine, theirs) in columns.items()}
    return pa.record_batch(joined).take(pa.array(order))
