"""Recall: how many of the true nearest an approximate search finds, measured as users ask (law 4).

Users' utterances are shorter than passages, and need more lists: so the openings of passages are encoded as queries,
and decide how many lists are visited. The passages' own vectors are asked too, for comparison with other engines.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from contract.artifact import Artifact
from indexer.encoder import TextEncoder
from indexer.vectors.lists import Lists
from indexer.vectors.nearest import nearest
from indexer.vectors.stored import Vectors

RECALL_K = 32
SAMPLE = 512  # passages that are asked for
OPENING_WORDS = 6


def drawn(rows: int, seed: int) -> np.ndarray:
    """The passages that are asked for, (n,) rows."""
    return np.sort(np.random.default_rng(seed + 1).choice(rows, min(SAMPLE, rows), replace=False))


def openings(corpus: Artifact, rows: np.ndarray, encoder: TextEncoder) -> np.ndarray:
    """The first words of these passages as queries, (n, dim)."""
    texts = [text for row in rows.tolist() for text in _texts(corpus, row)]
    return encoder.encode([" ".join(text.split()[:OPENING_WORDS]) for text in texts], kind="query")


def true_nearest(lists: Lists, vectors: Vectors, queries: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The nearest of all passages but the one each query is of: (n, k) rows."""
    k = min(RECALL_K + 1, vectors.rows)
    _, rows = nearest(lists, vectors, queries, lists.everywhere(len(queries)), k)
    return without(rows, own)


def without(rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(n, k + 1) rows less a query's own one, or less the last where that is not among them: (n, k)."""
    is_own = rows == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    others: np.ndarray = rows[~is_own].reshape(len(rows), -1)
    return others


def gaps(lists: Lists, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """By which margin each row's list is still visited, (n, k): a cosine, negative for the nearest lists."""
    near, tenth, units = lists.nearness(queries)
    own = np.take_along_axis(near, lists.list_of[rows].astype(np.int64), axis=1).astype(np.int64)
    found: np.ndarray = (tenth[:, None] - own) * units[:, None]
    return found


def margin_for(gaps: np.ndarray, recall: float) -> float:
    """The least margin that finds this share of what has these gaps."""
    wanted = min(max(math.ceil(recall * gaps.size), 1), gaps.size)
    return math.ceil(max(float(np.sort(gaps, axis=None)[wanted - 1]), 0) * 1e6) / 1e6


def share_found(found: np.ndarray, true: np.ndarray) -> float:
    """The share of the true rows (n, k) that are among the found ones."""
    shares = [np.isin(one, other).mean() for one, other in zip(true, found, strict=True)] if true.size else [1.0]
    return round(float(np.mean(shares)), 4)


def least_for(share_at: Callable[[int], float], recall: float, first: int, most: int) -> int:
    """The first of `first`, twice that, … up to `most` whose share reaches the recall, else the last."""
    effort = first
    while effort < most and share_at(effort) < recall:
        effort = min(2 * effort, most)
    return effort


def _texts(corpus: Artifact, row: int) -> list[str]:
    texts: list[str] = []
    for batch in corpus.batches(columns=["text"], start=row, stop=row + 1):
        texts += batch.column("text").to_pylist()
    return texts
