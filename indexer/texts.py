"""The index's own copy of the passages: Arrow files, memory-mapped, for the texts of hits by row.

Written by `index build`, read by `indexer.index`. Parquet packs rows in groups of thousands that must be unpacked for
one; here ten rows cost ten rows, and the corpus stays on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput
from contract.progress import Progress, silent
from contract.schemas import CORPUS

SHARD_ROWS = 131_072


def write_texts(corpus: Artifact, draft: Draft, *, progress: Progress = silent) -> None:
    """Copy the corpus in steps `texts-…`, each one record batch in one file."""
    for start in range(0, corpus.rows, SHARD_ROWS):
        step = f"texts-{start // SHARD_ROWS:05d}"
        stop = min(start + SHARD_ROWS, corpus.rows)
        if draft.receipt(step) is None:
            table = pa.Table.from_batches(corpus.batches(start=start, stop=stop), CORPUS).combine_chunks()
            name = f"{step}.arrow"
            with pa.OSFile(str(draft.partial(name)), "wb") as sink, pa.ipc.new_file(sink, CORPUS) as writer:
                writer.write_table(table, max_chunksize=SHARD_ROWS)
            draft.keep(step, {name: table.num_rows})
        progress("copy passages", stop, corpus.rows)


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
