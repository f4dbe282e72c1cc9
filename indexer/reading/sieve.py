"""The sieve: documents in, the passages a corpus keeps out, and why the others were dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.schemas import CORPUS
from indexer.corpus_settings import CorpusSettings
from indexer.reading.duplicates import Names, Seen, hash_ids, hash_texts
from indexer.reading.languages import DETECT, UNKNOWN, detect_languages, primary
from indexer.reading.passages import split_documents
from indexer.reading.quality import FILTERS


@dataclass(frozen=True)
class Sifted:
    """What became of a batch of documents: kept passages, the ids of dropped ones by reason, how many were renamed."""

    passages: pa.RecordBatch
    dropped: dict[str, list[str]]
    renamed: int


class Sieve:
    """Every passage passes, in this order: length, source, sample, language, quality, duplicates, near-duplicates.

    It remembers kept passages only, so that what it knows can be read back from the finished shards.
    """

    def __init__(self, settings: CorpusSettings) -> None:
        self.settings = settings
        self._names = Names()
        self._texts = Seen()
        self._near = None
        if settings.near_duplicates is not None:
            from indexer.reading.near_duplicates import NearDuplicates  # numba, where it is needed

            self._near = NearDuplicates(settings.near_duplicates)

    def remember(self, passages: pa.RecordBatch) -> None:
        """Take in passages of a finished shard."""
        self._names.taken.add(hash_ids(passages.column("passage_id")))
        self._texts.add(hash_texts(passages.column("text")))
        if self._near is not None:
            self._near.remember(passages.column("text"))

    def sift(self, documents: pa.RecordBatch) -> Sifted:
        split = split_documents(documents, self.settings.bounds)
        dropped = {"too_short": split.too_short}
        passages = self._chosen(split.passages, dropped)
        passages = self._tagged(passages)
        for reason, is_bad in self._language_faults(passages):
            passages = _drop(passages, is_bad, reason, dropped)
        for name, quality in FILTERS.items():
            if name in self.settings.filters:
                is_bad = quality.measure(passages.column("text")) > self.settings.filters[name]
                passages = _drop(passages, is_bad, name, dropped)
        return self._without_repeats(passages, dropped)

    def _chosen(self, passages: pa.RecordBatch, dropped: dict[str, list[str]]) -> pa.RecordBatch:
        """Those of no source that is left out, and of them the sample: by a hash, so that no order matters."""
        if self.settings.without_sources:
            left_out = pc.is_in(passages.column("source"), pa.array(self.settings.without_sources, pa.string()))
            passages = _drop(passages, left_out.to_numpy(zero_copy_only=False), "source", dropped)
        if self.settings.sample is not None:
            shares = hash_texts(passages.column("text")).astype(np.float64) / 2.0**64
            passages = _drop(passages, shares >= self.settings.sample, "sample", dropped)
        return passages

    def _without_repeats(self, passages: pa.RecordBatch, dropped: dict[str, list[str]]) -> Sifted:
        hashes = hash_texts(passages.column("text"))
        is_first = self._texts.fresh(hashes)
        passages, hashes = _drop(passages, ~is_first, "duplicate", dropped), hashes[is_first]
        if self._near is not None:
            is_fresh = self._near.add(passages.column("text"))
            passages, hashes = _drop(passages, ~is_fresh, "near_duplicate", dropped), hashes[is_fresh]
        self._texts.add(hashes)
        ids, renamed = self._names.unique(passages.column("passage_id"))
        return Sifted(pa.RecordBatch.from_arrays([ids, *passages.columns[1:]], schema=CORPUS), dropped, renamed)

    def _tagged(self, passages: pa.RecordBatch) -> pa.RecordBatch:
        """`passages` with a language where their documents had none, when one is given or to be found out."""
        if self.settings.lang is None:
            return passages
        given = passages.column("lang")
        is_missing = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(given), ""), True)
        texts = passages.column("text").filter(is_missing).to_pylist()
        found = detect_languages(texts) if self.settings.lang == DETECT else [self.settings.lang] * len(texts)
        langs = pc.replace_with_mask(given, is_missing, pa.array(found, pa.string()))
        return passages.set_column(passages.schema.get_field_index("lang"), CORPUS.field("lang"), langs)

    def _language_faults(self, passages: pa.RecordBatch) -> Iterator[tuple[str, np.ndarray]]:
        if self.settings.keep_lang:
            kept = {primary(tag) for tag in self.settings.keep_lang}
            langs = [primary(lang or "") for lang in passages.column("lang").to_pylist()]
            is_known = np.array([lang not in ("", UNKNOWN) for lang in langs], dtype=bool)
            is_kept = np.array([lang in kept for lang in langs], dtype=bool)
            yield "unknown_language", ~is_known
            yield "other_language", (~is_kept)[is_known]


def _drop(passages: pa.RecordBatch, is_bad: np.ndarray, reason: str, dropped: dict[str, list[str]]) -> pa.RecordBatch:
    """The passages that are not bad; the ids of the others are put down under the reason."""
    mask = pa.array(is_bad)
    dropped[reason] = passages.column("passage_id").filter(mask).to_pylist()
    return passages.filter(pc.invert(mask)) if dropped[reason] else passages
