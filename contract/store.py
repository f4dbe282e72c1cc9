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
    "labels": "labels",
    "run": "runs",
    "study": "studies",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Store:
    """All artifacts below one folder: `root/FOLDERS[kind]/name`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: Kind, name: str) -> Path:
        """The directory of an artifact; BadInput when the name could mean anything but a folder here."""
        return self.root / FOLDERS[kind] / check_name(kind, name)

    def names(self, kind: Kind) -> list[str]:
        """The names of the finished artifacts of a kind, sorted."""
        return sorted(path.parent.name for path in (self.root / FOLDERS[kind]).glob(f"*/{MANIFEST}"))


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
