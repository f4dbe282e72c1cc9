"""A user's own evidence: a table in the folder of the artifacts, grown by `--add-runs`, and what was judged of it.

Nothing is written into the installed package. The shipped table is read beside it and never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from contract.draft import locked
from contract.errors import Busy
from contract.progress import Progress
from contract.store import Store
from distill.recommending.evidence import (
    EVIDENCE,
    BoardName,
    Run,
    boards_of,
    identity,
    merged,
    read_evidence,
    shipped_evidence,
    write_evidence,
)
from distill.recommending.judgement import JUDGEMENT, Judgement, read_judgements, write_judgements
from distill.recommending.leave_one_out import judge

_PATIENCE_S, _PAUSE_S = 30.0, 0.2
OWN_METADATA = {"source": "transferset recommend --add-runs"}


@dataclass(frozen=True)
class Added:
    """How many runs came, how many of them were new, and how many there are now, the shipped ones not counted."""

    found: int
    new: int
    own: int


def table_of(store: Store) -> Path:
    return store.root / EVIDENCE


def add_runs(store: Store, runs: Sequence[Run]) -> Added:
    """Put runs into the user's own table, each once by its id; two processes at once wait for each other."""
    path = table_of(store)
    with _held(path):
        before = _own(path)
        after = merged(before, runs)
        shipped = {run.run for run in shipped_evidence()}
        kept = [run for run in after if run.run not in shipped]
        if len(kept) != len(before):
            write_evidence(kept, path, OWN_METADATA)
    return Added(len(runs), len(kept) - len(before), len(kept))


def all_evidence(store: Store) -> dict[BoardName, list[Run]]:
    """The shipped evidence and the user's own, by board."""
    return boards_of(merged(shipped_evidence(), _own(table_of(store))))


def judgements_of(
    boards: dict[BoardName, list[Run]], store: Store, *, progress: Progress
) -> dict[BoardName, Judgement]:
    """What was judged of each board: shipped, or kept beside the user's table, or made now and kept there."""
    own_path = store.root / f"evidence.{JUDGEMENT}"
    known = {**shipped_judgements(), **read_judgements(own_path)}
    found = {name: known.get(identity(runs)) for name, runs in boards.items()}
    made = [judge(boards[name], progress=progress) for name, judgement in found.items() if judgement is None]
    if made:
        store.root.mkdir(parents=True, exist_ok=True)
        write_judgements(made, own_path)
    by_hash = known | {judgement.evidence: judgement for judgement in made}
    return {name: by_hash[identity(runs)] for name, runs in boards.items()}


def shipped_judgements() -> dict[str, Judgement]:
    with as_file(files("distill.recommending").joinpath(JUDGEMENT)) as path:
        return read_judgements(path)


def _own(path: Path) -> list[Run]:
    return read_evidence(path) if path.exists() else []


@contextmanager
def _held(path: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """The lock of the table, waited for: adding takes a moment."""
    with ExitStack() as stack:
        waited = 0.0
        while not _entered(stack, path, refuse=waited >= _PATIENCE_S):
            sleep(_PAUSE_S)
            waited += _PAUSE_S
        yield


def _entered(stack: ExitStack, path: Path, *, refuse: bool) -> bool:
    try:
        stack.enter_context(locked(path))
    except Busy:
        if refuse:
            raise Busy(f"Another process is writing {path}; run this again when it is done") from None
        return False
    return True
