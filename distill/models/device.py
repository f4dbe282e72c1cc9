"""The device a run computes on: processor or GPU, number format, threads; fixed before the run, so that runs repeat.

A sum over two threads rounds otherwise than over one, so the number of threads is a constant. It is one: a small
student gains a third by a second thread on a free machine, two runs side by side gain all of it, and on a busy
machine two threads wait for each other (measured: nine times slower).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch

from distill.config import Precision

THREADS = 1


@dataclass(frozen=True)
class Device:
    """`name` is a torch device, `dtype` the format of matrix products; sums, losses and weights stay float32."""

    name: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]

    def matmuls(self) -> torch.autocast:
        """A context in which matrix products run in `dtype`."""
        return torch.autocast(self.name, torch.bfloat16, enabled=self.dtype == "bfloat16")

    @property
    def exact(self) -> Device:
        """The same device in float32: what a finished student is judged in, since that is how it will be used."""
        return replace(self, dtype="float32")

    @property
    def attention(self) -> str | None:
        """The attention to ask transformers for; None leaves the choice to it.

        torch 2.13's fused attention is ten times slower backwards in bfloat16 on a processor than the plain one.
        """
        return "eager" if (self.name, self.dtype) == ("cpu", "bfloat16") else None


def choose_device(precision: Precision) -> Device:
    """The GPU when there is one. `auto` takes bfloat16 where the hardware multiplies it.

    Measured on an EPYC with avx512_bf16: 1.7 times as fast for a 2 x 128 student, twice for MiniLM; on a processor
    without it bfloat16 is several times slower.
    """
    name: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    if precision != "auto":
        return Device(name, precision)
    fast = torch.cuda.is_bf16_supported() if name == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    return Device(name, "bfloat16" if fast else "float32")


@contextmanager
def threads(count: int = THREADS) -> Iterator[None]:
    """Compute with so many threads within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
