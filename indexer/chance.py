"""Chance: the random retriever, which draws passages by a seed and the query's text alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def draw_rows(queries: Sequence[str], k: int, rows: int, *, seed: int) -> np.ndarray:
    """For each query min(k, rows) different rows of [0, rows), int64; a smaller k is a prefix of a greater one."""
    drawn = [_draw(query, min(k, rows), rows, seed) for query in queries]
    return np.array(drawn, dtype=np.int64).reshape(len(queries), min(k, rows))


def _draw(query: str, k: int, rows: int, seed: int) -> list[int]:
    """The first k steps of a Fisher-Yates shuffle of all rows, of which only the swapped ones are kept."""
    key = blake2b(f"{seed}\0{query}".encode(errors="surrogatepass"), digest_size=16).digest()
    uniform = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(k)
    others = np.arange(k) + (uniform * (rows - np.arange(k))).astype(np.int64)
    swapped: dict[int, int] = {}
    drawn = []
    for place, other in enumerate(others.tolist()):
        drawn.append(swapped.get(other, other))
        swapped[other] = swapped.get(place, place)
    return drawn
