"""Removal: a finished or half-built version of an artifact goes when its exact name is given, and nothing needs it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from contract.draft import locked, planned
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import MANIFEST, Kind, read_manifest
from contract.store import FOLDERS, Store, exact_name, split_version

MADE_FROM = "made-from.json"  # an index's attachment: kind -> exact name of what it was made from


def remove_artifact(store: Store, kind: Kind, name: str) -> Path:
    """Remove `name@N`, or the one version that a bare `name` has; returns where it was.

    BadInput when the name means several versions or an index still names it, NotFound when there is nothing, Busy
    while it is built. It is renamed to a hidden name first: killed on the way, it is gone, and the rest is swept later.
    """
    directory = _meant(store, kind, name)
    with locked(directory):
        if not _is_there(directory):
            raise NotFound(f"There is no {kind} {exact_name(directory)} any more; another process removed it")
        _check_unneeded(store, kind, directory)
        hidden = directory.with_name(f".{directory.name}.removed")
        shutil.rmtree(hidden, ignore_errors=True)  # left by one that was killed
        directory.rename(hidden)
        _flush(directory.parent)
        shutil.rmtree(hidden)
    return directory


def _meant(store: Store, kind: Kind, name: str) -> Path:
    plain, version = split_version(name)
    there = [number for number in _versions(store, kind, plain) if version in (None, number)]
    if not there:
        known = ", ".join(store.names(kind)[:10]) or "none"
        raise NotFound(f"There is no {kind} {name}; expected the name of one that is there: {known}")
    if len(there) > 1:
        listed = ", ".join(f"{plain}@{number}" for number in there)
        raise BadInput(f"{name} has {len(there)} versions, expected one of {listed}; name the one to remove")
    return store.path(kind, plain, there[0])


def _versions(store: Store, kind: Kind, plain: str) -> list[int]:
    """The versions of a name, half-built ones too, ascending."""
    store.path(kind, plain)  # what is no plain name is refused here
    folder = store.root / FOLDERS[kind]
    found = [split_version(path.name) for path in folder.glob(f"{plain}*") if _is_there(path)]
    return sorted(version or 1 for name, version in found if name == plain)


def _is_there(directory: Path) -> bool:
    return (directory / MANIFEST).is_file() or (directory / ".draft").is_dir()


def _check_unneeded(store: Store, kind: Kind, directory: Path) -> None:
    users = sorted({index.name for index in _users(store, kind, directory)})
    if users:
        raise BadInput(
            f"{exact_name(directory)} is what the index {', '.join(users)} was made from; "
            "expected a name that no index needs: remove the index first"
        )


def _users(store: Store, kind: Kind, directory: Path) -> Iterator[Path]:
    """The indexes, half-built ones too, that were made from the artifact in `directory`."""
    own_id = _id(directory)
    for index in (store.root / FOLDERS["index"]).glob("*"):
        if index.name.startswith("."):
            continue
        if (index / MADE_FROM).is_file():
            if _made_from(index, kind) == exact_name(directory):
                yield index
        elif own_id and not (index / MANIFEST).exists() and _is_there(index):
            plan = planned(index)
            if plan is not None and plan.inputs.get(kind) == own_id:
                yield index


def _made_from(index: Path, kind: Kind) -> str | None:
    """The exact name of what an index was made from, as its attachment says."""
    try:
        name = json.loads((index / MADE_FROM).read_bytes()).get(kind)
    except (ValueError, AttributeError) as error:
        raise CorruptArtifact(f"{index / MADE_FROM} cannot be read; verify or remove that index first") from error
    if not isinstance(name, str):
        return None
    plain, version = split_version(name)
    return f"{plain}@{version or 1}"


def _id(directory: Path) -> str | None:
    """The content id of a finished artifact; None of a half-built one, and of one whose manifest is damaged."""
    try:
        return read_manifest(directory).id
    except (OSError, CorruptArtifact):
        return None


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
