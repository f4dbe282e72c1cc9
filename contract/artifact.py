"""A finished artifact, opened: its manifest, its files verified once each, its Parquet shards as batches.

Read by every program that takes a directory as input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contract.draft import Draft, Receipt
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import MANIFEST, Count, FileEntry, Json, Kind, Manifest, fault_of, read_manifest

ROW_GROUP_ROWS = 16_384  # small enough that a batch reads little, large enough to compress


class Artifact:
    """A finished directory. `path(name)` gives a file after checking it, once, against the manifest."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self._verified: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which may stand in another folder."""
        return self.__dict__ | {"directory": self.directory.absolute()}

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def shards(self) -> list[FileEntry]:
        """The Parquet shards, in order."""
        return sorted((e for e in self.manifest.files if e.name.endswith(".parquet")), key=lambda e: e.name)

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.shards)

    def path(self, name: str) -> Path:
        """The path of a file whose bytes are those the manifest promises; CorruptArtifact when they are not."""
        if name not in self._verified:
            fault = self._fault(self.manifest.entry(name))
            if fault:
                raise CorruptArtifact(fault)
            self._verified.add(name)
        return self.directory / name

    def verify(self) -> list[str]:
        """A sentence for every file that is missing or changed; empty when all is well. Reads every byte."""
        entries = (*self.manifest.files, *self.manifest.attachments)
        return [fault for entry in entries if (fault := self._fault(entry))]

    def batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = 8192,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The shards' rows [start, stop) in order, as batches of at most `batch_rows` rows.

        With a world size, this rank's contiguous share of those rows: together the ranks read every row once.
        """
        assert 0 <= rank < world_size, (rank, world_size)
        stop = self.rows if stop is None else min(stop, self.rows)
        span = max(stop - start, 0)
        first, last = start + span * rank // world_size, start + span * (rank + 1) // world_size
        offset = 0
        for shard in self.shards:
            begin, end = max(first - offset, 0), min(last - offset, shard.rows)
            if begin < end:
                yield from _slice_of_shard(self.path(shard.name), begin, end, columns, batch_rows)
            offset += shard.rows

    def _fault(self, entry: FileEntry) -> str | None:
        fault = fault_of(self.directory, entry)
        return f"{fault}; copy it again, or remove the directory and run the command that made it" if fault else None


def open_artifact(directory: Path, kind: Kind, *, version: int) -> Artifact:
    """Open a finished directory of the given kind and format version, or say in a sentence why it cannot be."""
    if not (directory / MANIFEST).is_file():
        if (directory / ".draft").exists():
            raise NotFound(f"{directory} is not finished: it has no {MANIFEST}; run the command that makes it again")
        raise NotFound(f"There is no {kind} at {directory}{_neighbours_of(directory)}")
    manifest = read_manifest(directory)
    if manifest.kind != kind:
        raise BadInput(f"{directory} is of kind {manifest.kind!r}, expected {kind!r}; name one of that kind")
    if manifest.version != version:
        raise BadInput(f"{directory} has format {manifest.version}, this version reads format {version}; rebuild it")
    return Artifact(directory, manifest)


def write_shard(
    draft: Draft,
    step: str,
    table: pa.Table,
    *,
    counts: dict[str, Count] | None = None,
    state: dict[str, Json] | None = None,
) -> Receipt:
    """Write `table` as the Parquet shard `STEP.parquet` and keep the step; the same table gives the same bytes."""
    name = f"{step}.parquet"
    write_parquet(table, draft.partial(name))
    return draft.keep(step, {name: table.num_rows}, counts=counts, state=state)


def write_parquet(table: pa.Table, path: Path) -> None:
    """The one way this project writes Parquet: zstd, row groups of a fixed size."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def _slice_of_shard(
    path: Path, begin: int, end: int, columns: Sequence[str] | None, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Rows [begin, end) of one Parquet file; row groups that hold none of them are not read."""
    with pq.ParquetFile(path) as file:
        offset, lead = 0, 0
        groups: list[int] = []
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if offset < end and offset + rows > begin:
                if not groups:
                    lead = begin - offset
                groups.append(group)
            offset += rows
        left = end - begin
        for batch in file.iter_batches(batch_rows, row_groups=groups, columns=columns):
            skipped = min(lead, batch.num_rows)
            lead -= skipped
            kept = batch.slice(skipped, min(batch.num_rows - skipped, left))
            if kept.num_rows:
                left -= kept.num_rows
                yield kept


def _neighbours_of(directory: Path) -> str:
    """What there is instead, for the sentence that says that something is not there."""
    if not directory.parent.is_dir():
        return ""
    names = sorted(path.parent.name for path in directory.parent.glob(f"*/{MANIFEST}"))
    return f"; there are: {', '.join(names[:10])}" if names else ""
