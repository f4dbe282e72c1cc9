"""The labels: the teacher's logits for every text of a transfer set, stored once and read by every run and seed.

One row a text, in the order of the texts. A column stands there only where the task has it:
logits       list<float16, C>             of the text; one amount in a regression
slot_tags    list<list<int16, K>>         of each word, the numbers of its K likeliest tags
slot_logits  list<list<float16, K>>       and their logits; NaN where the teacher saw no token of the word
slot_rest    list<float16>                one logit that all other tags of the word share
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan
from contract.errors import CorruptArtifact
from contract.manifest import Count, Json
from contract.progress import Progress
from contract.store import Store
from distill.device import Device
from distill.logits import logits_of
from distill.shared import drafting_shared
from distill.slots import TOP, TopLogits
from distill.teacher import Teacher
from distill.texts import Texts

VERSION = 1
SHARD_TEXTS = 8192


def labels_schema(classes: int, top: int = 0) -> pa.Schema:
    """The columns for so many classes, and for so many logits a word."""
    fields = [pa.field("text_id", pa.string(), nullable=False)]
    if classes:
        fields.append(pa.field("logits", pa.list_(pa.float16(), classes), nullable=False))
    if top:
        fields.append(pa.field("slot_tags", pa.list_(pa.list_(pa.int16(), top)), nullable=False))
        fields.append(pa.field("slot_logits", pa.list_(pa.list_(pa.float16(), top)), nullable=False))
        fields.append(pa.field("slot_rest", pa.list_(pa.float16()), nullable=False))
    return pa.schema(fields)


@dataclass(frozen=True)
class Labels:
    """The teacher's logits row for row beside the texts, (n, C), and word for word beside their words."""

    logits: npt.NDArray[np.float16] | None
    slots: TopLogits | None


def obtain_labels(
    store: Store, teacher: Teacher, transfer_set: Artifact, texts: Texts, device: Device, *, progress: Progress
) -> Artifact:
    """The labels of this teacher for these texts: those that are there, else made now, a shard at a time."""
    inputs = {"teacher": teacher.artifact.id, "transfer-set": transfer_set.id}
    params: dict[str, Json] = {"dtype": device.dtype, "shard_texts": SHARD_TEXTS}
    if teacher.tags:
        params["slot_top"] = TOP
    plan = Plan("labels", VERSION, params, inputs)
    directory = store.path("labels", f"{teacher.artifact.id[:12]}-{transfer_set.id[:12]}-{device.dtype}")
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            rows = texts.table.num_rows
            progress("labels", 0, rows)
            for start in range(0, rows, SHARD_TEXTS):
                step = f"labels-{start // SHARD_TEXTS:05d}"
                if draft.receipt(step) is None:
                    stop = min(start + SHARD_TEXTS, rows)
                    told = partial(_tell, progress, start, rows)
                    write_shard(draft, step, _labelled(teacher, texts, start, stop, device, told))
                progress("labels", min(start + SHARD_TEXTS, rows), rows)
            dropped = {"duplicate": texts.duplicates} if texts.duplicates else {}
            draft.finish(counts={"texts": Count(texts.utterances + texts.neighbours, rows, dropped)})
    return open_artifact(directory, "labels", version=VERSION)


def read_labels(labels: Artifact, texts: Texts, tags: int = 0) -> Labels:
    """What is stored, beside the texts; CorruptArtifact when it is of other texts, or of other words in them.

    `tags` is how many the task's slots have.
    """
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in labels.batches()]).combine_chunks()
    other = f"{labels.directory} holds other texts than the transfer set; remove it and run again"
    if table["text_id"].to_pylist() != texts.table["text_id"].to_pylist():
        raise CorruptArtifact(other)
    slots = None
    if tags:
        column = table["slot_rest"].combine_chunks()
        if not np.array_equal(np.cumsum(pc.list_value_length(column).to_numpy()), texts.words.offsets[1:]):
            raise CorruptArtifact(other)
        top, logits = (_flat(table[name].combine_chunks().flatten()) for name in ("slot_tags", "slot_logits"))
        slots = TopLogits(top, logits, column.flatten().to_numpy(zero_copy_only=False), tags)
    return Labels(_flat(table["logits"].combine_chunks()) if "logits" in table.column_names else None, slots)


def _flat(column: pa.FixedSizeListArray) -> npt.NDArray[Any]:
    """A column of lists of one length as an array, (rows, length)."""
    values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)


def _tell(progress: Progress, start: int, rows: int, done: int) -> None:
    """Within a shard as well: who cancels a run does not wait for thousands of texts."""
    if start + done < rows:
        progress("labels", start + done, rows)


def _labelled(
    teacher: Teacher, texts: Texts, start: int, stop: int, device: Device, on_texts: Callable[[int], None]
) -> pa.Table:
    """The labels of texts start … stop-1."""
    some = texts.table.slice(start, stop - start)
    words = texts.words.slice(start, stop) if teacher.tags else None
    tokens = teacher.tokens(some["text"].to_pylist(), some["text_pair"].to_pylist(), words)
    found = logits_of(teacher.model, teacher.model, tokens, device, on_texts)
    columns, classes, top = [some["text_id"]], 0, 0
    if found.sentence is not None:
        classes = found.sentence.shape[1]
        columns.append(_listed(found.sentence.astype(np.float16)))
    if words is not None:
        slots = (
            np.full((len(words.bounds), len(teacher.tags)), np.nan, np.float32) if found.slots is None else found.slots
        )
        kept = TopLogits.of(slots)
        top, offsets = kept.tags.shape[1], pa.array(words.offsets.astype(np.int32))
        for values in (_listed(kept.tags), _listed(kept.logits), pa.array(kept.rest)):
            columns.append(pa.ListArray.from_arrays(offsets, values))
    return pa.table(columns, schema=labels_schema(classes, top))


def _listed(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
