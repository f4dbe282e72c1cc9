"""Removal: a finished or half-built version of an artifact goes when its exact name is given, and nothing needs it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from contract.draft import locked, planned
from contract.errors import BadInput, CorruptArtifact, InUse, NotFound
from contract.manifest import MANIFEST, Kind, read_manifest
from contract.store import FOLDERS, Store, exact_name, split_version

MADE_FROM = "made-from.json"  # an index's attachment: kind -> exact name of what it was made from
# What was made from an artifact and can be told from it for good only while that is there.
TOLD_BY: dict[Kind, Kind] = {"transfer-set": "run", "run": "export"}


def remove_artifact(store: Store, kind: Kind, name: str, *, even_if_used: bool = False) -> Path:
    """Remove `name@N`, or the one version that a bare `name` has; returns where it was.

    BadInput when the name means several versions, InUse when something half built needs it, an index still names it, or
    (unless `even_if_used`) a run or an export was made from it; NotFound when there is nothing, Busy while it is built.
    It is renamed to a hidden name first: killed on the way, it is gone, and the rest is swept later.
    """
    directory = _meant(store, kind, name)
    with locked(directory):
        if not _is_there(directory):
            raise NotFound(f"There is no {kind} {exact_name(directory)} any more; another process removed it")
        _check_unneeded(store, kind, directory, even_if_used)
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


def users(store: Store, kind: Kind, directory: Path) -> list[str]:
    """What finished artifacts were made from the one in `directory`, as "run r1@1", sorted.

    Where another artifact of the same content stays, nothing needs this one.
    """
    user, own_id = TOLD_BY.get(kind), _id(directory)
    if user is None or own_id is None or _has_twin(store, kind, directory, own_id):
        return []
    found = (path for path in _artifacts(store, user) if own_id in _inputs(path).values())
    return sorted(f"{user} {exact_name(path)}" for path in found)


def half_built(store: Store) -> Iterator[tuple[Kind, Path]]:
    """The artifacts that are begun and not finished."""
    for kind in FOLDERS:
        for path in sorted((store.root / FOLDERS[kind]).glob("[!.]*")):
            if not (path / MANIFEST).exists() and _is_there(path):
                yield kind, path


def _check_unneeded(store: Store, kind: Kind, directory: Path, even_if_used: bool) -> None:
    indexes = sorted({index.name for index in _indexes_of(store, kind, directory)})
    if indexes:
        raise InUse(
            f"{exact_name(directory)} is what the index {', '.join(indexes)} was made from; "
            "expected a name that no index needs: remove the index first"
        )
    own_id = _id(directory)
    for user, path in half_built(store):
        plan = planned(path)
        if own_id is not None and plan is not None and own_id in plan.inputs.values():
            raise InUse(
                f"The {user} {path.name} is half built and needs the {kind} {exact_name(directory)}; "
                "finish it, or remove it first"
            )
    if not even_if_used and (found := users(store, kind, directory)):
        raise InUse(
            f"The {', '.join(found[:5])} was made from the {kind} {exact_name(directory)}; "
            "remove that first, or say that this shall go all the same: even_if_used"
        )


def _indexes_of(store: Store, kind: Kind, directory: Path) -> Iterator[Path]:
    """The finished indexes that name the artifact in `directory`."""
    for index in _artifacts(store, "index"):
        if (index / MADE_FROM).is_file() and _made_from(index, kind) == exact_name(directory):
            yield index


def _artifacts(store: Store, kind: Kind) -> Iterator[Path]:
    """The finished artifacts of a kind, and half-built indexes, which may say what they are made from."""
    for path in sorted((store.root / FOLDERS[kind]).glob("[!.]*")):
        if (path / MANIFEST).is_file() or (path / MADE_FROM).is_file():
            yield path


def _has_twin(store: Store, kind: Kind, directory: Path, own_id: str) -> bool:
    return any(path != directory and _id(path) == own_id for path in _artifacts(store, kind))


def _inputs(directory: Path) -> Mapping[str, str]:
    try:
        return read_manifest(directory).inputs
    except (OSError, CorruptArtifact):
        return {}


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
