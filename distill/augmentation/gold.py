"""The gold labels of copies: those of the utterances they were made of, where the user says that they still hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from contract.artifact import Artifact
from contract.schemas import TASK
from distill.reading.gold import Gold, GoldRows, GoldSlots
from distill.reading.words import gather_words, locate_words

_COLUMNS = ("utterance_id", "text", "text_pair", "tokens", "slots", "include_utterance")


def gold_of_copies(gold: Gold, generation: Artifact) -> Gold:
    """The gold of a generation: each copy of a training row's utterance is a training row, with that row's labels.

    Slots go with their words. A copy of an utterance that the run has no gold of has none.
    """
    row_of = {name: row for row, name in enumerate(gold.train.table["id"].to_pylist())}
    copies, rows = [], []
    for batch in generation.batches(columns=_COLUMNS):
        for copy in batch.to_pylist():
            row = row_of.get(copy["utterance_id"])
            if copy["include_utterance"] and row is not None:
                copies.append({**dict.fromkeys(TASK.names), **copy, "id": copy["utterance_id"], "split": "train"})
                rows.append(row)
    table = pa.Table.from_pylist([{name: copy[name] for name in TASK.names} for copy in copies], TASK)
    return replace(gold, train=_rows(gold, table, np.array(rows, np.int64)))


def _rows(gold: Gold, table: pa.Table, rows: np.ndarray) -> GoldRows:
    train = gold.train
    return GoldRows(
        table,
        [train.labels[row] for row in rows] if train.labels else [],
        None if train.classes is None else train.classes[rows],
        None if train.amounts is None else train.amounts[rows],
        None if train.slots is None else _slots(gold, table),
    )


def _slots(gold: Gold, table: pa.Table) -> GoldSlots:
    number = {tag: index for index, tag in enumerate(gold.tags)}
    names = [slots or [] for slots in table["slots"].to_pylist()]
    words = zip(table["text"].to_pylist(), table["tokens"].to_pylist(), strict=True)
    spans = gather_words(locate_words(text, tokens or []) or [] for text, tokens in words)
    return GoldSlots(names, spans, np.array([number.get(tag, -1) for row in names for tag in row], np.int64))
