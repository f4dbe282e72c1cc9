"""Postings: which passages hold a term and how often, a shard in five files, and the vocabulary over all shards.

Written by `indexer.lexical.build_lexical`, memory-mapped by its `LexicalIndex`. A shard holds counts and lengths, never
scores, and its own sorted terms, never numbers given out elsewhere: more shards renew the statistics, not the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numba import njit

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from indexer.bm25.terms import Terms, add_up, terms_of, unite
from indexer.bm25.tokens import Tokens

VOCABULARY = "lexical-vocabulary"
_TERMS, _STARTS, _PASSAGES, _COUNTS, _LENGTHS = _SUFFIXES = (
    ".terms.arrow",
    ".starts.npy",
    ".passages.npy",
    ".counts.npy",
    ".lengths.npy",
)


@dataclass(frozen=True)
class Postings:
    """One shard: term t is in passages[starts[t]:starts[t + 1]], ascending from `first_row`, counts as often."""

    first_row: int
    terms: Terms
    starts: np.ndarray  # (v + 1,) int64
    passages: np.ndarray  # (p,) uint32
    counts: np.ndarray  # (p,) unsigned integers; in a file the smallest that hold them
    lengths: np.ndarray  # (rows,) int32, in terms

    @property
    def rows(self) -> int:
        return len(self.lengths)


def shard_step(number: int) -> str:
    """The step that makes a shard; its files bear its name."""
    return f"lexical-{number:05d}"


def invert(tokens: Tokens) -> Postings:
    """The postings of tokens, as a shard whose rows start at 0."""
    starts, passages, counts = _invert(tokens.starts, tokens.terms, len(tokens.vocabulary))
    lengths = np.diff(tokens.starts).astype(np.int32)
    return Postings(0, terms_of(tokens.vocabulary), starts, passages, counts, lengths)


def join(first: Postings, second: Postings) -> Postings:
    """One shard of both, as if the texts of both had been inverted together."""
    union = unite(first.terms, second.terms)
    starts, passages, counts = _join(*_arrays(first), *_arrays(second), union.first, union.second, first.rows)
    lengths = np.concatenate([first.lengths, second.lengths])
    return Postings(first.first_row, union.terms, starts, passages, counts, lengths)


def write_postings(draft: Draft, step: str, shard: Postings) -> Receipt:
    """Keep a shard as a step; the receipt's state has rows, tokens and postings."""
    narrow = shard.counts.astype(np.min_scalar_type(int(shard.counts.max(initial=0))))
    _write_arrow(draft.partial(step + _TERMS), pa.table({"term": shard.terms.array()}))
    arrays = {_STARTS: shard.starts, _PASSAGES: shard.passages, _COUNTS: narrow, _LENGTHS: shard.lengths}
    for suffix, array in arrays.items():
        with draft.partial(step + suffix).open("wb") as file:
            np.save(file, array, allow_pickle=False)
    terms, postings = len(shard.starts) - 1, len(shard.passages)
    rows = {_TERMS: terms, _STARTS: terms, _PASSAGES: postings, _COUNTS: postings, _LENGTHS: shard.rows}
    return draft.keep(step, {step + suffix: n for suffix, n in rows.items()}, state=_state(shard))


def adopt_postings(draft: Draft, number: int, earlier: Artifact) -> Receipt:
    """Keep a shard of an earlier index as it is."""
    entries = [earlier.manifest.entry(shard_step(number) + suffix) for suffix in _SUFFIXES]
    return draft.adopt(shard_step(number), earlier.directory, entries, state=_state(open_shard(earlier, number)))


def write_vocabulary(draft: Draft, shards: int) -> Receipt:
    """Merge the shards' terms into one table `term, passages` (document frequency), sorted, and keep it as a step."""
    parts = []
    for number in range(shards):
        terms = terms_of(_read_column(draft.directory / (shard_step(number) + _TERMS), "term"))
        parts.append((terms, np.diff(_map(draft.directory / (shard_step(number) + _STARTS)))))
    merged, passages = add_up(parts)
    name = f"{VOCABULARY}.arrow"
    _write_arrow(draft.partial(name), pa.table({"term": merged.array(), "passages": passages}))
    return draft.keep(VOCABULARY, {name: len(passages)}, state={"terms": len(passages)})


