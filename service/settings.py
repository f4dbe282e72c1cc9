"""Settings of the service: from the environment (TRANSFERSET_…) and the command line, checked once at the start."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contract.errors import BadInput
from contract.store import Store

PREFIX = "TRANSFERSET_"
ELSEWHERE = {PREFIX + "DATA"}  # read by benchmarks and experiments: no setting of the service, and no mistake either
MIB = 1024 * 1024


class Settings(BaseSettings):
    """How the service runs. Every field is an environment variable, TRANSFERSET_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    artifacts: Path = Field(Path("artifacts"), description="The folder of all artifacts, and of the jobs' SQLite file.")
    tasks: Path | None = Field(None, description="The folder of task files, ARTIFACTS/tasks when not given.")
    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 opens the service to the network.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=0, le=64, description="Jobs at a time in this process; with 0 `serve` only enqueues.")
    database: str | None = Field(
        None, description="postgresql+psycopg://… or sqlite:///…; ARTIFACTS/jobs.sqlite if not."
    )
    poll_seconds: float = Field(0.2, ge=0.01, le=60, description="How often a worker looks for a job.")
    health_file: Path | None = Field(None, description="A worker touches it every few seconds while all is well.")
    stop_seconds: float = Field(20, ge=0, le=3600, description="How long a stopping worker waits for its shard.")
    max_body_bytes: int = Field(8 * MIB, ge=1024, description="The largest request body, uploads aside.")
    max_upload_bytes: int = Field(512 * MIB, ge=1024, description="The largest task upload.")
    max_utterances: int = Field(1024, ge=1, description="Utterances in one request for neighbours.")
    max_text_chars: int = Field(10_000, ge=1, description="Characters in one utterance.")
    max_k: int = Field(1000, ge=1, description="Neighbours for one utterance.")
    search_threads: int = Field(2, ge=1, le=256, description="Searches at a time.")
    open_indexes: int = Field(4, ge=1, description="Indexes kept open.")

    @field_validator("database")
    @classmethod
    def _database_is_one_we_run_on(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            dialect = make_url(value).get_backend_name()
        except ArgumentError:
            dialect = "no database URL"
        if dialect not in ("sqlite", "postgresql"):
            # Never the URL itself: it may hold a password.
            raise ValueError(f"expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME, found {dialect}")
        return value

    @property
    def store(self) -> Store:
        return Store(self.artifacts)

    @property
    def tasks_folder(self) -> Path:
        return self.tasks or self.artifacts / "tasks"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.artifacts / 'jobs.sqlite').absolute()}"


def read_settings(**given: object) -> Settings:
    """The settings of the environment, those `given` (and not None) instead; BadInput names each that is wrong."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | ELSEWHERE)
    if unknown:
        raise BadInput(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadInput("; ".join(_sentence(detail["loc"], detail["msg"]) for detail in error.errors())) from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, location))
    return f"setting {name} ({PREFIX}{name.upper()}): {message.removeprefix('Value error, ')}"
