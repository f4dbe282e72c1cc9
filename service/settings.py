"""Settings of the service: a worker's, and those of its HTTP side."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from jobs.settings import WorkerSettings, read
from service.reader import ReadingLimits

MIB = 1024 * 1024
Names = Annotated[tuple[str, ...], NoDecode]  # pydantic-settings would read JSON


class Settings(WorkerSettings):
    """How the service runs. Every field is an environment variable, TRANSFERSET_ and its name in capitals."""

    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
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
    max_updates: int = Field(50_000, ge=1, description="Updates of one phase of a run.")
    max_batch_size: int = Field(1024, ge=1, description="Texts in one update of a run.")
    max_student_layers: int = Field(24, ge=1, description="Layers of a student.")
    max_student_width: int = Field(1024, ge=8, description="Numbers a token of a student.")
    models: Names = Field(
        ("minilm",), description="Models a run may name, with commas, beside the folders in ARTIFACTS/models."
    )
    max_artifact_bytes: int = Field(
        8192 * MIB, ge=1024, description="The largest teacher, labels or run that a worker may send."
    )
    max_streams: int = Field(100, ge=1, description="Event streams at a time.")
    min_free_bytes: int = Field(512 * MIB, ge=0, description="Disk that uploads and jobs leave free.")
    body_seconds: float = Field(30, gt=0, description="How long a client may be silent while it sends a body.")
    search_threads: int = Field(2, ge=1, le=256, description="Searches at a time.")
    search_together: int = Field(256, ge=1, description="Utterances of waiting requests searched in one go.")
    search_queue: int = Field(256, ge=0, description="Requests that may wait for a search; more are answered 429.")
    search_wait_seconds: float = Field(2, gt=0, description="The longest wait for a search that is begun at all.")
    open_indexes: int = Field(4, ge=1, description="Indexes kept open.")
    preload: Names = Field((), description="Indexes opened at the start, with commas; /readyz waits for them.")

    @field_validator("hosts", "cors_origins", "preload", "models", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, str) else value

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


def read_settings(**given: object) -> Settings:
    """The service's settings out of the environment, those `given` (and not None) instead."""
    return read(Settings, **given)
