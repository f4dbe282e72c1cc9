"""Neighbours: for every utterance the passages an index finds nearest to it, as records of the contract's form.

Hits travel in two forms: as the index returns them, (utterances, k) arrays, and flat, one row a hit (`HITS`), which is
what the selection policy and the shards are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BadInput
from contract.schemas import NEIGHBOUR

Searching = Literal["lexical", "dense", "hybrid", "random"]
SEARCHING: tuple[Searching, ...] = ("hybrid", "lexical", "dense", "random")  # the first an index can do is its default
MAX_K = 1000
DISCOUNT = 60  # of ranks where they are weighed (Cormack et al. 2009): rank 60 is worth half of rank 0
NEIGHBOURS = pa.list_(pa.field("element", NEIGHBOUR, nullable=False))

# One row a hit, ordered by utterance, then rank. -1 and NaN say that a hit is not in that ranking.
HITS = pa.schema(
    [
        pa.field("utterance", pa.int32(), nullable=False),  # position in the list of utterances
        pa.field("row", pa.int64(), nullable=False),  # position in the corpus
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("lexical_rank", pa.int32(), nullable=False),
        pa.field("lexical_score", pa.float32(), nullable=False),
        pa.field("dense_rank", pa.int32(), nullable=False),
        pa.field("dense_score", pa.float32(), nullable=False),
    ]
)

Ints = npt.NDArray[np.int64] | npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


class Hits(Protocol):
    """What a search returns: (utterances, k') arrays, best first; a ranking that was not asked is None."""

    @property
    def rows(self) -> npt.NDArray[np.int64]: ...
    @property
    def scores(self) -> Floats: ...
    @property
    def lexical_rank(self) -> npt.NDArray[np.int32] | None: ...
    @property
    def lexical_score(self) -> Floats | None: ...
    @property
    def dense_rank(self) -> npt.NDArray[np.int32] | None: ...
    @property
    def dense_score(self) -> Floats | None: ...


class Encoder(Protocol):
    """Texts -> float32 (n, dim) unit vectors, in input order."""

    def encode(self, texts: Sequence[str], *, kind: Literal["passage", "query"]) -> Floats: ...


class Identified(Protocol):
    """Anything with a content id."""

    @property
    def id(self) -> str: ...


class SearchIndex(Protocol):
    """The searching side of `indexer.index.Index`: all that the service asks of an index."""

    @property
    def name(self) -> str: ...
    @property
    def artifact(self) -> Identified: ...
    @property
    def rows(self) -> int: ...
    @property
    def retrievers(self) -> Sequence[str]: ...
    @property
    def encoder(self) -> Encoder | None: ...
    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> Hits: ...
    def passages(self, rows: npt.NDArray[np.int64]) -> pa.Table: ...


def find_neighbours(
    index: SearchIndex, utterances: Sequence[str], k: int, retriever: Searching | None = None, *, seed: int = 0
) -> pa.ListArray:
    """One list of NEIGHBOUR records an utterance, best first, min(k, rows of the corpus) each.

    Without a retriever it is hybrid when the index has both, else what it has. Raises BadInput.
    """
    check_k(k)
    retriever = choose_retriever(index, retriever)
    if not utterances:
        return pa.array([[] for _ in utterances], NEIGHBOURS)
    return neighbours_of(index, index.search(utterances, min(k, index.rows), retriever, seed=seed), retriever)


def neighbours_of(index: SearchIndex, hits: Hits, retriever: Searching) -> pa.ListArray:
    """What a search found as one list of NEIGHBOUR records an utterance."""
    flat = flatten(hits)
    return neighbour_lists(flat, index.passages(numbers(flat, "row")), retriever, len(hits.rows))


def query_of(text: str, text_pair: str | None) -> str:
    """What an utterance asks the index; a pair asks with both its texts, joined by a space.

    The paper does not say how its pairs ask (papers.md, B): this is ours.
    """
    return f"{text} {text_pair}" if text_pair else text


def queries_of(utterances: pa.Table) -> list[str]:
    """The query of every row of a task table."""
    pairs = zip(utterances["text"].to_pylist(), utterances["text_pair"].to_pylist(), strict=True)
    return [query_of(text, text_pair) for text, text_pair in pairs]


def choose_retriever(index: SearchIndex, wanted: Searching | None) -> Searching:
    """The wanted retriever when the index can do it; without a wish hybrid, else lexical, else dense."""
    able = {*index.retrievers, "random"}  # to draw at random an index needs nothing
    if wanted is None:
        return next(retriever for retriever in SEARCHING if retriever in able)
    if wanted not in able:
        raise BadInput(
            f"Index {index.name} has no {wanted} retriever; it has {', '.join(sorted(able))}; "
            "ask for one of these, or build the index again with --retrievers"
        )
    return wanted


def check_k(k: int) -> int:
    """`k`, when it is a number of neighbours one may ask for."""
    if not 1 <= k <= MAX_K:
        raise BadInput(f"k is the number of neighbours an utterance: expected 1 to {MAX_K}, found {k}")
    return k


def flatten(hits: Hits, first: int = 0) -> pa.Table:
    """Hits of utterances first, first+1 … as one row a hit, in the HITS schema; row -1 is no hit."""
    n, k = hits.rows.shape
    there = (hits.rows >= 0).ravel()
    columns = {
        "utterance": np.repeat(np.arange(first, first + n), k),
        "row": hits.rows,
        "rank": np.tile(np.arange(k), n),
        "score": hits.scores,
        "lexical_rank": _given(hits.lexical_rank, (n, k), -1),
        "lexical_score": _given(hits.lexical_score, (n, k), np.nan),
        "dense_rank": _given(hits.dense_rank, (n, k), -1),
        "dense_score": _given(hits.dense_score, (n, k), np.nan),
    }
    return hit_table({name: np.asarray(values).ravel()[there] for name, values in columns.items()})


def hit_table(columns: Mapping[str, npt.NDArray[np.generic]]) -> pa.Table:
    """Columns of hits, cast to the HITS schema."""
    arrays = [pa.array(columns[field.name].astype(field.type.to_pandas_dtype())) for field in HITS]
    return pa.table(arrays, schema=HITS)


def neighbour_lists(
    hits: pa.Table, passages: pa.Table, retriever: str, utterances: int, first: int = 0
) -> pa.ListArray:
    """Flat hits, with their passages beside them, as a list of NEIGHBOUR records for each of `utterances`.

    The hits are ordered by utterance; those of utterance `first` come first.
    """
    per_utterance = np.bincount(numbers(hits, "utterance") - first, minlength=utterances)
    offsets = np.concatenate(([0], np.cumsum(per_utterance)))
    columns = {name: passages[name].combine_chunks() for name in ("passage_id", "text", "source", "lang")}
    columns["retriever"] = pa.array([retriever] * len(hits), pa.string())
    columns["rank"] = hits["rank"].combine_chunks()
    for name in ("score", "lexical_score", "dense_score"):
        columns[name] = _null_where(hits, name, np.isnan(numbers(hits, name)))
    for name in ("lexical_rank", "dense_rank"):
        columns[name] = _null_where(hits, name, numbers(hits, name) < 0)
    records = pa.StructArray.from_arrays([columns[field.name] for field in NEIGHBOUR], fields=list(NEIGHBOUR))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), records, type=NEIGHBOURS)


def numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric column without nulls as a NumPy array of its own type."""
    array: npt.NDArray[Any] = table[name].to_numpy()
    return array


def _given(values: Ints | Floats | None, shape: tuple[int, int], missing: float) -> npt.NDArray[Any]:
    return np.full(shape, missing) if values is None else values


def _null_where(hits: pa.Table, name: str, missing: npt.NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(missing), pa.scalar(None, hits.schema.field(name).type), hits[name].combine_chunks())
