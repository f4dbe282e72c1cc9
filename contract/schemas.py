"""The Arrow schemas of the tables that cross rooms. Every column is described in contract/README.md."""

from __future__ import annotations

import pyarrow as pa

# Written and read by the indexer; the service reads texts of hits from it.
CORPUS = pa.schema(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("n_words", pa.int32(), nullable=False),
    ]
)

# What `contract.task` makes of a user's file; read by the service and by distill.
TASK = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pair", pa.string()),
        pa.field("label", pa.string()),
        pa.field("intent", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("slots", pa.list_(pa.string())),
        pa.field("lang", pa.string()),
        pa.field("split", pa.string(), nullable=False),
    ]
)

NEIGHBOUR = pa.struct(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("retriever", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("lexical_rank", pa.int32()),
        pa.field("lexical_score", pa.float32()),
        pa.field("dense_rank", pa.int32()),
        pa.field("dense_score", pa.float32()),
    ]
)

# Written by the service, read by distill: one row an utterance, with its neighbours.
TRANSFER_SET = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        *(TASK.field(name) for name in ("text", "text_pair", "label", "intent", "domain", "tokens", "slots", "lang")),
        pa.field("include_utterance", pa.bool_(), nullable=False),
        pa.field("neighbours", pa.list_(pa.field("element", NEIGHBOUR, nullable=False)), nullable=False),
    ]
)
