"""Work that engines carry out in the tests: small, picklable, and able to die."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from contract.errors import BadInput
from indexer.encoder import EncoderSettings
from tests.indexer.conftest import HashingEncoder


@dataclass(frozen=True)
class Square:
    """number -> (number squared, the process that did it)."""

    def __call__(self, number: int) -> tuple[int, int]:
        return number * number, os.getpid()


@dataclass(frozen=True)
class Slow:
    """Takes the longer the smaller the number, so that results come back out of turn."""

    def __call__(self, number: int) -> int:
        time.sleep(0.02 * max(0, 8 - number))
        return number


@dataclass(frozen=True)
class Dying:
    """Dies by SIGKILL at `deadly` until it has died `deaths` times; each attempt at each number leaves a mark."""

    folder: Path
    deadly: int
    deaths: int

    def __call__(self, number: int) -> int:
        attempt = len(list(self.folder.glob(f"{number}-*")))
        (self.folder / f"{number}-{attempt}").touch()
        if number == self.deadly and attempt < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return number


@dataclass(frozen=True)
class Failing:
    """Raises at number 3 what it is told to."""

    kind: str

    def __call__(self, number: int) -> int:
        if number != 3:
            return number
        if self.kind == "disk":
            raise OSError(28, "No space left on device", "somewhere")
        if self.kind == "odd":
            raise OddError("one", "two")
        raise BadInput("Expected this, found that")


class OddError(Exception):
    """One that cannot be read from its pickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


@dataclass(frozen=True)
class Lingering:
    """Says which process it is in, and stays there."""

    folder: Path

    def __call__(self, number: int) -> int:
        (self.folder / f"pid-{os.getpid()}").touch()
        time.sleep(600)
        return number


class LightEncoder(HashingEncoder):
    """The hashing encoder as an index needs it, in any process, without torch."""

    settings = EncoderSettings("light", dtype="float32", max_length=64, query_prompt="", passage_prompt="")
    location = "light"


def open_light(*_: object, **__: object) -> LightEncoder:
    """In the stead of `open_encoder`."""
    return LightEncoder()
