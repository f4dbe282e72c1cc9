"""The store: the folder that holds all artifacts, a subfolder a kind. Names become paths here and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

from contract.errors import BadInput
from contract.manifest import MANIFEST, Kind

FOLDERS: dict[Kind, str] = {
    "corpus": "corpora",
    "index": "indexes",
    "transfer-set": "transfer-sets",
    "teacher": "teachers",
    "augmentation": "augmentations",
    "labels": "labels",
    "run": "runs",
    "study": "studies",
    "export": "exports",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSIONED = re.compile(r"(?P<name>[^@]*)@(?P<version>[1-9][0-9]{0,8})")


class Store:
    """All artifacts below one folder: `root/FOLDERS[kind]/name`, later versions beside it as `name@2`, `name@3`.

    A plain name opens the newest finished version, `name@1` the first: what is finished is never changed (law 1).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: Kind, name: str, version: int = 1) -> Path:
        """The directory an artifact is made in; BadInput when the name could mean anything but a folder here."""
        suffix = f"@{version}" if version > 1 else ""
        return self.root / FOLDERS[kind] / (check_name(kind, name) + suffix)

    def find(self, kind: Kind, name: str) -> Path:
        """The directory to open: of `name` the newest finished version, of `name@N` that one."""
        plain, version = split_version(name)
        if version is None:
            version = max(self.versions(kind, plain), default=1)
        return self.path(kind, plain, version)

    def versions(self, kind: Kind, name: str) -> list[int]:
        """The finished versions of an artifact, ascending."""
        folder = self.root / FOLDERS[kind]
        found = [split_version(path.parent.name) for path in folder.glob(f"{check_name(kind, name)}*/{MANIFEST}")]
        return sorted(version or 1 for plain, version in found if plain == name)

    def names(self, kind: Kind) -> list[str]:
        """The names of the finished artifacts of a kind, sorted; one with several versions stands once."""
        found = (self.root / FOLDERS[kind]).glob(f"*/{MANIFEST}")
        return sorted({split_version(path.parent.name)[0] for path in found})


def split_version(name: str) -> tuple[str, int | None]:
    """`en@2` -> ("en", 2); without a version, None."""
    versioned = _VERSIONED.fullmatch(name)
    return (versioned["name"], int(versioned["version"])) if versioned else (name, None)


def exact_name(directory: Path) -> str:
    """The name that always means this directory: `en@1`, `en@2`."""
    name, version = split_version(directory.name)
    return f"{name}@{version or 1}"


def check_name(what: str, name: str) -> str:
    """`name`, when it is a plain name: letters, digits, '.', '_' and '-', at most 100, not starting with a dot."""
    if not _NAME.fullmatch(name):
        article = "an" if what[0] in "aeiou" else "a"
        raise BadInput(
            f"{name[:40]!r} cannot name {article} {what}: expected at most 100 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit; names are not paths"
        )
    return name


def default_store() -> Store:
    """`TRANSFERSET_ARTIFACTS`, else `./artifacts`."""
    return Store(Path(os.environ.get("TRANSFERSET_ARTIFACTS", "artifacts")))
