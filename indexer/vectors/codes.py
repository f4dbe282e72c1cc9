"""Codes: vectors as small integers, whose inner products are exact whatever computes them, and near the true ones.

Products of codes are integers below 2**24: the same in int8, in float32, in any order, batch or number of threads. How
far they can be from the products of the vectors is known, so that a search by codes knows what it may leave out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

_SLACK = 1.0001  # what float32 may take from a norm


def levels(dim: int) -> int:
    """The greatest code: 127, or less where as many products would not fit below 2**24."""
    return max(1, min(127, math.isqrt(2**24 // max(dim, 1))))


def step_for(sample: np.ndarray) -> float:
    """What a code of 1 stands for, (n, dim) float32 vectors given."""
    reach = float(np.abs(sample).max(initial=0))
    return float(np.float32(max(reach, 1e-6) / levels(sample.shape[1])))


def codes_of(vectors: np.ndarray, step: float) -> np.ndarray:
    """(n, dim) float32 -> (n, dim) int8."""
    most = levels(vectors.shape[1])
    codes: np.ndarray = np.clip(np.rint(vectors / np.float32(step)), -most, most).astype(np.int8)
    return codes


def errors_of(vectors: np.ndarray, codes: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """How far each decoded vector is from its own, and how long it is: (n,) float32 both, rounded up."""
    decoded = codes.astype(np.float32) * np.float32(step)
    errors = np.linalg.norm(vectors - decoded, axis=1) * _SLACK
    norms = np.linalg.norm(decoded, axis=1) * _SLACK
    return errors.astype(np.float32), norms.astype(np.float32)


@dataclass(frozen=True)
class QueryCodes:
    """Queries as codes, each with a step of its own; float32 arrays of length n beside the codes (n, dim)."""

    codes: np.ndarray
    steps: np.ndarray
    errors: np.ndarray
    norms: np.ndarray  # of the queries themselves

    @staticmethod
    def of(queries: np.ndarray) -> QueryCodes:
        most = levels(queries.shape[1])
        reach = np.abs(queries).max(axis=1, initial=0)
        steps = (np.where(reach > 0, reach, 1) / most).astype(np.float32)
        codes = np.clip(np.rint(queries / steps[:, None]), -most, most).astype(np.int8)
        errors = np.linalg.norm(queries - codes * steps[:, None], axis=1) * _SLACK
        norms = np.linalg.norm(queries, axis=1) * _SLACK
        return QueryCodes(codes, steps, errors.astype(np.float32), norms.astype(np.float32))


def products(first: np.ndarray, second: np.ndarray, room: np.ndarray | None = None) -> np.ndarray:
    """The inner products of all pairs, (m, dim) and (n, dim) int8 -> (m, n) int32, by the faster of two equal ways.

    `room` is an int32 array to put them in: memory that is fresh each time costs as much as the products.
    """
    count = len(first) * len(second)
    found = np.empty(count, np.int32) if room is None else room[:count]
    way = _by_integers if _integers_do(first.shape[1]) else _by_floats
    way(first, second, found.reshape(len(first), len(second)))
    return found.reshape(len(first), len(second))


def _by_integers(first: np.ndarray, second: np.ndarray, found: np.ndarray) -> None:
    import torch

    torch._int_mm(torch.from_numpy(first), torch.from_numpy(second).t(), out=torch.from_numpy(found))


def _by_floats(first: np.ndarray, second: np.ndarray, found: np.ndarray) -> None:
    found[:] = first.astype(np.float32) @ second.astype(np.float32).T


@cache
def _integers_do(dim: int) -> bool:
    """Whether this machine multiplies int8 exactly and well: before AVX512-VNNI sums of pairs overflow in silence.

    Torch's name for it is private, and torch may be absent; where it does not do, floats are as exact, only slower.
    """
    try:
        import torch

        threads = torch.get_num_threads()
    except ImportError:
        return False
    draw, most = np.random.default_rng(0), levels(dim)
    greatest = np.where(draw.random((64, dim)) < 0.5, most, -most).astype(np.int8)
    first = np.concatenate([greatest, np.full((32, dim), most, np.int8)])
    second = np.concatenate([greatest, np.full((32, dim), -most, np.int8), draw.permuted(greatest, axis=0)])
    found, true = (np.zeros((len(first), len(second)), np.int32) for _ in range(2))
    try:
        torch.set_num_threads(1)
        seconds = _seconds(_by_integers, first, second, found)
        return seconds < _seconds(_by_floats, first, second, true) and bool((found == true).all())
    except (AttributeError, RuntimeError):
        return False
    finally:
        torch.set_num_threads(threads)


def _seconds(way: Callable[..., None], first: np.ndarray, second: np.ndarray, found: np.ndarray) -> float:
    best = math.inf
    for _ in range(3):
        started = time.thread_time()
        way(first, second, found)
        best = min(best, time.thread_time() - started)
    return best
