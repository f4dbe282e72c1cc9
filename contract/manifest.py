"""The manifest: the JSON that finishes a directory and says what it is, what it was made from and how.

Written by every program as the last file of an artifact; read by every program that takes one as input.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from contract.errors import CorruptArtifact

Kind = Literal[
    "corpus", "index", "transfer-set", "teacher", "augmentation", "labels", "run", "study", "export", "reading"
]
Json = Any  # a JSON value: the only place where the type system gives up, because JSON does

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact: its name inside the directory, rows, size in bytes, sha256 in hex."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Count:
    """Law 9 for one unit (passages, utterances, neighbours …): rows in = rows out + dropped, by reason."""

    rows_in: int = 0
    rows_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dropped = sum(self.dropped.values())
        assert self.rows_in == self.rows_out + dropped, f"{self.rows_in} in, {self.rows_out} out, {dropped} dropped"

    def __add__(self, other: Count) -> Count:
        reasons = sorted({*self.dropped, *other.dropped})
        dropped = {reason: self.dropped.get(reason, 0) + other.dropped.get(reason, 0) for reason in reasons}
        return Count(self.rows_in + other.rows_in, self.rows_out + other.rows_out, dropped)


@dataclass(frozen=True)
class Manifest:
    """What a finished directory is.

    `params` is every setting that made it, `inputs` maps an input's kind to its id, `counts` maps a unit to its
    Count, `facts` holds what was measured of the content (mean length, recall@k …). These and `files` make the id.
    `attachments` are files that may differ from machine to machine (timings, pages): hashed each, outside the id.
    `made` says when and by which version, outside the id too.
    """

    kind: Kind
    version: int
    params: Mapping[str, Json]
    inputs: Mapping[str, str]
    files: tuple[FileEntry, ...]
    counts: Mapping[str, Count]
    facts: Mapping[str, Json] = field(default_factory=dict)
    attachments: tuple[FileEntry, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The content id: 32 hex digits of the sha256 over everything but `attachments` and `made`."""
        content = asdict(self)
        del content["attachments"], content["made"]
        return hashlib.sha256(canonical_json(content)).hexdigest()[:32]

    def entry(self, name: str) -> FileEntry:
        """The entry of a file by its name; KeyError when the artifact has no such file."""
        for entry in (*self.files, *self.attachments):
            if entry.name == name:
                return entry
        raise KeyError(name)

    def to_json(self) -> str:
        return json.dumps({"id": self.id, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def canonical_json(value: Json) -> bytes:
    """One spelling for one value: sorted keys, no white space, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Finish `directory`: the manifest appears whole or not at all, and is on the disk when this returns."""
    write_whole(directory / MANIFEST, manifest.to_json().encode())


def write_whole(path: Path, content: bytes, partial: Path | None = None) -> None:
    """Write `content` to a partial name, flush it to the disk, rename it to `path`."""
    partial = partial or path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
    move_into_place(partial, path)


def move_into_place(partial: Path, path: Path) -> None:
    """Flush `partial` to the disk and rename it to `path`, so that `path` is never seen half written."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a finished directory; CorruptArtifact when it is broken or its id is not its content's."""
    path = directory / MANIFEST
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest of its JSON, which a stranger may have written; CorruptArtifact as above, naming `where`."""
    try:
        raw = json.loads(content)
        manifest = Manifest(
            kind=raw["kind"],
            version=raw["version"],
            params=raw["params"],
            inputs=raw["inputs"],
            files=tuple(FileEntry(**entry) for entry in raw["files"]),
            counts={unit: Count(**count) for unit, count in raw["counts"].items()},
            facts=raw["facts"],
            attachments=tuple(FileEntry(**entry) for entry in raw["attachments"]),
            made=raw["made"],
        )
        stored_id, found_id = raw["id"], manifest.id
        is_inside = all(stays_inside(entry.name) for entry in (*manifest.files, *manifest.attachments))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise CorruptArtifact(
            f"{where} is not a manifest this version can read ({type(error).__name__}: {error}); "
            "copy the directory again or rebuild it"
        ) from error
    if found_id != stored_id:
        raise CorruptArtifact(
            f"{where} was changed after it was written: it says id {stored_id}, its content has {found_id}; "
            "copy the directory again or rebuild it"
        )
    if not is_inside:
        raise CorruptArtifact(f"{where} names a file outside its directory; do not use this artifact")
    return manifest


def stays_inside(name: str) -> bool:
    """Whether a file's name in a manifest, which a stranger may have written, is a path below the directory."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def hash_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(directory: Path, entry: FileEntry) -> str | None:
    """What is wrong with a file that `entry` promises, None when its bytes are the promised ones. Reads them all."""
    path = directory / entry.name
    try:
        size = path.stat().st_size
        found = hash_file(path) if size == entry.bytes else None
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None if found == entry.sha256 else f"{path} does not match the sha256 in its manifest"
