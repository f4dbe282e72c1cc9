"""The labels: the teacher's logits for every text of a transfer set, stored once and read by every run and seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan
from contract.errors import CorruptArtifact
from contract.manifest import Count
from contract.progress import Progress
from contract.store import Store
from distill.device import Device
from distill.logits import logits_of
from distill.shared import drafting_shared
from distill.teacher import Teacher
from distill.texts import Texts

VERSION = 1
SHARD_TEXTS = 8192


def labels_schema(classes: int) -> pa.Schema:
    """`text_id` and the logits of one text a row, in the order of the texts."""
    return pa.schema(
        [
            pa.field("text_id", pa.string(), nullable=False),
            pa.field("logits", pa.list_(pa.float16(), classes), nullable=False),
        ]
    )


def obtain_labels(
    store: Store, teacher: Teacher, transfer_set: Artifact, texts: Texts, device: Device, *, progress: Progress
) -> Artifact:
    """The labels of this teacher for these texts: those that are there, else made now, a shard at a time."""
    inputs = {"teacher": teacher.artifact.id, "transfer-set": transfer_set.id}
    plan = Plan("labels", VERSION, {"dtype": device.dtype, "shard_texts": SHARD_TEXTS}, inputs)
    directory = store.path("labels", f"{teacher.artifact.id[:12]}-{transfer_set.id[:12]}-{device.dtype}")
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            rows = texts.table.num_rows
            progress("labels", 0, rows)
            for start in range(0, rows, SHARD_TEXTS):
                step = f"labels-{start // SHARD_TEXTS:05d}"
                if draft.receipt(step) is None:
                    write_shard(draft, step, _labelled(teacher, texts.table.slice(start, SHARD_TEXTS), device))
                progress("labels", min(start + SHARD_TEXTS, rows), rows)
            dropped = {"duplicate": texts.duplicates} if texts.duplicates else {}
            draft.finish(counts={"texts": Count(texts.utterances + texts.neighbours, rows, dropped)})
    return open_artifact(directory, "labels", version=VERSION)


def read_logits(labels: Artifact, texts: Texts) -> npt.NDArray[np.float16]:
    """The logits row for row beside the texts, (n, C)."""
    shards = [pa.Table.from_batches([batch]) for batch in labels.batches()]
    table = pa.concat_tables(shards).combine_chunks()
    if table["text_id"].to_pylist() != texts.table["text_id"].to_pylist():
        raise CorruptArtifact(f"{labels.directory} holds other texts than the transfer set; remove it and run again")
    return np.concatenate([_logits(batch) for batch in table.to_batches()])


def _logits(batch: pa.RecordBatch) -> npt.NDArray[np.float16]:
    column = batch.column("logits")
    flat: npt.NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def _labelled(teacher: Teacher, texts: pa.Table, device: Device) -> pa.Table:
    tokens = teacher.tokens(texts["text"].to_pylist(), texts["text_pair"].to_pylist())
    logits = logits_of(teacher.model, teacher.model, tokens, device).astype(np.float16)
    values = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
    return pa.table([texts["text_id"], values], schema=labels_schema(logits.shape[1]))
