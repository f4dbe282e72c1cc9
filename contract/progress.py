"""Progress: how long work says how far it is, without knowing who listens (a terminal, a log, a job's events)."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with a stage's name, how much of it is done, and the total where it is known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """The listener that listens to nothing."""
