"""The job: something the service is building, as it is kept in DBOS' tables and as HTTP shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dbos import PortableWorkflowError, WorkflowStatus
from pydantic import BaseModel, ConfigDict, Field

from contract.manifest import Json
from jobs.problem import Problem, problem_of

JobKind = Literal["transfer-set", "run"]
QUEUES: dict[JobKind, str] = {"transfer-set": "build", "run": "distill"}
COLLECTIONS: dict[JobKind, str] = {"transfer-set": "transfer-sets", "run": "runs"}  # where HTTP has what was built
State = Literal["queued", "running", "finished", "failed", "cancelled"]
STATES = """\
    queued ──> running ──> finished
      │  ^        │ ├────> failed
      │  └────────┘ │
      └─────────────┴────> cancelled

A running job whose worker died is queued again, and goes on where it was; `started_at` stays the first start. The
last three are final. A cancelled or failed job leaves what it has built: the same order goes on from there.
"""
_KINDS: dict[str, JobKind] = {kind: kind for kind in QUEUES}
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")
ALIVE = ("ENQUEUED", "DELAYED", "PENDING")  # as DBOS calls what has not ended
_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "finished",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class Origin:
    """Where an order came from, and the version of the index it was checked against: what its job holds on to."""

    index: str | None = None  # an exact name, as web@2
    key: str | None = None  # a fingerprint
    request_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)


class Counts(BaseModel):
    """How far a job is: `done` of `total` in its present stage; of a finished one the utterances that came and stayed.

    `dropped` are those that did not stay, and is known at the end.
    """

    done: int | None = None
    total: int | None = None
    dropped: int | None = None


class Job(BaseModel):
    """Something the service is building. Times are Unix seconds, one for each state it has been in."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "id": "job-6f1c9a5f0d2e4b7c8a9b0c1d2e3f4a5b",
                "kind": "transfer-set",
                "name": "clinc",
                "state": "running",
                "stage": "transfer set",
                "counts": {"done": 4096, "total": 15000},
                "queued_at": 1760000000,
                "started_at": 1760000001,
                "request": {"index": "web", "task": "clinc150", "retriever": "lexical", "k": 20},
                "index": "web@1",
            }
        },
    )

    id: str
    kind: JobKind
    name: str
    state: State
    stage: str | None = None
    counts: Counts = Counts()
    queued_at: int
    started_at: int | None = None
    finished_at: int | None = None
    failed_at: int | None = None
    cancelled_at: int | None = None
    request: dict[str, Json]
    index: str | None = Field(None, description="the version of the index it was ordered with, and uses to its end")
    key: str | None = Field(None, description="the fingerprint of the API key it was ordered with")
    result: dict[str, Json] | None = None
    error: Problem | None = None
    waits_for: str | None = Field(default=None, description="of a queued job that nobody can take: what it waits for")

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def ended_at(self) -> int | None:
        return self.finished_at or self.failed_at or self.cancelled_at

    @property
    def needs(self) -> set[tuple[str, str]]:
        """What it reads until it ends: (kind, name) of a task, an index, a transfer set."""
        request, found = self.request, set()
        named = {"task": request.get("task"), "index": self.index or request.get("index")}
        named["transfer-set"] = request.get("size_of") if self.kind == "transfer-set" else request.get("transfer_set")
        for what, name in named.items():
            name = name.get("name") if isinstance(name, dict) else name
            if isinstance(name, str):
                found.add((what, name))
        return found


def job_of(status: WorkflowStatus) -> Job:
    """A job out of its row."""
    attributes = status.attributes or {}
    state = _STATES[status.status]
    name, request = _arguments(status)
    ended = seconds(status.completed_at or status.updated_at)
    return Job(
        id=status.workflow_id,
        kind=_KINDS[status.name],
        name=name,
        state=state,
        stage=attributes["stage"] if isinstance(attributes.get("stage"), str) else None,
        counts=_counts(attributes),
        queued_at=seconds(status.created_at) or 0,
        # Kept by the worker as well: DBOS forgets it when a job is cancelled or handed on.
        started_at=attributes.get("started_at") or seconds(status.dequeued_at),
        finished_at=ended if state == "finished" else None,
        failed_at=ended if state == "failed" else None,
        cancelled_at=ended if state == "cancelled" else None,
        request=request,
        index=origin_of(attributes).index,
        key=origin_of(attributes).key,
        result=status.output if isinstance(status.output, dict) else None,
        error=_error(status) if state == "failed" else None,
    )


def origin_of(attributes: Mapping[str, Any]) -> Origin:
    """Where an order came from; of a job that an earlier version took in, nothing is known."""
    found = attributes.get("origin")
    if not isinstance(found, dict):
        return Origin()
    known = {name: found[name] for name in ("index", "key", "request_id") if isinstance(found.get(name), str)}
    trace = found.get("trace")
    return Origin(**known, trace=trace if isinstance(trace, dict) else {})  # a newer version may have noted more


def _counts(attributes: Mapping[str, Any]) -> Counts:
    found = {name: attributes.get(name) for name in Counts.model_fields}
    return Counts(**{name: value for name, value in found.items() if isinstance(value, int)})


def seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000


def _arguments(status: WorkflowStatus) -> tuple[str, dict[str, Json]]:
    """The name and the request a job was submitted with; of a row that cannot be read, nothing."""
    match status.input:
        case {"args": (str(name), dict(request))}:
            return name, request
    return str((status.attributes or {}).get("name", "")), {}


def _error(status: WorkflowStatus) -> Problem:
    code, message = 500, "The job failed inside; the worker's log has the place."
    match status.error:
        case PortableWorkflowError(message=str(said), code=int(status_code)) if 400 <= status_code < 600:
            code, message = status_code, said
    return problem_of(code, message, instance=f"/v1/jobs/{status.workflow_id}")
