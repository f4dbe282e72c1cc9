"""The shard in the making: its passages, and what became of the documents they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from contract.manifest import Count, Json
from contract.schemas import CORPUS
from indexer.reading.sieve import Sifted

EXAMPLES = 5  # ids a reason


class Shard:
    """Filled batch by batch. One that goes on from an earlier version holds its passages, and counts the new."""

    def __init__(self, begun: pa.Table | None = None, documents: int = 0) -> None:
        self._batches: list[pa.RecordBatch] = [] if begun is None else begun.to_batches()
        self._begun = 0 if begun is None else begun.num_rows
        self.rows = self._begun
        self.documents = documents
        self._begun_documents = documents
        self._bad: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._renamed = self._words = 0

    def add(self, documents: int, sifted: Sifted) -> None:
        self.documents += documents
        self.rows += sifted.passages.num_rows
        self._renamed += sifted.renamed
        self._words += pc.sum(sifted.passages.column("n_words")).as_py() or 0
        self._batches.append(sifted.passages)
        for reason, ids in sifted.dropped.items():
            self._dropped[reason] += len(ids)
            self._show(reason, ids)

    def add_bad(self, reason: str, name: str) -> None:
        """A row that could not be read."""
        self._bad[reason] += 1
        self._show(reason, [name])

    @property
    def table(self) -> pa.Table:
        """In one piece: Parquet's pages follow the pieces, and a shard's bytes shall follow its rows alone."""
        return pa.Table.from_batches(self._batches, CORPUS).combine_chunks()

    @property
    def counts(self) -> dict[str, Count]:
        documents, rows = self.documents - self._begun_documents, self.rows - self._begun
        return {
            "documents": Count(documents + self._bad.total(), documents, dict(self._bad)),
            "passages": Count(rows + self._dropped.total(), rows, dict(self._dropped)),
        }

    @property
    def state(self) -> dict[str, Json]:
        return {"renamed": self._renamed, "words": self._words, "examples": self._examples, "documents": self.documents}

    def _show(self, reason: str, ids: Sequence[str]) -> None:
        merge_examples(self._examples, {reason: ids})


def merge_examples(examples: dict[str, list[str]], more: dict[str, Sequence[str]]) -> None:
    """Put the first few ids of every reason behind those there are."""
    for reason, ids in more.items():
        room = EXAMPLES - len(examples.get(reason, ()))
        if ids and room > 0:
            examples.setdefault(reason, []).extend(name[:200] for name in ids[:room])
