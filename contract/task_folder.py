"""The tasks folder: task files by name. Written by the service, which takes uploads; read by distill's worker as well.

`root/NAME` (a folder with one file a split, or one file) and `root/NAME.jsonl` alike are the task NAME. Beside an
uploaded file lies columns.json, which says how its columns are called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from contract.errors import NotFound
from contract.rows import format_of
from contract.store import check_name

COLUMNS = "columns.json"


@dataclass(frozen=True)
class PlacedTask:
    """A task of the folder: what `read_task` reads, and how its columns are called (ours -> the file's)."""

    path: Path
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """The files it is read from."""
        return sorted(file for file in self.path.iterdir() if format_of(file)) if self.path.is_dir() else [self.path]


def find_task(root: Path, name: str) -> PlacedTask:
    """The task of that name; NotFound when there is none, BadInput when the name could mean anything but one here."""
    check_name("task", name)
    candidates = [root / name, *sorted(root.glob(f"{name}.*"))] if root.is_dir() else []
    for path in candidates:
        if path.exists() and name in (path.name, task_name_of(path)):
            return PlacedTask(_only_file(path), _columns(root / name))
    names = task_names(root)
    others = f"; there are: {', '.join(names[:10])}" if names else ""
    raise NotFound(f"There is no task {name}{others}; upload it with POST /v1/tasks")


def task_names(root: Path) -> list[str]:
    """The names of the tasks there are, sorted."""
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if path.is_dir() or format_of(path))
    return sorted({task_name_of(path) for path in found if not path.name.startswith(".")})


def task_name_of(path: Path) -> str:
    """The task's name: a file's without what says its format."""
    return path.name.removesuffix(suffix_of(path)) if format_of(path) and not path.is_dir() else path.name


def suffix_of(path: Path) -> str:
    """.jsonl of train.jsonl, .jsonl.gz of train.jsonl.gz."""
    compression = path.suffix if path.suffix in (".gz", ".zst") else ""
    return Path(path.name.removesuffix(compression)).suffix + compression


def _columns(folder: Path) -> dict[str, str]:
    path = folder / COLUMNS
    if not path.is_file():
        return {}
    return {str(ours): str(theirs) for ours, theirs in json.loads(path.read_bytes()).items()}


def _only_file(path: Path) -> Path:
    """A folder with one file stands for that file, so that a task has one id, however it came here."""
    files = [file for file in path.iterdir() if format_of(file)] if path.is_dir() else []
    return files[0] if len(files) == 1 else path
