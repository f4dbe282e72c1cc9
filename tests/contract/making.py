"""How the contract's tests make artifacts and files: small, real, on disk."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Plan, drafting
from contract.manifest import Count

NUMBERS = pa.schema([pa.field("n", pa.int64(), nullable=False)])
PLAN = Plan("corpus", 1, {"size": 3, "words": {"least": 1, "most": 9}}, {"sources": "abc"})
FORMATS = [
    f"rows{suffix}{compression}"
    for suffix in (".jsonl", ".ndjson", ".csv", ".tsv")
    for compression in ("", ".gz", ".zst", ".bz2", ".xz")
] + ["rows.parquet", "rows.arrow", "rows.stream.arrow"]


def make_artifact(directory: Path, shard_sizes: Sequence[int] = (2, 3), *, row_group_rows: int = 16_384) -> Artifact:
    """An artifact of one column 0, 1, 2 … in shards of the given sizes, with an attachment."""
    with drafting(directory, PLAN) as draft:
        first = 0
        for number, size in enumerate(shard_sizes):
            name = f"part-{number:05d}.parquet"
            table = pa.table({"n": range(first, first + size)}, schema=NUMBERS)
            pq.write_table(table, draft.partial(name), row_group_size=row_group_rows)
            draft.keep(f"part-{number:05d}", {name: size}, counts={"passages": Count(size + 1, size, {"empty": 1})})
            first += size
        draft.partial("timings.json").write_text("{}")
        draft.keep("timings", {"timings.json": 0})
        draft.finish(attachments=["timings.json"])
    return open_artifact(directory, "corpus", version=1)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write `content`, compressed as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".bz2":
        path.write_bytes(bz2.compress(content))
    elif path.suffix == ".xz":
        path.write_bytes(lzma.compress(content))
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(content)
    return path


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write records in the format and compression that the name says."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if path.suffix in (".parquet", ".arrow"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_table(pa.table({name: [record.get(name) for record in records] for name in names}), path)
        return path
    if ".jsonl" in path.suffixes or ".ndjson" in path.suffixes:
        return write_bytes(path, _jsonl(records))
    return write_bytes(path, _csv(records, names, "\t" if ".tsv" in path.suffixes else ","))


def _write_table(table: pa.Table, path: Path) -> None:
    """Parquet, Arrow's file format, or (`.stream.arrow`) its stream format, as Hugging Face's `save_to_disk` has it."""
    if path.suffix == ".parquet":
        write_parquet(table, path)
        return
    with pa.OSFile(str(path), "wb") as sink:
        new = pa.ipc.new_stream if ".stream" in path.suffixes else pa.ipc.new_file
        with new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)


def _jsonl(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def _csv(records: Iterable[Mapping[str, Any]], names: Sequence[str], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    for record in records:
        values = [record.get(name) for name in names]
        writer.writerow([" ".join(value) if isinstance(value, list) else value for value in values])
    return text.getvalue().encode()
