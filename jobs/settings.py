"""Settings of a worker: from the environment (TRANSFERSET_…) and the command line, checked once at the start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contract.errors import BadInput
from contract.store import Store

PREFIX = "TRANSFERSET_"
# Read by benchmarks and experiments, and by the client: no settings, and no mistakes either.
ELSEWHERE = {PREFIX + "DATA", PREFIX + "API_KEY"}


class WorkerSettings(BaseSettings):
    """How a worker runs. Every field is an environment variable, TRANSFERSET_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    artifacts: Path = Field(Path("artifacts"), description="The folder of all artifacts, and of the jobs' SQLite file.")
    tasks: Path | None = Field(None, description="The folder of task files, ARTIFACTS/tasks when not given.")
    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 opens the service to the network.")
    workers: int = Field(1, ge=0, le=64, description="Jobs at a time in this process; with 0 `serve` only enqueues.")
    database: str | None = Field(
        None, description="postgresql+psycopg://… or sqlite:///…; ARTIFACTS/jobs.sqlite if not."
    )
    exchange: str | None = Field(
        None,
        description="Where a distill worker fetches from and sends to, when it shares no volume: the API's address, or "
        "an fsspec URL of an artifacts folder.",
    )
    exchange_key: SecretStr | None = Field(None, description="The API key for it, with scope admin.")
    poll_seconds: float = Field(0.2, ge=0.01, le=60, description="How often a worker looks for a job.")
    health_file: Path | None = Field(None, description="A worker touches it every few seconds while all is well.")
    stop_seconds: float = Field(20, ge=0, le=3600, description="How long a stopping worker waits for its shard.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object a line.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Where a worker serves /metrics, at HOST; the API does at its own port."
    )
    otlp_endpoint: str | None = Field(
        None, description="Where OpenTelemetry traces go (OTLP over HTTP), as http://127.0.0.1:4318; none without it."
    )

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


Chosen = TypeVar("Chosen", bound=WorkerSettings)


def read(form: type[Chosen], **given: object) -> Chosen:
    """The settings of the environment, those `given` (and not None) instead; BadInput names each that is wrong."""
    known = {PREFIX + name.upper() for name in form.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | ELSEWHERE)
    if unknown:
        raise BadInput(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    try:
        return form(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadInput("; ".join(_sentence(detail["loc"], detail["msg"]) for detail in error.errors())) from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, location))
    return f"setting {name} ({PREFIX}{name.upper()}): {message.removeprefix('Value error, ')}"
