"""The lineage of a run: every artifact it hangs on, by kind, id and the name it has in this store; and the licences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact, TransfersetError
from contract.manifest import MANIFEST, Manifest, read_manifest
from contract.store import FOLDERS, Store

LICENSED = ("student", "teacher", "task", "corpus")  # what a licence can be of
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_LICENCE_LINE = re.compile(r"^licen[sc]e:\s*['\"]?([A-Za-z0-9][A-Za-z0-9.+_-]{0,63})['\"]?\s*$", re.MULTILINE)
_NUMBER = re.compile(r"-[0-9]+$")
_KINDS = {str(kind): kind for kind in FOLDERS}


@dataclass(frozen=True)
class Ancestor:
    """Something a run was made from; `name` is None where this store has nothing of that id."""

    kind: str
    id: str
    name: str | None


def lineage_of(store: Store, run: Artifact) -> tuple[Ancestor, ...]:
    """The run, what it was made from, what that was made from …, each once, nearest first."""
    found = [Ancestor("run", run.id, run.directory.name)]
    waiting = list(run.manifest.inputs.items())
    while waiting:
        kind, id_ = waiting.pop(0)
        if any(ancestor.id == id_ for ancestor in found):
            continue
        directory, manifest = find_by_id(store, kind, id_) or (None, None)
        found.append(Ancestor(kind, id_, directory.name if directory else None))
        waiting += manifest.inputs.items() if manifest else ()
    return tuple(found)


def find_by_id(store: Store, kind: str, id_: str) -> tuple[Path, Manifest] | None:
    """The artifact of that kind and content in this store, if there is one. The second of a kind is named teacher-1."""
    kind = _NUMBER.sub("", kind)
    return next((each for each in _artifacts(store, kind) if each[1].id == id_), None)


def read_licences(given: Sequence[str]) -> dict[str, str]:
    """`--license student=apache-2.0`, any number of times -> {"student": "apache-2.0"}."""
    licences = {}
    for each in given:
        part, _, licence = each.partition("=")
        if part not in LICENSED or not _LICENCE.fullmatch(licence):
            raise BadInput(
                f"--license expects PART=LICENCE, where PART is {', '.join(LICENSED)}, as in "
                f"--license student=apache-2.0; found {each[:60]!r}"
            )
        licences[part] = licence
    return licences


def licence_of_model(model: str) -> str | None:
    """The licence that a model's own card names, where the model lies on this machine."""
    from distill.models.pretrained import find_model

    if model != "minilm" and not Path(model).is_dir():
        return None
    try:
        card = (find_model(model) / "README.md").read_text(encoding="utf-8", errors="replace")
    except (OSError, TransfersetError):
        return None
    found = _LICENCE_LINE.search(card)
    return found[1] if found else None


def _artifacts(store: Store, kind: str) -> Iterator[tuple[Path, Manifest]]:
    if kind not in _KINDS:
        return
    for path in sorted((store.root / FOLDERS[_KINDS[kind]]).glob(f"*/{MANIFEST}")):
        try:
            yield path.parent, read_manifest(path.parent)
        except (OSError, CorruptArtifact):
            continue  # somebody else's damage; this run's own files are checked
