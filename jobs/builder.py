"""The builder: what a room brings to build the jobs of its queue. Needs no library of the jobs' own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contract.manifest import Json
from contract.progress import Progress


@dataclass(frozen=True)
class Made:
    """What a builder made: the artifact's id, how many came and stayed, and what its job says of it besides."""

    id: str
    counts: Mapping[str, int] = field(default_factory=dict)  # total, done, dropped
    says: Mapping[str, Json] = field(default_factory=dict)


# Builds the artifact of one job: (its room's settings, name, request, progress, whether to discard a half-built one).
Builder = Callable[[Any, str, dict[str, Json], Progress, bool], Made]
