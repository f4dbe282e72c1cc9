"""The corpus: passages in Parquet shards, made from sources so that any number of kills leaves the same artifact.

Written by `corpus build`; read by whatever makes an index, and by the service for the texts of hits.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Draft, Plan, Receipt, discard, drafting
from contract.errors import BadInput
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress, silent
from contract.rows import BadRow, refuse_bad_rows
from contract.schemas import CORPUS
from contract.store import Store
from indexer.passages import Bounds, Seen, hash_ids, hash_texts, split_documents
from indexer.sources import Position, SourceFile, check_columns, find_files, read_documents

CORPUS_VERSION = 1
ERRORS = "errors.jsonl"
READ_PER_PASSAGE = 4  # a shard also ends when it read so many documents a passage: a kill costs no more than that
MAX_REMEMBERED = 100_000  # repeated ids whose next free number is remembered


@dataclass(frozen=True)
class CorpusSettings:
    """How documents become passages. `skip_bad_rows` is no part of what the corpus is: its counts say what was bad."""

    columns: Mapping[str, str] = field(default_factory=dict)
    min_words: int = 3
    max_words: int = 64
    shard_passages: int = 100_000
    skip_bad_rows: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words:
            raise BadInput(
                f"Expected 1 <= min words <= max words, found {self.min_words} and {self.max_words}; "
                "change --min-words or --max-words"
            )
        if self.shard_passages < 1:
            raise BadInput(f"Expected at least one passage a shard, found {self.shard_passages}")


def build_corpus(
    store: Store,
    name: str,
    sources: Sequence[str],
    settings: CorpusSettings = CorpusSettings(),
    *,
    progress: Progress = silent,
    restart: bool = False,
) -> Artifact:
    """Make the corpus `name` from files, directories and globs, or go on where a killed build left it."""
    directory = store.path("corpus", name)
    files = find_files(sources, progress=progress)
    check_columns(files, settings.columns)
    with drafting(directory, _plan(files, settings), restart=restart) as draft:
        if draft.finished is None:
            try:
                _write_shards(draft, files, settings, progress)
            except BadInput:
                if not draft.steps():  # nothing to go on from: the name is free for mended sources
                    discard(directory)
                raise
            draft.finish(facts=_facts(draft), attachments=[ERRORS])
    return open_corpus(store, name)


def open_corpus(store: Store, name: str) -> Artifact:
    """The finished corpus of that name: shards in the schema CORPUS."""
    return open_artifact(store.path("corpus", name), "corpus", version=CORPUS_VERSION)


def _plan(files: Sequence[SourceFile], settings: CorpusSettings) -> Plan:
    """The same files and settings on any machine, at any path, give the same plan."""
    params: dict[str, Json] = asdict(settings) | {"sources": [file.as_param() for file in files]}
    del params["skip_bad_rows"]
    digest = hashlib.sha256(canonical_json(params["sources"])).hexdigest()
    return Plan("corpus", CORPUS_VERSION, params, {"sources": digest[:32]})


def _write_shards(draft: Draft, files: Sequence[SourceFile], settings: CorpusSettings, progress: Progress) -> None:
    """Read on from the last finished shard; every shard is whole batches of documents, so its end is a position."""
    finished = _finished_shards(draft)
    last = finished[-1].state if finished else {}
    with _BadRows(draft.partial("bad-rows"), last.get("errors_bytes", 0)) as bad_rows:
        if not last.get("is_last"):
            start = Position(last.get("files", 0), last.get("batches", 0))
            _read_on(draft, files, settings, start, bad_rows, progress)
    _keep_errors(draft, bad_rows)


def _read_on(
    draft: Draft,
    files: Sequence[SourceFile],
    settings: CorpusSettings,
    start: Position,
    bad_rows: _BadRows,
    progress: Progress,
) -> None:
    position = start
    shard, finished = _Shard(), _finished_shards(draft)
    names, texts = _seen(draft, finished)
    documents = sum(receipt.counts["documents"].rows_in for receipt in finished)

    def on_bad_row(bad: BadRow) -> None:
        if not settings.skip_bad_rows:
            refuse_bad_rows(bad)
        bad_rows.add(bad)
        shard.bad[_reason(bad)] += 1

    for position, batch in read_documents(files, on_bad_row, columns=settings.columns, start=start):
        shard.add(batch, Bounds(settings.min_words, settings.max_words), names, texts)
        documents += batch.num_rows
        progress("read documents", documents, None)
        if shard.rows >= settings.shard_passages or shard.documents >= READ_PER_PASSAGE * settings.shard_passages:
            finished.append(_keep(draft, len(finished), shard, position, bad_rows, is_last=False))
            shard.clear()
    if not shard.rows + sum(receipt.counts["passages"].rows_out for receipt in finished):
        raise BadInput(_nothing_left(files, [*finished, Receipt(counts=shard.counts)]))
    _keep(draft, len(finished), shard, position, bad_rows, is_last=True)
    progress("read documents", documents, documents)


def _keep(
    draft: Draft, number: int, shard: _Shard, position: Position, bad_rows: _BadRows, *, is_last: bool
) -> Receipt:
    """Finish a shard. One with no passages left (all duplicates, or the end) leaves its counts only."""
    step = f"part-{number:05d}"
    state: dict[str, Json] = {
        **asdict(position),
        "is_last": is_last,
        "errors_bytes": bad_rows.flush(),
        "renamed": shard.renamed,
        "words": shard.words,
    }
    if not shard.rows:
        return draft.keep(step, {}, counts=shard.counts, state=state)
    return write_shard(draft, step, pa.Table.from_batches(shard.batches), counts=shard.counts, state=state)


def _finished_shards(draft: Draft) -> list[Receipt]:
    steps = [step for step in draft.steps() if step.startswith("part-")]
    return [receipt for step in steps if (receipt := draft.receipt(step))]


def _seen(draft: Draft, finished: Sequence[Receipt]) -> tuple[_Names, Seen]:
    """What de-duplication knew when the last finished shard was written."""
    names, texts = _Names(), Seen()
    for entry in (entry for receipt in finished for entry in receipt.files):
        with pq.ParquetFile(draft.directory / entry.name) as file:
            for batch in file.iter_batches(columns=["passage_id", "text"]):
                names.taken.add(hash_ids(batch.column("passage_id")))
                texts.add(hash_texts(batch.column("text")))
    return names, texts


def _facts(draft: Draft) -> dict[str, Json]:
    states = [receipt.state for receipt in _finished_shards(draft)]
    return {fact: sum(state[fact] for state in states) for fact in ("renamed", "words")}


class _Shard:
    """The shard in the making: its passages, and what became of the documents they came from."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.bad: Counter[str] = Counter()
        self.documents = self.too_short = self.duplicates = self.rows = self.renamed = self.words = 0

    def add(self, documents: pa.RecordBatch, bounds: Bounds, names: _Names, texts: Seen) -> None:
        split = split_documents(documents, bounds)
        is_first = texts.add(hash_texts(split.passages.column("text")))
        passages = split.passages.filter(pa.array(is_first))
        ids, renamed = names.unique(passages.column("passage_id"))
        passages = pa.RecordBatch.from_arrays([ids, *passages.columns[1:]], schema=CORPUS)
        self.batches.append(passages)
        self.documents += documents.num_rows
        self.too_short += split.too_short
        self.duplicates += split.passages.num_rows - passages.num_rows
        self.rows += passages.num_rows
        self.renamed += renamed
        self.words += pc.sum(passages.column("n_words")).as_py() or 0

    @property
    def counts(self) -> dict[str, Count]:
        dropped = {"duplicate": self.duplicates, "too_short": self.too_short}
        pieces = self.rows + self.duplicates + self.too_short
        return {
            "documents": Count(self.documents + self.bad.total(), self.documents, dict(self.bad)),
            "passages": Count(pieces, self.rows, dropped),
        }


