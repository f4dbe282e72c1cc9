"""The tasks folder: task files by name, uploaded over HTTP or laid there by the operator. Names, never paths."""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from contract.errors import BadInput, NameTaken, NotFound, TransfersetError
from contract.manifest import canonical_json, write_whole
from contract.rows import BadRow, format_of
from contract.store import check_name
from service.metrics import CACHE
from service.reader import Readers, TaskFacts

COLUMNS = "columns.json"  # beside an uploaded file: how its columns are called
ERRORS = "errors.json"  # beside an uploaded file: which of its rows cannot be used; .jsonl would be part of the task
REMEMBERED = 256  # readings


class TaskFolder:
    """`root/NAME` (a folder with one file a split, or one file) and `root/NAME.jsonl` alike are the task NAME."""

    def __init__(self, root: Path, readers: Readers) -> None:
        self.root = root
        self._readers = readers
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[object, ...], TaskFacts] = OrderedDict()

    def path(self, name: str) -> Path:
        """Where a task lies; NotFound when there is none, BadInput when the name could mean anything but one here."""
        check_name("task", name)
        candidates = [self.root / name, *sorted(self.root.glob(f"{name}.*"))] if self.root.is_dir() else []
        for path in candidates:
            if path.exists() and name in (path.name, _name_of(path)):
                return _only_file(path)
        raise NotFound(f"There is no task {name}{self._others()}; upload it with POST /v1/tasks")

    def columns(self, name: str) -> dict[str, str]:
        """How an uploaded task's columns are called; nothing for one that came another way."""
        path = self.root / check_name("task", name) / COLUMNS
        return (
            {str(ours): str(theirs) for ours, theirs in json.loads(path.read_bytes()).items()} if path.exists() else {}
        )

    def names(self) -> list[str]:
        """The names of the tasks there are, sorted."""
        if not self.root.is_dir():
            return []
        found = (path for path in self.root.iterdir() if path.is_dir() or format_of(path))
        return sorted({_name_of(path) for path in found if not path.name.startswith(".")})

    def read(self, name: str, columns: Mapping[str, str] | None = None, *, skip_bad_rows: bool = True) -> TaskFacts:
        """What is in a task, read whole once and again when a file of it was touched; `columns` go before its own."""
        path, called = self.path(name), {**self.columns(name), **(columns or {})}
        key = (path, _stamps(path), tuple(sorted(called.items())), skip_bad_rows)
        with self._lock:
            known = self._known.get(key)
        CACHE.labels("tasks", "miss" if known is None else "hit").inc()
        if known is None:
            known = self._readers.read(path, called, skip_bad_rows=skip_bad_rows)
            with self._lock:
                self._known[key] = known
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return known

    def errors(self, name: str) -> list[BadRow]:
        """The rows of an uploaded task that cannot be used: each with its place and what is wrong with it."""
        self.path(name)  # says that there is none
        kept = self.root / name / ERRORS
        return [BadRow(**row) for row in json.loads(kept.read_bytes())] if kept.is_file() else []

    def add(
        self, name: str, filename: str, content: BinaryIO, columns: Mapping[str, str], *, skip_bad_rows: bool = False
    ) -> tuple[TaskFacts, bool]:
        """Keep an uploaded file as the task `name`, once it has been read as one -> (what was read, whether it is new).

        The same content again is the same task; NameTaken when the name has another. A refused file leaves nothing.
        """
        check_name("task", name)
        kept = f"{name}{_suffix(filename)}"
        with self._workshop(name) as workshop:
            with (workshop / kept).open("wb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
                file.flush()
                os.fsync(file.fileno())
            found = self._readers.read(workshop / kept, columns, skip_bad_rows=skip_bad_rows)
            write_whole(workshop / COLUMNS, canonical_json(dict(columns)))
            if found.bad:
                write_whole(workshop / ERRORS, canonical_json([asdict(row) | {"file": kept} for row in found.bad]))
            return found, self._keep(name, workshop, found)

    @contextmanager
    def _workshop(self, name: str) -> Iterator[Path]:
        """A folder to receive a file in, gone afterwards; errors name the file as if it were in its place."""
        workshop = self.root / f".{uuid.uuid4().hex}"
        workshop.mkdir(parents=True)
        try:
            yield workshop
        except TransfersetError as error:
            error.message = error.message.replace(str(workshop), str(self.root / name))
            raise
        finally:
            shutil.rmtree(workshop, ignore_errors=True)

    def _keep(self, name: str, workshop: Path, found: TaskFacts) -> bool:
        there = self.root / name
        try:
            if name not in self.names():  # a file of that name laid here by hand is a task as well
                workshop.rename(there)  # onto a folder that holds files it fails: of two uploads at once one wins
                return True
        except OSError:
            if not there.exists():
                raise
        if self.read(name).id == found.id:
            return False
        raise NameTaken(f"There is a task {name} with other content; choose another name, or have it removed")

    def _others(self) -> str:
        names = self.names()
        return f"; there are: {', '.join(names[:10])}" if names else ""


def _stamps(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a task's files do."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = ((file.name, file.stat()) for file in files)
    return tuple((name, stat.st_mtime_ns, stat.st_ino, stat.st_size) for name, stat in found)


def _name_of(path: Path) -> str:
    """The task's name: a file's without what says its format."""
    return path.name.removesuffix(_suffix(path.name)) if format_of(path) and not path.is_dir() else path.name


def _only_file(path: Path) -> Path:
    """A folder with one file stands for that file, so that a task has one id, however it came here."""
    files = [file for file in path.iterdir() if format_of(file)] if path.is_dir() else []
    return files[0] if len(files) == 1 else path


def _suffix(filename: str) -> str:
    """.jsonl of train.jsonl, .jsonl.gz of train.jsonl.gz; BadInput for no format we read."""
    path = Path(Path(filename.replace("\\", "/")).name)
    if format_of(path) is None:
        raise BadInput(
            f"{path.suffix[:20] or 'a file name without an ending'} is no task format; expected a file name that ends "
            "in .parquet, .jsonl, .csv, .tsv or .txt (text ones also .gz, .zst)"
        )
    compression = path.suffix if path.suffix in (".gz", ".zst") else ""
    return Path(path.name.removesuffix(compression)).suffix + compression
