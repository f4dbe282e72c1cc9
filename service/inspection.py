"""Inspection: what is in a transfer set, read from its shards: sizes, sources, ranks, variety, nearness to the task.

Distinct-n and the overlap of the most frequent words are the measures of papers.md, B; both move with the amount of
text, so compare them between sets of equal size.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.artifact import Artifact
from contract.manifest import Count, Json
from service.heldout import folded_words
from service.neighbours import queries_of

VOCABULARY = 5000  # most frequent words compared (papers.md, B)
BATCH_ROWS = 512
BARS = 24  # of a histogram
SCORES = ("score", "lexical_score", "dense_score")


@dataclass(frozen=True)
class Spread:
    """Least, median, mean and most of some numbers; None when there are none."""

    least: float
    median: float
    mean: float
    most: float


@dataclass(frozen=True)
class Histogram:
    """How many of some numbers lie in each of so many bars: bar i is [edges[i], edges[i + 1]), the last one closed."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Side:
    """One side of the set: the task's texts, or the generic ones. Distinct-n is distinct / all n-grams of words."""

    texts: int
    words: Spread | None
    words_histogram: Histogram | None
    vocabulary: int
    distinct_1: float | None
    distinct_2: float | None


@dataclass(frozen=True)
class Inspection:
    """What is in a transfer set. `vocabulary_overlap` is the share of the task's most frequent words (at most 5,000)
    that are among the most frequent generic ones. `histograms` are those of the scores the neighbours have: `score` by
    the set's retriever, `lexical_score` and `dense_score` by those it fused; what none has is left out."""

    name: str
    id: str
    retriever: str
    rows: int
    texts: int
    generic_share: float
    neighbours_per_utterance: Spread | None
    task: Side
    generic: Side
    vocabulary_overlap: float | None
    ranks: Spread | None
    scores: Spread | None
    histograms: Mapping[str, Histogram]
    sources: Mapping[str, int]
    counts: Mapping[str, Count]
    params: Mapping[str, Json]
    inputs: Mapping[str, str]


def inspect_transfer_set(artifact: Artifact) -> Inspection:
    """Read every shard once, in batches. Task texts are the utterances the set includes."""
    task, generic = _Reader(), _Reader()
    per_utterance, ranks = array("l"), array("l")
    scores = {name: array("d") for name in SCORES}
    sources: Counter[str] = Counter()
    columns = ["text", "text_pair", "include_utterance", "neighbours"]
    for batch in artifact.batches(columns=columns, batch_rows=BATCH_ROWS):
        rows = pa.Table.from_batches([batch])
        task.read(queries_of(rows.filter(rows["include_utterance"])))
        per_utterance.extend(pc.list_value_length(batch.column("neighbours")).to_pylist())
        neighbours = pa.Table.from_struct_array(batch.column("neighbours").flatten())
        generic.read(neighbours["text"].to_pylist())
        ranks.extend(neighbours["rank"].to_pylist())
        for name, numbers in scores.items():
            numbers.extend(neighbours[name].drop_null().to_pylist())
        sources.update(neighbours["source"].to_pylist())
    texts = len(task.lengths) + len(generic.lengths)
    manifest = artifact.manifest
    return Inspection(
        name=artifact.directory.name,
        id=artifact.id,
        retriever=str(manifest.params["retriever"]),
        rows=artifact.rows,
        texts=texts,
        generic_share=len(generic.lengths) / texts if texts else 0.0,
        neighbours_per_utterance=_spread(per_utterance),
        task=task.side(),
        generic=generic.side(),
        vocabulary_overlap=vocabulary_overlap(task.words, generic.words),
        ranks=_spread(ranks),
        scores=_spread(scores["score"]),
        histograms={name: found for name in SCORES if (found := histogram(scores[name])) is not None},
        sources=dict(sorted(sources.items(), key=lambda item: (-item[1], item[0]))),
        counts=manifest.counts,
        params=manifest.params,
        inputs=manifest.inputs,
    )


def vocabulary_overlap(task: Counter[str], generic: Counter[str], most: int = VOCABULARY) -> float | None:
    """The share of the task's `most` frequent words that are among the `most` frequent generic ones."""
    of_task, of_generic = _most_frequent(task, most), _most_frequent(generic, most)
    return len(of_task & of_generic) / len(of_task) if of_task else None


def histogram(values: Sequence[float], *, whole: bool = False) -> Histogram | None:
    """Numbers in at most BARS bars of one width, those that are no finite number aside; None when there are none.

    `whole` is for integers: every bar is as many of them wide, so that none is full for lying on an edge.
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    least, most = float(numbers.min()), float(numbers.max())
    if whole:
        width = math.ceil((most - least + 1) / BARS)
        edges = np.arange(least, most + width + 1, width)
    else:
        edges = np.linspace(least, most, BARS + 1)
        if (np.diff(edges) <= 0).any():  # one number, or what rounding makes one
            margin = max(1.0, abs(most)) / 2
            edges = np.linspace(least - margin, most + margin, BARS + 1)
    counts, ends = np.histogram(numbers, edges)
    return Histogram(tuple(ends.tolist()), tuple(counts.tolist()))


@dataclass
class _Reader:
    """Words, pairs of words and lengths of the texts read so far; memory follows the distinct ones."""

    words: Counter[str] = field(default_factory=Counter)
    lengths: array[int] = field(default_factory=lambda: array("l"))
    numbers: dict[str, int] = field(default_factory=dict)
    pairs: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # distinct, sorted
    all_pairs: int = 0

    def read(self, texts: Sequence[str]) -> None:
        fresh = array("q")
        for text in texts:
            words = folded_words(text)
            self.words.update(words)
            self.lengths.append(len(text.split()))
            numbered = [self.numbers.setdefault(word, len(self.numbers)) for word in words]
            fresh.extend(first << 32 | second for first, second in pairwise(numbered))
        self.all_pairs += len(fresh)
        self.pairs = np.union1d(self.pairs, np.frombuffer(fresh, np.int64) if fresh else np.zeros(0, np.int64))

    def side(self) -> Side:
        return Side(
            texts=len(self.lengths),
            words=_spread(self.lengths),
            words_histogram=histogram(self.lengths, whole=True),
            vocabulary=len(self.words),
            distinct_1=_ratio(len(self.words), self.words.total()),
            distinct_2=_ratio(len(self.pairs), self.all_pairs),
        )


def _most_frequent(words: Counter[str], most: int) -> set[str]:
    return {word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:most]}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _spread(values: array[int] | array[float]) -> Spread | None:
    if not values:
        return None
    numbers = np.asarray(values)
    return Spread(float(numbers.min()), float(np.median(numbers)), float(numbers.mean()), float(numbers.max()))
