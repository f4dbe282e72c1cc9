"""Settings of the service: from the environment (TRANSFERSET_…) and the command line, checked once at the start."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contract.errors import BadInput
from contract.store import Store
from service.reader import ReadingLimits

PREFIX = "TRANSFERSET_"
# Read by benchmarks and experiments, and by the client: no settings of the service, and no mistakes either.
ELSEWHERE = {PREFIX + "DATA", PREFIX + "API_KEY"}
MIB = 1024 * 1024
Names = Annotated[tuple[str, ...], NoDecode]  # pydantic-settings would read JSON


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
    allow_open: bool = Field(False, description="Listen beyond this machine though there are no API keys.")
    keys: Path | None = Field(None, description="The file of API keys, ARTIFACTS/keys.json when not given.")
    hosts: Names = Field(
        (), description="Names this service is called by, with commas; without keys others than localhost are refused."
    )
    cors_origins: Names = Field((), description="Web origins that may call the API from a browser, with commas.")
    requests_per_second: float = Field(100, ge=0, description="Requests a second of one API key; 0 for no limit.")
    request_burst: int = Field(200, ge=1, description="Requests of one key at once before that limit counts.")
    max_body_bytes: int = Field(8 * MIB, ge=1024, description="The largest request body, uploads aside.")
    max_upload_bytes: int = Field(512 * MIB, ge=1024, description="The largest task upload.")
    max_uploads: int = Field(4, ge=1, description="Uploads at a time.")
    max_task_rows: int = Field(1_000_000, ge=1, description="Rows in one task.")
    max_task_bytes: int = Field(256 * MIB, ge=1024, description="Text in one task, once decompressed.")
    read_memory_bytes: int = Field(2048 * MIB, ge=64 * MIB, description="Memory to read one task with.")
    read_seconds: int = Field(60, ge=1, description="Processor time to read one task with.")
    max_utterances: int = Field(1024, ge=1, description="Utterances in one request for neighbours.")
    max_text_chars: int = Field(10_000, ge=1, description="Characters in one utterance.")
    max_k: int = Field(1000, ge=1, description="Neighbours for one utterance.")
    max_jobs: int = Field(100, ge=1, description="Jobs queued or running.")
    max_streams: int = Field(100, ge=1, description="Event streams at a time.")
    min_free_bytes: int = Field(512 * MIB, ge=0, description="Disk that uploads and jobs leave free.")
    body_seconds: float = Field(30, gt=0, description="How long a client may be silent while it sends a body.")
    search_threads: int = Field(2, ge=1, le=256, description="Searches at a time.")
    search_together: int = Field(64, ge=1, description="Utterances of waiting requests searched in one go.")
    search_queue: int = Field(256, ge=0, description="Requests that may wait for a search; more are answered 429.")
    search_wait_seconds: float = Field(2, gt=0, description="The longest wait for a search that is begun at all.")
    open_indexes: int = Field(4, ge=1, description="Indexes kept open.")
    preload: Names = Field((), description="Indexes opened at the start, with commas; /readyz waits for them.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object a line.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Where a worker serves /metrics, at HOST; the API does at its own port."
    )
    otlp_endpoint: str | None = Field(
        None, description="Where OpenTelemetry traces go (OTLP over HTTP), as http://127.0.0.1:4318; none without it."
    )

    @field_validator("hosts", "cors_origins", "preload", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, str) else value

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
    def keys_file(self) -> Path:
        return self.keys or self.artifacts / "keys.json"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def reading(self) -> ReadingLimits:
        return ReadingLimits(
            rows=self.max_task_rows,
            text_bytes=self.max_task_bytes,
            text_chars=self.max_text_chars,
            memory_bytes=self.read_memory_bytes,
            seconds=self.read_seconds,
        )

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
