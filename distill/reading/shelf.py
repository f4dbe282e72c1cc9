"""The shelf: what is read off a transfer set and is as large as it, laid down once in flat files and mapped from there.

Texts, tokens, words and labels by row: written as they come, a chunk at a time, and read by the row, so that memory
follows the batch and not the set. Runs, seeds and trials share an entry, which is known by all that it follows from.
What lies here can always be made again: entries may be removed whenever no process is at them, and beyond a bound the
longest unused go.

.reading/WHAT-HASH/, beside transfer sets: manifest.json and NAME.DTYPE, an array's numbers end to end, a file each
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from contract.artifact import Artifact
from contract.draft import Draft, Plan, locked
from contract.errors import Busy
from contract.manifest import MANIFEST, Json, Manifest, canonical_json
from contract.progress import Progress, silent
from distill.shared import drafting_shared

FOLDER = ".reading"  # in the folder of all transfer sets
VERSION = 1
MAX_BYTES = 40_000_000_000  # of all entries; one of a million texts with 150 classes and their tokens takes 0.6 GB


class Pages:
    """The files of an entry in the making; what is added to one goes to its end."""

    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self._files = files
        self._ends: dict[str, int] = {}

    def add(self, **arrays: npt.NDArray[Any]) -> None:
        """By the names of the arrays, without their dtypes; each must be of its file's dtype."""
        for name, array in arrays.items():
            self._files[f"{name}.{array.dtype.name}"].write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def add_ends(self, **lengths: npt.NDArray[np.int64]) -> None:
        """Of things laid end to end in another file: where the first begins, and where each of these ends."""
        for name, some in lengths.items():
            last = self._ends.get(name)
            ends = np.cumsum(some, dtype=np.int64) + (last or 0)
            self.add(**{name: ends if last is not None else np.concatenate([np.zeros(1, np.int64), ends])})
            self._ends[name] = int(ends[-1]) if len(ends) else last or 0


@dataclass(frozen=True)
class Laid:
    """A finished entry whose files are what its manifest says."""

    directory: Path
    manifest: Manifest

    @property
    def facts(self) -> Mapping[str, Json]:
        return self.manifest.facts

    def array(self, name: str, *row: int) -> npt.NDArray[Any]:
        """An array by its name and dtype, `flat.int32`; of rows of the shape `row`. It is read when it is looked at."""
        path, dtype = self.directory / name, np.dtype(name.rpartition(".")[2])
        if not path.stat().st_size:
            return np.empty((0, *row), dtype)
        return np.memmap(path, dtype, "r").view(np.ndarray).reshape(-1, *row)


@dataclass(frozen=True)
class Shelf:
    """The shelf of the transfer sets of a folder. `progress` hears what is laid down."""

    folder: Path
    progress: Progress = silent
    max_bytes: int = MAX_BYTES

    @classmethod
    def beside(cls, transfer_set: Artifact, progress: Progress = silent) -> Shelf:
        return cls(transfer_set.directory.parent / FOLDER, progress)

    def obtain(
        self,
        what: str,
        params: Mapping[str, Json],
        arrays: Sequence[str],
        lay: Callable[[Pages], Mapping[str, Json]],
    ) -> Laid:
        """The entry of these params: the one that is there, else laid down now by `lay`, which returns its facts."""

        def make(draft: Draft) -> Mapping[str, Json]:
            with ExitStack() as stack:
                return lay(Pages({name: stack.enter_context(draft.partial(name).open("wb")) for name in arrays}))

        return self.obtain_files(what, params, arrays, make)

    def obtain_files(
        self,
        what: str,
        params: Mapping[str, Json],
        files: Sequence[str],
        make: Callable[[Draft], Mapping[str, Json]],
    ) -> Laid:
        """The same of files that `make` leaves under their partial names.

        Another process that is at it is waited for; one that was killed is begun anew. CorruptArtifact when a file is
        no longer what was written, NoSpace when the disk is full.
        """
        return self.obtain_together({what: params}, files, lambda drafts: {what: make(drafts[what])})[what]

    def obtain_together(
        self,
        wanted: Mapping[str, Mapping[str, Json]],
        files: Sequence[str],
        make: Callable[[Mapping[str, Draft]], Mapping[str, Mapping[str, Json]]],
    ) -> dict[str, Laid]:
        """The same of several entries that have the same files; `make` makes at once all that were not there."""
        plans = {what: Plan("reading", VERSION, {**of, "byte_order": sys.byteorder}) for what, of in wanted.items()}
        with ExitStack() as stack:
            drafts = {  # locked in one order by everybody, so that no two wait for one another
                what: stack.enter_context(drafting_shared(self._directory(what, plan), plan, progress=self.progress))
                for what, plan in sorted(plans.items())
            }
            missing = {what: draft for what, draft in drafts.items() if draft.finished is None}
            facts = _made(missing, files, make) if missing else {}
            for what, draft in missing.items():
                draft.keep("lay", dict.fromkeys(files, 0))
                draft.finish(facts=facts[what])
            laid = {what: _laid(draft) for what, draft in drafts.items()}
        if missing:
            self._tidy([laid[what].directory for what in missing])
        return laid

    def _directory(self, what: str, plan: Plan) -> Path:
        return self.folder / f"{what}-{hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:16]}"

    def _tidy(self, newest: Sequence[Path]) -> None:
        """Keep to the bound: the longest unused go, but none that a process is making. Maps of one that went stay.

        The shelf is never the reason that a disk is full: it has at most half of what it and all that is free take.
        """
        entries = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        sizes = {path: _bytes_of(path) for path in entries}
        taken = sum(sizes.values())
        beyond = taken - min(self.max_bytes, (taken + shutil.disk_usage(self.folder).free) // 2)
        for path in sorted(entries, key=_last_used):
            if beyond > 0 and path not in newest:
                beyond -= sizes[path] if _remove(path) else 0


def _made(
    drafts: Mapping[str, Draft],
    files: Sequence[str],
    make: Callable[[Mapping[str, Draft]], Mapping[str, Mapping[str, Json]]],
) -> Mapping[str, Mapping[str, Json]]:
    """What `make` returns; where it fails, a full disk is not kept full by what is half written."""
    try:
        return make(drafts)
    except BaseException:
        for draft, name in product(drafts.values(), files):
            draft.partial(name).unlink(missing_ok=True)
        raise


def _laid(draft: Draft) -> Laid:
    """A finished entry, which is now in use: others are older."""
    assert draft.finished is not None, "it was finished before, or just now"
    os.utime(draft.directory / MANIFEST)
    return Laid(draft.directory, draft.finished)


def _remove(directory: Path) -> bool:
    """Whether it could be removed; under another name first, so that what is left of it is nobody's."""
    hidden = directory.with_name(f".{directory.name}.removed")
    try:
        with locked(directory):
            shutil.rmtree(hidden, ignore_errors=True)
            directory.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
    except (Busy, OSError):  # it is being made, or another process removed it first
        return False
    return True


def _bytes_of(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


def _last_used(directory: Path) -> float:
    """When it was; of a half-built one, when it was begun."""
    try:
        return (directory / MANIFEST).stat().st_mtime
    except OSError:
        return directory.stat().st_mtime if directory.exists() else 0.0