def open_postings(artifact: Artifact, numbers: range | None = None) -> list[Postings]:
    """The shards of an artifact, or some of them, in order, memory-mapped, each file verified against the manifest."""
    first_rows = np.cumsum([0, *shard_rows(artifact)]).tolist()
    if numbers is None:
        numbers = range(len(first_rows) - 1)
    return [open_shard(artifact, number, first_rows[number]) for number in numbers]


def shard_rows(artifact: Artifact) -> list[int]:
    """How many passages each shard of an artifact has."""
    return [entry.rows for entry in sorted(artifact.manifest.files, key=lambda e: e.name) if _is_shard(entry.name)]


def count_tokens(artifact: Artifact) -> int:
    """The tokens of all shards together."""
    names = [entry.name for entry in artifact.manifest.files if _is_shard(entry.name)]
    return sum(int(_map(artifact.path(name)).sum(dtype=np.int64)) for name in names)


def open_shard(artifact: Artifact, number: int, first_row: int = 0) -> Postings:
    """One shard, memory-mapped and verified; its passages are numbered from `first_row` on."""
    step = shard_step(number)
    arrays = [_map(artifact.path(step + suffix)) for suffix in (_STARTS, _PASSAGES, _COUNTS, _LENGTHS)]
    return Postings(first_row, terms_of(_read_column(artifact.path(step + _TERMS), "term")), *arrays)


def open_vocabulary(artifact: Artifact) -> tuple[Terms, np.ndarray]:
    """The terms of all shards and in how many passages each stands, (v,) int64."""
    path = artifact.path(f"{VOCABULARY}.arrow")
    return terms_of(_read_column(path, "term")), _read_column(path, "passages").to_numpy()


def _state(shard: Postings) -> dict[str, int]:
    return {"rows": shard.rows, "tokens": int(shard.lengths.sum(dtype=np.int64)), "postings": len(shard.passages)}


def _arrays(shard: Postings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, passages and counts as copies of one type each, so that one compiled `_join` serves all."""
    return shard.starts.astype(np.int64), shard.passages.astype(np.uint32), shard.counts.astype(np.uint32)


def _is_shard(name: str) -> bool:
    return name.startswith("lexical-") and name.endswith(_LENGTHS)


def _map(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)


def _read_column(path: Path, name: str) -> pa.Array:
    """A column of a file that `_write_arrow` wrote, memory-mapped: one batch, since joining several would copy."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.get_batch(0).column(name)


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_batch(table.combine_chunks().to_batches()[0] if table.num_rows else _empty_batch(table.schema))


def _empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


@njit(nogil=True, cache=True)
def _invert(starts, terms, n_terms):  # type: ignore[no-untyped-def]
    """Tokens by text -> postings by term, in linear time: (starts (v + 1,), passages (p,), counts (p,))."""
    last = np.full(n_terms, -1, np.int64)
    frequency = np.zeros(n_terms + 1, np.int64)
    for text in range(len(starts) - 1):
        for position in range(starts[text], starts[text + 1]):
            term = terms[position]
            if last[term] != text:
                last[term] = text
                frequency[term + 1] += 1
    term_starts = np.cumsum(frequency)
    ends = term_starts[:-1].copy()
    passages = np.empty(term_starts[-1], np.uint32)
    counts = np.zeros(term_starts[-1], np.uint32)
    last[:] = -1
    for text in range(len(starts) - 1):
        for position in range(starts[text], starts[text + 1]):
            term = terms[position]
            if last[term] != text:
                last[term] = text
                passages[ends[term]] = text
                ends[term] += 1
            counts[ends[term] - 1] += 1
    return term_starts, passages, counts


@njit(nogil=True, cache=True)
def _join(starts, passages, counts, other_starts, other_passages, other_counts, mine, others, rows):  # type: ignore[no-untyped-def]
    """The postings of two shards, the other's `rows` further on; `mine` and `others` say which terms each has."""
    joined = np.zeros(len(mine) + 1, np.int64)
    both = np.empty(len(passages) + len(other_passages), np.uint32)
    how_often = np.empty(len(both), np.uint32)
    filled = 0
    for term in range(len(mine)):
        if mine[term] >= 0:
            for posting in range(starts[mine[term]], starts[mine[term] + 1]):
                both[filled], how_often[filled] = passages[posting], counts[posting]
                filled += 1
        if others[term] >= 0:
            for posting in range(other_starts[others[term]], other_starts[others[term] + 1]):
                both[filled], how_often[filled] = other_passages[posting] + rows, other_counts[posting]
                filled += 1
        joined[term + 1] = filled
    return joined, both, how_often
