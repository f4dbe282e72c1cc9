"""Where a study's trials are kept, and who is at which: a journal in its folder, or PostgreSQL for several hosts.

Both give two locks that go with their holder, however it ends: one that is held while a trial is chosen, and one for
each trial while somebody works at it. A trial that is running and that nobody holds was left by a worker that died.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from contract.errors import BadInput, CorruptArtifact, MissingExtra
from distill.tuning.journal import Journal, kernel_lock

JOURNAL = "journal.jsonl"
_POSTGRES = ("postgresql://", "postgresql+psycopg://", "postgres://")
# A host that is gone is noticed after so many seconds, and its locks with it.
_KEEPALIVES = {"tcp_keepalives_idle": 15, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}


class TrialStorage(Protocol):
    """A study's history, and the locks of those who work at it."""

    @property
    def history(self) -> BaseStorage: ...

    def choosing(self) -> AbstractContextManager[bool]:
        """Held while a trial is chosen: waited for."""

    def attending(self, number: int) -> AbstractContextManager[bool]:
        """Held while a trial is worked at; False at once where somebody else is at it."""


def check_storage(url: str | None) -> None:
    """BadInput for a storage that several workers would spoil."""
    if url is not None and not url.startswith(_POSTGRES):
        scheme = url.partition(":")[0][:20]
        why = "; SQLite loses trials when two workers write at once" if scheme.startswith("sqlite") else ""
        raise BadInput(
            f"--storage: expected postgresql://USER@HOST/DATABASE, found {scheme}:…{why}. Without --storage "
            "the study is kept in its own folder, which any number of workers on one host share"
        )


def open_storage(url: str | None, folder: Path, study: str) -> TrialStorage:
    """The storage of a study; its journal lies in `folder`. Raises BadInput and CorruptArtifact in a sentence."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check_storage(url)
    return _JournalTrials(folder) if url is None else _PostgresTrials(url, study)


class _JournalTrials:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        try:
            self.history: BaseStorage = JournalStorage(Journal(folder / JOURNAL))
        except (ValueError, KeyError) as error:
            raise CorruptArtifact(
                f"{folder / JOURNAL} cannot be read ({error}); discard the half-built study with --restart"
            ) from error

    def choosing(self) -> AbstractContextManager[bool]:
        return kernel_lock(self._folder / ".choosing.lock")

    def attending(self, number: int) -> AbstractContextManager[bool]:
        return kernel_lock(self._folder / f".trial-{number}.lock", wait=False)


class _PostgresTrials:
    """Advisory locks of a session, which the server lets go of when the session ends."""

    def __init__(self, url: str, study: str) -> None:
        self._url = "postgresql://" + url.partition("://")[2]
        self._study = study
        with self._locked("schema", wait=True):  # two that make the tables at once fail both
            options = {"pool_pre_ping": True, "pool_size": 2}
            self.history: BaseStorage = RDBStorage(self._url.replace("://", "+psycopg://", 1), engine_kwargs=options)

    def choosing(self) -> AbstractContextManager[bool]:
        return self._locked(f"{self._study} choosing", wait=True)

    def attending(self, number: int) -> AbstractContextManager[bool]:
        return self._locked(f"{self._study} {number}", wait=False)

    @contextmanager
    def _locked(self, what: str, *, wait: bool) -> Iterator[bool]:
        key = int.from_bytes(hashlib.sha256(f"transferset study {what}".encode()).digest()[:8], "big", signed=True)
        with self._connection() as session:
            for setting, value in _KEEPALIVES.items():
                session.execute(f"SET {setting} = {value}")
            asked = "SELECT true FROM pg_advisory_lock(%s)" if wait else "SELECT pg_try_advisory_lock(%s)"
            yield session.execute(asked, (key,)).fetchone()[0]

    def _connection(self) -> Any:
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise MissingExtra("--storage needs psycopg; pip install 'transferset[tune]'") from error
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            said = str(error).strip().splitlines()[-1][:200]
            raise BadInput(
                f"The database of --storage cannot be opened: {said}; check its address and that it runs"
            ) from error


def open_study(storage: TrialStorage, name: str, *, maximise: bool, sampler: Any = None, pruner: Any = None) -> Any:
    """The Optuna study of that name, made when it is not there."""
    with warnings.catch_warnings(), storage.choosing():
        warnings.simplefilter("ignore")
        return optuna.create_study(
            study_name=name,
            storage=storage.history,
            direction="maximize" if maximise else "minimize",
            load_if_exists=True,
            sampler=sampler,
            pruner=pruner,
        )
