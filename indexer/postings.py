"""Postings: which passages hold a term and how often, a shard in five files, and the vocabulary over all shards.

Written by `indexer.lexical.build_lexical`, memory-mapped by its `LexicalIndex`. A shard holds counts and lengths, never
scores, and its own sorted terms, never numbers given out elsewhere: more shards renew the statistics, not the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numba import njit

from contract.artifact import Artifact
from contract.draft import Draft, Receipt
from indexer.tokens import Tokens

VOCABULARY = "lexical-vocabulary"
_TERMS, _STARTS, _PASSAGES, _COUNTS, _LENGTHS = (
    ".terms.arrow",
    ".starts.npy",
    ".passages.npy",
    ".counts.npy",
    ".lengths.npy",
)
_RANGE_TERMS = 65_536  # so many terms of the largest shard are merged at a time


@dataclass(frozen=True)
class Terms:
    """Sorted terms, looked up without making a Python object of any of them."""

    letters: np.ndarray  # uint8, the UTF-8 of all terms
    starts: np.ndarray  # (v + 1,) int64 into letters

    def find(self, wanted: Terms) -> np.ndarray:
        """The position of each wanted term, -1 of one that is not there: (len(wanted.starts) - 1,) int64."""
        return np.asarray(_find(self.letters, self.starts, wanted.letters, wanted.starts))

    def strings(self) -> list[str]:
        """All of them as Python strings: for small indexes and for looking in."""
        letters = self.letters.tobytes()
        return [letters[start:end].decode() for start, end in pairwise(self.starts.tolist())]


@dataclass(frozen=True)
class Postings:
    """One shard: term t is in passages[starts[t]:starts[t + 1]], ascending from `first_row`, counts as often."""

    first_row: int
    terms: Terms
    starts: np.ndarray  # (v + 1,) int64
    passages: np.ndarray  # (p,) uint32
    counts: np.ndarray  # (p,) the smallest unsigned integers that hold them
    lengths: np.ndarray  # (rows,) int32, in terms

    @property
    def rows(self) -> int:
        return len(self.lengths)


def shard_step(number: int) -> str:
    """The step that makes a shard; its files bear its name."""
    return f"lexical-{number:05d}"


def write_postings(draft: Draft, step: str, tokens: Tokens) -> Receipt:
    """Invert a shard's tokens and keep them as a step; the receipt's state has rows, tokens and postings."""
    terms = len(tokens.vocabulary)
    starts, passages, counts = _invert(tokens.starts, tokens.terms, terms)
    lengths = np.diff(tokens.starts).astype(np.int32)
    narrow = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
    _write_arrow(draft.partial(step + _TERMS), pa.table({"term": tokens.vocabulary}))
    arrays = {_STARTS: starts, _PASSAGES: passages, _COUNTS: narrow, _LENGTHS: lengths}
    for suffix, array in arrays.items():
        with draft.partial(step + suffix).open("wb") as file:
            np.save(file, array, allow_pickle=False)
    rows = {_TERMS: terms, _STARTS: terms, _PASSAGES: len(passages), _COUNTS: len(passages), _LENGTHS: len(lengths)}
    state = {"rows": len(lengths), "tokens": len(tokens.terms), "postings": len(passages)}
    return draft.keep(step, {step + suffix: n for suffix, n in rows.items()}, state=state)


def write_vocabulary(draft: Draft, shards: int) -> Receipt:
    """Merge the shards' terms into one table `term, passages` (document frequency), sorted, and keep it as a step."""
    terms = [_read_column(draft.directory / (shard_step(number) + _TERMS), "term") for number in range(shards)]
    starts = [_map(draft.directory / (shard_step(number) + _STARTS)) for number in range(shards)]
    ranges = list(_merged_ranges(terms, starts))
    empty = pa.table({"term": pa.array([], pa.large_string()), "passages": pa.array([], pa.int64())})
    table = pa.concat_tables([empty, *ranges])
    name = f"{VOCABULARY}.arrow"
    _write_arrow(draft.partial(name), table)
    return draft.keep(VOCABULARY, {name: table.num_rows}, state={"terms": table.num_rows})


def open_postings(artifact: Artifact) -> list[Postings]:
    """The shards of an artifact, in order, memory-mapped, each file verified against the manifest."""
    names = sorted(entry.name for entry in artifact.manifest.files if _is_shard(entry.name))
    shards, first_row = [], 0
    for name in names:
        step = name.removesuffix(_LENGTHS)
        arrays = [_map(artifact.path(step + suffix)) for suffix in (_STARTS, _PASSAGES, _COUNTS, _LENGTHS)]
        terms = terms_of(_read_column(artifact.path(step + _TERMS), "term"))
        shards.append(Postings(first_row, terms, *arrays))
        first_row += shards[-1].rows
    return shards


def open_vocabulary(artifact: Artifact) -> tuple[Terms, np.ndarray]:
    """The terms of all shards and in how many passages each stands, (v,) int64."""
    path = artifact.path(f"{VOCABULARY}.arrow")
    return terms_of(_read_column(path, "term")), _read_column(path, "passages").to_numpy()


def terms_of(array: pa.Array) -> Terms:
    """Sorted large_strings as Terms, without a copy."""
    _, starts, letters = array.buffers()
    ends = (
        np.frombuffer(starts, np.int64)[array.offset : array.offset + len(array) + 1]
        if len(array)
        else np.zeros(1, np.int64)
    )
    return Terms(np.frombuffer(letters or b"", np.uint8), ends)


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


def _merged_ranges(terms: list[pa.Array], starts: list[np.ndarray]) -> Iterator[pa.Table]:
    """The terms of all shards with their document frequencies added up, one range of terms at a time."""
    largest = max(terms, key=len, default=pa.array([], pa.large_string()))
    bounds = largest.take(pa.array(range(_RANGE_TERMS, len(largest), _RANGE_TERMS), pa.int64()))
    found = [[0, *(_first_not_below(shard, bound) for bound in bounds), len(shard)] for shard in terms]
    for part in range(len(bounds) + 1):
        pieces = []
        for shard, shard_starts, cuts in zip(terms, starts, found, strict=True):
            low, high = cuts[part], cuts[part + 1]
            pieces.append(
                pa.table({"term": shard[low:high], "passages": np.diff(shard_starts[low : high + 1]).astype(np.int64)})
            )
        if pieces:
            added = pa.concat_tables(pieces).group_by("term").aggregate([("passages", "sum")])
            yield added.rename_columns(["term", "passages"]).sort_by("term")


def _first_not_below(terms: pa.Array, bound: pa.Scalar) -> int:
    low, high, wanted = 0, len(terms), bound.as_py()
    while low < high:
        middle = (low + high) // 2
        if terms[middle].as_py() < wanted:
            low = middle + 1
        else:
            high = middle
    return low


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
def _find(letters, starts, wanted_letters, wanted_starts):  # type: ignore[no-untyped-def]
    """Binary search by UTF-8 bytes, whose order is that of code points."""
    found = np.full(len(wanted_starts) - 1, -1, np.int64)
    for wanted in range(len(found)):
        first, length = wanted_starts[wanted], wanted_starts[wanted + 1] - wanted_starts[wanted]
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            begin, size = starts[middle], starts[middle + 1] - starts[middle]
            shared = 0
            while shared < size and shared < length and letters[begin + shared] == wanted_letters[first + shared]:
                shared += 1
            if shared == size and shared == length:
                found[wanted] = middle
                break
            if shared < length and (shared == size or letters[begin + shared] < wanted_letters[first + shared]):
                low = middle + 1
            else:
                high = middle
    return found
