"""Everything a user can cause and mend, as one tree of errors that carry a sentence.

    TransfersetError
    ├── BadInput          a file, row, column, setting or name is not what was expected
    │   └── InUse         what is to be removed is needed by something else
    ├── NotFound          nothing of that name
    ├── NameTaken         a finished (or half-built) artifact of that name was made with other settings
    ├── Busy              another process is building it now
    ├── CorruptArtifact   a file does not match its manifest, or the manifest itself is broken
    ├── NoSpace           the disk is full
    ├── WorkerLost        processes that worked at a shard died, again and again
    └── MissingExtra      a library of another extra is needed

A message says what was expected, what was found, where, and what to do. Commands print it and exit with 2;
HTTP answers it as a problem document with `status`.
"""

from __future__ import annotations


class TransfersetError(Exception):
    """A sentence for the user. `status` is the HTTP status that says the same."""

    status = 422

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(TransfersetError):
    """A file, row, column, setting or name is not what was expected."""


class InUse(BadInput):
    """What is to be removed is needed by something else."""

    status = 409


class NotFound(TransfersetError):
    """Nothing of that name."""

    status = 404


class NameTaken(TransfersetError):
    """A finished or half-built artifact of that name was made with other settings."""

    status = 409


class Busy(TransfersetError):
    """Another process is building the same artifact now."""

    status = 409


class CorruptArtifact(TransfersetError):
    """A file does not match its manifest, or the manifest itself is broken."""

    status = 500


class NoSpace(TransfersetError):
    """The disk is full; what was finished stays and the same command goes on from there."""

    status = 507


class WorkerLost(TransfersetError):
    """Processes that worked at a shard died, again and again; what was finished stays."""

    status = 500


class MissingExtra(TransfersetError):
    """A library of an extra that is not installed is needed."""

    status = 501
