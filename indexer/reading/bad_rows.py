"""The errors file in the making: where each row that could not be read stands, never what stood there."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from contract.manifest import canonical_json
from contract.rows import BadRow

ERRORS = "errors.jsonl"  # an attachment of a corpus: paths differ from machine to machine


class BadRows:
    """Bad rows are appended as they come; a restart cuts the file back to what the last finished shard knew."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.path.touch()
        os.truncate(path, size)
        self._file = path.open("ab")

    def add(self, bad: BadRow) -> None:
        self._file.write(canonical_json(asdict(bad)) + b"\n")

    def flush(self) -> int:
        """Put what was added on the disk; the file's size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> BadRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
