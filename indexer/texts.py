"""The index's own copy of the passages: Arrow files, memory-mapped, for the texts of hits by row.

Written by `index build`, read by `indexer.index`. Parquet packs rows in groups of thousands that must be unpacked for
one; here ten rows cost ten rows, and the corpus stays on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput
from contract.progress import Progress, silent
from contract.schemas import CORPUS
from indexer.engine import Engine, LocalEngine

SHARD_ROWS = 131_072
_BYTES_A_ROW = 600  # about what a passage takes while its shard is copied


def write_texts(
    corpus: Artifact,
    draft: Draft,
    *,
    engine: Engine | None = None,
    earlier: Artifact | None = None,
    progress: Progress = silent,
) -> None:
    """Copy the corpus in steps `texts-…`, each one record batch in one file; whole ones come from `earlier`."""
    work = _TextShards(corpus, draft, earlier)
    numbers = range(-(-corpus.rows // SHARD_ROWS))
    for stop in (engine or LocalEngine()).map(work, numbers, bytes_each=SHARD_ROWS * _BYTES_A_ROW):
        progress("copy passages", stop, corpus.rows)


@dataclass(frozen=True)
class _TextShards:
    """The copying of one shard, for an engine to carry out; returns the row after its last."""

    corpus: Artifact
    draft: Draft
    earlier: Artifact | None

    def __call__(self, number: int) -> int:
        step, name = f"texts-{number:05d}", f"texts-{number:05d}.arrow"
        start, stop = number * SHARD_ROWS, min((number + 1) * SHARD_ROWS, self.corpus.rows)
        if self.draft.receipt(step) is not None:
            return stop
        if self.earlier is not None and self.earlier.manifest.facts["rows"] >= stop:
            entry = self.earlier.manifest.entry(name)
            if entry.rows == stop - start:
                self.draft.adopt(step, self.earlier.directory, [entry])
                return stop
        table = pa.Table.from_batches(self.corpus.batches(start=start, stop=stop), CORPUS).combine_chunks()
        with pa.OSFile(str(self.draft.partial(name)), "wb") as sink, pa.ipc.new_file(sink, CORPUS) as writer:
            writer.write_table(table, max_chunksize=SHARD_ROWS)
        self.draft.keep(step, {name: table.num_rows})
        return stop


class Texts:
    """The passages of an index by row."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._shards = [_map(path) for path in paths]
        self._starts = np.cumsum([0, *(shard.num_rows for shard in self._shards)])

    @classmethod
    def open(cls, artifact: Artifact) -> Texts:
        names = sorted(entry.name for entry in artifact.manifest.files if entry.name.startswith("texts-"))
        return cls([artifact.path(name) for name in names])

    @property
    def rows(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: np.ndarray) -> pa.Table:
        """The passages of `rows` (n,), in that order, in the schema CORPUS."""
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.rows):
            raise BadInput(f"Expected rows from 0 to {self.rows - 1}, found {int(rows.min())} to {int(rows.max())}")
        of_shard = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(of_shard, kind="stable")
        pieces = []
        for number in np.unique(of_shard).tolist():
            here = rows[of_shard == number] - self._starts[number]
            pieces.append(self._shards[number].take(pa.array(here, pa.int64())))
        table = pa.Table.from_batches(pieces, CORPUS).combine_chunks()
        return table.take(pa.array(np.argsort(order, kind="stable"), pa.int64()))


def _map(path: Path) -> pa.RecordBatch:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    assert reader.num_record_batches == 1, path
    return reader.get_batch(0)
