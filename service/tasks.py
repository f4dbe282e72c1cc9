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

from contract.errors import BadInput, NameTaken, TransfersetError
from contract.manifest import canonical_json, write_whole
from contract.rows import BadRow, format_of
from contract.store import check_name
from contract.task_folder import COLUMNS, PlacedTask, find_task, suffix_of, task_names
from service.metrics import CACHE
from service.reader import Readers, TaskFacts

ERRORS = "errors.json"  # beside an uploaded file: which of its rows cannot be used; .jsonl would be part of the task
REMEMBERED = 256  # readings


class TaskFolder:
    """`root/NAME` (a folder with one file a split, or one file) and `root/NAME.jsonl` alike are the task NAME."""

    def __init__(self, root: Path, readers: Readers) -> None:
        self.root = root
        self._readers = readers
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[object, ...], TaskFacts] = OrderedDict()

    def place(self, name: str) -> PlacedTask:
        """Where a task lies, and how its columns are called; NotFound, BadInput for what is no task here."""
        return find_task(self.root, name)

    def path(self, name: str) -> Path:
        return self.place(name).path

    def columns(self, name: str) -> dict[str, str]:
        """How an uploaded task's columns are called; nothing for one that came another way."""
        return self.place(name).columns

    def names(self) -> list[str]:
        """The names of the tasks there are, sorted."""
        return task_names(self.root)

    def read(self, name: str, columns: Mapping[str, str] | None = None, *, skip_bad_rows: bool = True) -> TaskFacts:
        """What is in a task, read whole once and again when a file of it was touched; `columns` go before its own."""
        placed = self.place(name)
        path, called = placed.path, {**placed.columns, **(columns or {})}
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


def _stamps(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a task's files do."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = ((file.name, file.stat()) for file in files)
    return tuple((name, stat.st_mtime_ns, stat.st_ino, stat.st_size) for name, stat in found)


def _suffix(filename: str) -> str:
    """.jsonl of train.jsonl, .jsonl.gz of train.jsonl.gz; BadInput for no format we read."""
    path = Path(Path(filename.replace("\\", "/")).name)
    if format_of(path) is None:
        raise BadInput(
            f"{path.suffix[:20] or 'a file name without an ending'} is no task format; expected a file name that ends "
            "in .parquet, .jsonl, .csv, .tsv or .txt (text ones also .gz, .zst)"
        )
    return suffix_of(path)
