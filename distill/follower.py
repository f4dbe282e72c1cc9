"""A follower: a process that learns a run's phases beside the main one, and writes nothing.

Run by `distill.training.followers` as `python -m distill.follower`. One line of JSON on its standard input says what
the run is; its teacher, labels and texts are there already.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from contract.draft import Draft, Plan
from contract.errors import TransfersetError, WorkerLost
from contract.manifest import Json, Kind
from contract.progress import silent
from contract.run import RUN_VERSION
from contract.store import Store
from distill.config import make_config
from distill.models.device import choose_device, threads
from distill.pipeline import learn
from distill.reading.gold import read_gold, read_validation
from distill.teachers.lessons import obtain_lessons
from distill.teachers.teacher import ready_teacher
from distill.training.followers import LOST, READY
from distill.training.phase import Course
from distill.training.processes import joined


class PlacedStore(Store):
    """A store of which some things lie elsewhere, where the main process has them."""

    def __init__(self, root: Path, places: dict[str, str]) -> None:
        super().__init__(root)
        self._places = places

    def path(self, kind: Kind, name: str, version: int = 1) -> Path:
        return Path(self._places[kind]) if kind in self._places else super().path(kind, name, version)


def follow(told: Json) -> None:
    """Learn what the main process learns, in step with it."""
    config = make_config(told["config"])
    store = PlacedStore(Path(told["root"]), told["places"])
    device = choose_device(config.precision)
    draft = Draft(store.path("run", told["name"]), Plan("run", RUN_VERSION, {}), None)  # to read in alone
    with threads():
        gold, valid = read_gold(config.task), read_validation(config.task)
        teacher = ready_teacher(store, config, gold, device, progress=silent)
        lessons = obtain_lessons(store, config, teacher, gold, device, progress=silent)
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        with joined(told["rank"], told["count"], Path(told["meeting"])) as processes:
            learn(Course(draft, config, gold, device, silent, valid, processes), teacher, lessons)


def main() -> None:
    """Ends with the code LOST when another process has died, and at once when the main one has."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_main, daemon=True).start()
    try:
        follow(told)
    except WorkerLost:
        sys.exit(LOST)
    except TransfersetError as error:
        sys.stdout.write(f"{error.message}\n")
        sys.exit(2)


def _end_with_main() -> None:
    sys.stdin.read()
    os._exit(LOST)


if __name__ == "__main__":
    main()
