"""The draft: how every program writes an artifact so that it is finished or not there (laws 1, 2, 9 and 11).

A draft is a directory without a manifest. `.draft/plan.json` says what it will become; every finished step leaves its
files and, after them, a receipt `.draft/STEP.json` (files, counts, state). Killed at any moment, the same call goes on
at the first step without a receipt. The manifest is made from the receipts, in the order of the steps' names.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from contract.errors import BadInput, Busy, CorruptArtifact, NameTaken, NoSpace
from contract.manifest import (
    MANIFEST,
    Count,
    FileEntry,
    Json,
    Kind,
    Manifest,
    canonical_json,
    fault_of,
    hash_file,
    move_into_place,
    read_manifest,
    write_manifest,
    write_whole,
)

_ATTEMPT = ".attempt-"  # in a partial name, before what tells a process's attempt from all others


_FINISHED_ADVICE = "choose another name, or remove the directory"
_HALF_BUILT_ADVICE = "run it with those settings, choose another name, or discard the half-built one with --restart"


@dataclass(frozen=True)
class Plan:
    """What an artifact will be made from: the same plan gives the same artifact (law 2)."""

    kind: Kind
    version: int
    params: Mapping[str, Json]
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """What a finished step left: its files, its counts by unit, and whatever the next step must know (`state`)."""

    files: tuple[FileEntry, ...] = ()
    counts: Mapping[str, Count] = field(default_factory=dict)
    state: Mapping[str, Json] = field(default_factory=dict)


class Draft:
    """An artifact in the making. Made by `drafting`, which holds the lock.

    It can be pickled, so that other processes make steps of it while the one that holds the lock lives. Each copy has
    partial names of its own: a process that was given up for lost, and is not, meets no other attempt at its step.
    """

    def __init__(self, directory: Path, plan: Plan, finished: Manifest | None) -> None:
        self.directory = directory
        self.plan = plan
        self.finished = finished  # the manifest, when there is nothing left to do
        self._attempt = ""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"directory": self.directory.absolute()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _attempt=f"{_ATTEMPT}{secrets.token_hex(6)}")

    def partial(self, name: str) -> Path:
        """Where to write the file `name` of a step; `keep` moves it into place."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._partial_of(path)

    def scratch(self, name: str) -> Path:
        """A path for what only the making needs (a training checkpoint): it outlives a kill and goes at the finish."""
        return _workshop(self.directory) / "scratch" / name

    def receipt(self, step: str) -> Receipt | None:
        """The receipt of a step that is finished, None of one that is not."""
        try:
            raw = json.loads(self._receipt_path(step).read_bytes())
            return Receipt(
                files=tuple(FileEntry(**entry) for entry in raw["files"]),
                counts={unit: Count(**count) for unit, count in raw["counts"].items()},
                state=raw["state"],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.directory, f"the receipt of step {step} cannot be read") from error

    def keep(
        self,
        step: str,
        files: Mapping[str, int],
        *,
        counts: Mapping[str, Count] | None = None,
        state: Mapping[str, Json] | None = None,
    ) -> Receipt:
        """Finish a step: move its partial files (name -> rows) into place and leave the receipt."""
        assert step != "plan", "plan.json is the plan"
        entries = []
        for name, rows in files.items():
            path = self.directory / name
            move_into_place(self.partial(name), path)
            entries.append(FileEntry(name, rows, path.stat().st_size, hash_file(path)))
        return self._leave(step, Receipt(tuple(entries), counts or {}, state or {}))

    def adopt(
        self,
        step: str,
        directory: Path,
        files: Sequence[FileEntry],
        *,
        counts: Mapping[str, Count] | None = None,
        state: Mapping[str, Json] | None = None,
    ) -> Receipt:
        """Finish a step with files of an earlier finished artifact: linked, or copied where disks differ.

        CorruptArtifact when one of them is no longer what its manifest says.
        """
        for entry in files:
            fault = fault_of(directory, entry)
            if fault:
                raise CorruptArtifact(f"{fault}; copy it again, or build from the sources under another name")
            partial = self.partial(entry.name)
            partial.unlink(missing_ok=True)
            try:
                os.link(directory / entry.name, partial)
            except OSError:  # another disk, or one without links
                shutil.copyfile(directory / entry.name, partial)
            (self.directory / entry.name).unlink(missing_ok=True)  # renaming one link of a file to another does nothing
            move_into_place(partial, self.directory / entry.name)
        return self._leave(step, Receipt(tuple(files), counts or {}, state or {}))

    def steps(self) -> list[str]:
        """The names of the finished steps, sorted."""
        return sorted(path.stem for path in _workshop(self.directory).glob("*.json") if path.name != "plan.json")

    def finish(
        self,
        *,
        counts: Mapping[str, Count] | None = None,
        facts: Mapping[str, Json] | None = None,
        attachments: Sequence[str] = (),
    ) -> Manifest:
        """Write the manifest from the receipts. `counts`, where given, stands instead of the receipts' sum.

        `attachments` names files that are kept and hashed but are not part of the artifact's identity.
        """
        receipts = [receipt for step in self.steps() if (receipt := self.receipt(step))]
        summed: dict[str, Count] = {}
        for receipt in receipts:
            for unit, count in receipt.counts.items():
                summed[unit] = summed.get(unit, Count()) + count
        manifest = Manifest(
            kind=self.plan.kind,
            version=self.plan.version,
            params=self.plan.params,
            inputs=self.plan.inputs,
            files=tuple(e for receipt in receipts for e in receipt.files if e.name not in attachments),
            counts=summed if counts is None else counts,
            facts=facts or {},
            attachments=tuple(e for receipt in receipts for e in receipt.files if e.name in attachments),
            made={"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "by": _version()},
        )
        _sweep(self.directory)
        write_manifest(self.directory, manifest)
        shutil.rmtree(_workshop(self.directory))
        self.finished = manifest
        return manifest

    def _leave(self, step: str, receipt: Receipt) -> Receipt:
        """Write a step's receipt, after its files."""
        path = self._receipt_path(step)
        write_whole(path, canonical_json(asdict(receipt)), self._partial_of(path))
        return receipt

    def _partial_of(self, path: Path) -> Path:
        return path.with_name(f".{path.name}{self._attempt}.partial")

    def _receipt_path(self, step: str) -> Path:
        return _workshop(self.directory) / f"{step}.json"


@contextmanager
def drafting(directory: Path, plan: Plan, *, restart: bool = False) -> Iterator[Draft]:
    """Open `directory` to make `plan` in it: anew, or on from where a killed process left it.

    A directory that is finished with the same plan comes back with `draft.finished` set. Raises NameTaken when it is
    finished, or half built, with another plan (`restart` discards a half-built one), Busy when another process is at
    it, NoSpace when the disk fills up on the way.
    """
    try:
        with locked(directory):
            yield _open(directory, plan, restart)
    except Exception as error:
        if _says_disk_full(error):
            raise NoSpace(
                f"The disk of {directory} is full. What was finished is kept: free some space and run the same command"
            ) from error
        raise


def planned(directory: Path) -> Plan | None:
    """What the artifact in `directory` is made from, finished or half built; None where nothing was begun."""
    if (directory / MANIFEST).exists():
        return _plan_of(read_manifest(directory))
    try:
        return Plan(**json.loads((_workshop(directory) / "plan.json").read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise _damaged(directory, "its plan cannot be read") from error


def check_name(directory: Path, plan: Plan, *, restart: bool = False) -> None:
    """NameTaken when `drafting` would find that `directory` is, or will be, made with another plan. Touches nothing."""
    begun = planned(directory)
    if begun is not None and (directory / MANIFEST).exists():
        _check_same(directory, begun, plan, "is finished", _FINISHED_ADVICE)
    elif begun is not None and not restart:
        _check_same(directory, begun, plan, "is half built", _HALF_BUILT_ADVICE)


def discard(directory: Path) -> None:
    """Remove a half-built artifact; `.draft` goes last, so that one killed on the way is still known as half built."""
    if directory.is_dir():
        for path in directory.iterdir():
            if path != _workshop(directory):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(directory, ignore_errors=True)


def _open(directory: Path, plan: Plan, restart: bool) -> Draft:
    if (directory / MANIFEST).exists():
        return _open_finished(directory, plan)
    workshop = _workshop(directory)
    begun = None if restart else planned(directory)
    if begun is not None:
        _check_same(directory, begun, plan, "is half built", _HALF_BUILT_ADVICE)
        return _go_on(Draft(directory, plan, None))
    if directory.exists() and not workshop.exists() and (directory.is_file() or any(directory.iterdir())):
        raise NameTaken(f"{directory} holds files that are not an artifact; choose another name, or remove them")
    discard(directory)
    workshop.mkdir(parents=True)
    write_whole(workshop / "plan.json", canonical_json(asdict(plan)))
    return Draft(directory, plan, None)


def _open_finished(directory: Path, plan: Plan) -> Draft:
    manifest = read_manifest(directory)
    _check_same(directory, _plan_of(manifest), plan, "is finished", _FINISHED_ADVICE)
    for entry in (*manifest.files, *manifest.attachments):
        fault = fault_of(directory, entry)
        if fault:
            raise CorruptArtifact(f"{directory} is finished, but {fault}; remove it and run the same command again")
    shutil.rmtree(_workshop(directory), ignore_errors=True)  # killed between the manifest and the cleaning up
    return Draft(directory, plan, manifest)


def _go_on(draft: Draft) -> Draft:
    """The draft, when what its receipts promise is there: nothing damaged is built upon."""
    _sweep(draft.directory)
    for step in draft.steps():
        receipt = draft.receipt(step)
        for entry in receipt.files if receipt else ():
            fault = fault_of(draft.directory, entry)
            if fault:
                raise _damaged(draft.directory, fault)
    return draft


def _sweep(directory: Path) -> None:
    """Remove what other processes left half written when they died."""
    for path in directory.rglob(f".*{_ATTEMPT}*.partial"):
        path.unlink(missing_ok=True)


def _damaged(directory: Path, what: str) -> CorruptArtifact:
    return CorruptArtifact(f"{directory} is half built and damaged: {what}; discard it with --restart")


def _plan_of(manifest: Manifest) -> Plan:
    return Plan(manifest.kind, manifest.version, manifest.params, manifest.inputs)


def _check_same(directory: Path, found: Plan, wanted: Plan, state: str, advice: str) -> None:
    if canonical_json(asdict(found)) == canonical_json(asdict(wanted)):
        return
    there, here = _flat(asdict(found)), _flat(asdict(wanted))
    changed = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    listed = ", ".join(f"{key} is {there.get(key)} there and {here.get(key)} here" for key in changed[:4])
    raise NameTaken(f"{directory} {state} with other settings ({listed}); {advice}")


def _flat(value: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names -> JSON, so that a difference can be named."""
    flat: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = canonical_json(inner).decode()[:80]
    return flat


def _workshop(directory: Path) -> Path:
    return directory / ".draft"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One builder a directory. The kernel drops the lock with its holder, so a killed builder blocks nobody."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory.with_name(f".{directory.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if _says_disk_full(error):
            raise
        raise BadInput(f"{directory.parent} is no folder to write in ({error.strerror}); choose another") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another process is building {directory} now; wait for it, or choose another name") from None
        yield
    finally:
        os.close(handle)


def _says_disk_full(error: Exception) -> bool:
    """Arrow, FAISS and safetensors each raise an error of their own for it, with the system's words inside.

    numpy's says only how much of an array it wrote ("751030 requested and 52192 written").
    """
    said = str(error)
    wrote_in_part = "requested and" in said and said.endswith("written")
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in said
    return is_full or wrote_in_part


def _version() -> str:
    try:
        return f"transferset {metadata.version('transferset')}"
    except metadata.PackageNotFoundError:
        return "transferset from a source tree"
