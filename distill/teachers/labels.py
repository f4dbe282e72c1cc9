"""The labels: the teacher's logits for every text of a transfer set, stored once and read by every run and seed.

One row a text, in the order of the texts. A column stands there only where the task has it:
logits       list<float16, C>             of the text; one amount in a regression
slot_tags    list<list<int16, K>>         of each word, the numbers of its K likeliest tags
slot_logits  list<list<float16, K>>       and their logits; NaN where the teacher saw no token of the word
slot_rest    list<float16>                one logit that all other tags of the word share
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan
from contract.errors import CorruptArtifact
from contract.manifest import Count, Json
from contract.progress import Progress
from contract.store import Store
from distill.models.device import Device
from distill.reading.shelf import Pages
from distill.reading.slots import TOP, TopLogits
from distill.reading.texts import Texts
from distill.shared import drafting_shared
from distill.teachers.teacher import Teacher

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
    inputs = {**teacher.inputs, "transfer-set": transfer_set.id}
    params: dict[str, Json] = {"dtype": device.dtype, "shard_texts": SHARD_TEXTS}
    if teacher.tags:
        params["slot_top"] = TOP
    plan = Plan("labels", VERSION, params, inputs)
    directory = store.path("labels", f"{teacher.id[:12]}-{transfer_set.id[:12]}-{device.dtype}")
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
    """What is stored, beside the texts, mapped; CorruptArtifact when it is of other texts, or of other words in them.

    `tags` is how many the task's slots have.
    """
    schema = pq.read_schema(labels.path(labels.shards[0].name))
    rows = {f"{name}.{dtype}": row for name, dtype, *row in _arrays(schema, with_words=bool(tags))}

    def lay(pages: Pages) -> Mapping[str, Json]:
        start = 0
        for batch in labels.batches():
            _refuse_others(labels, batch, texts, start, with_words=bool(tags))
            pages.add(**{name.partition(".")[0]: _numbers(batch, name.partition(".")[0]) for name in rows})
            start += batch.num_rows
            texts.shelf.progress("reading labels", start, labels.rows)
        return {}

    if labels.rows != texts.table.num_rows:
        raise _others(labels)
    laid = texts.shelf.obtain("labels", {**texts.params, "labels": labels.id, "words": bool(tags)}, list(rows), lay)
    found = {name.partition(".")[0]: laid.array(name, *row) for name, row in rows.items()}
    slots = TopLogits(found["slot_tags"], found["slot_logits"], found["slot_rest"], tags) if tags else None
    return Labels(found.get("logits"), slots)


def _arrays(schema: pa.Schema, *, with_words: bool) -> Iterator[tuple[Any, ...]]:
    """(column, dtype, what a row of it has) of the labels of such a schema."""
    if "logits" in schema.names:
        yield "logits", "float16", schema.field("logits").type.list_size
    if with_words:
        for name, dtype in (("slot_tags", "int16"), ("slot_logits", "float16")):
            yield name, dtype, schema.field(name).type.value_type.list_size
        yield "slot_rest", "float16"


def _numbers(batch: pa.RecordBatch, column: str) -> npt.NDArray[Any]:
    """A column's numbers, end to end."""
    values = batch[column]
    while pa.types.is_nested(values.type):
        values = values.flatten()
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers


def _refuse_others(labels: Artifact, batch: pa.RecordBatch, texts: Texts, start: int, *, with_words: bool) -> None:
    """CorruptArtifact when these labels are not of the texts from `start` on, or not of their words."""
    stop = start + batch.num_rows
    same = pa.chunked_array([batch["text_id"]]).equals(texts.table["text_id"].slice(start, batch.num_rows))
    if same and with_words:
        counts = pc.list_value_length(batch["slot_rest"]).to_numpy()
        same = np.array_equal(np.cumsum(counts), texts.words(start, stop).offsets[1:])
    if not same:
        raise _others(labels)


def _others(labels: Artifact) -> CorruptArtifact:
    return CorruptArtifact(f"{labels.directory} holds other texts than the transfer set; remove it and run again")


def _tell(progress: Progress, start: int, rows: int, done: int) -> None:
    """Within a shard as well: who cancels a run does not wait for thousands of texts."""
    if start + done < rows:
        progress("labels", start + done, rows)


def _labelled(
    teacher: Teacher, texts: Texts, start: int, stop: int, device: Device, on_texts: Callable[[int], None]
) -> pa.Table:
    """The labels of texts start … stop-1."""
    some = texts.table.slice(start, stop - start)
    words = texts.words(start, stop) if teacher.tags else None
    sentences, pairs = some["text"].to_pylist(), some["text_pair"].to_pylist()
    found = teacher.logits(lambda each: each.tokens(sentences, pairs, words), device, on_texts)
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