class _Names:
    """The passage ids given so far: a repeated id gets the first free number, as in `7~2`."""

    def __init__(self) -> None:
        self.taken = Seen()
        self._next: dict[str, int] = {}

    def unique(self, ids: pa.Array) -> tuple[pa.Array, int]:
        """`ids` with the repeated ones renamed, and how many were."""
        repeated = np.flatnonzero(~self.taken.add(hash_ids(ids)))
        if not len(repeated):
            return ids, 0
        names = ids.to_pylist()
        for row in repeated.tolist():
            names[row] = self._renamed(names[row])
        return pa.array(names, pa.string()), len(repeated)

    def _renamed(self, name: str) -> str:
        if len(self._next) > MAX_REMEMBERED:
            self._next.clear()
        number = self._next.get(name, 2)
        while not self.taken.add(hash_ids(pa.array([f"{name}~{number}"])))[0]:
            number += 1
        self._next[name] = number + 1
        return f"{name}~{number}"


class _BadRows:
    """The errors file in the making: where each bad row stands, never what stood there.

    Bad rows are appended as they come; a restart cuts the file back to what the last finished shard knew.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.path.touch()
        os.truncate(path, size)
        self._file = path.open("ab")

    def add(self, bad: BadRow) -> None:
        self._file.write(canonical_json(asdict(bad)) + b"\n")

    def flush(self) -> int:
        """Put what was added on the disk; the file's size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> _BadRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _keep_errors(draft: Draft, bad_rows: _BadRows) -> None:
    """Turn the collected bad rows into an attachment; without any, leave no file."""
    documents = [receipt.counts["documents"] for receipt in _finished_shards(draft)]
    bad = sum(count.rows_in - count.rows_out for count in documents)
    if draft.receipt("errors") or not bad:
        bad_rows.path.unlink()
    else:
        shutil.copyfile(bad_rows.path, draft.partial(ERRORS))
        draft.keep("errors", {ERRORS: bad})
        bad_rows.path.unlink()


def _reason(bad: BadRow) -> str:
    return f"bad_row: {bad.reason.split(',')[0]}"


def _nothing_left(files: Sequence[SourceFile], receipts: Sequence[Receipt]) -> str:
    total = {unit: sum((r.counts[unit] for r in receipts), Count()) for unit in ("documents", "passages")}
    dropped = {**total["documents"].dropped, **total["passages"].dropped}
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "none dropped"
    names = ", ".join(file.path.name for file in files[:5])
    return (
        f"No passage is left of {names}: {total['documents'].rows_in} rows read, {reasons}; "
        "expected text; name other sources, map another column with --map text=COLUMN, or lower --min-words"
    )
