"""The cores of this process: work shared out over them, with one thread of torch to each piece.

A product that torch computes on two threads is summed otherwise than on one, so that the threads would leave a trace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process is given: `OMP_NUM_THREADS`, where an engine or a person has set it."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def shared_out(work: Callable[[Piece], Result], pieces: Sequence[Piece], threads: int) -> list[Result]:
    """`work(piece)` for every piece, so many at once; results in the pieces' order."""
    at_once = max(min(threads, len(pieces)), 1)
    try:
        import torch
    except ImportError:  # a search by a static encoder does without
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(work, pieces))
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(before)  # what one thread sets is also what later threads begin with
