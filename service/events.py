"""Events: what a job goes through, as server-sent events that can be taken up where a connection broke.

An event's id says what its reader has seen: a state, and how far the job was in it. Nothing is kept for readers; what
they missed is told from the job as it is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import anyio
from anyio.to_thread import run_sync
from sse_starlette import ServerSentEvent

from contract.manifest import canonical_json
from jobs.job import ENDED, Job, State
from jobs.jobs import Jobs
from service import metrics

LOOK_EVERY_S = 0.5
_ID = re.compile(
    r"(?P<state>queued|running|finished|failed|cancelled)(\.(?P<stage>[a-z0-9-]{1,40})\.(?P<done>\d{1,18}))?"
)


@dataclass(frozen=True)
class Seen:
    """What a reader has seen of a job; its `id` is that of the last event."""

    state: State | None = None
    stage: str = ""
    done: int = 0

    @staticmethod
    def read(event_id: str | None) -> Seen:
        """An id that is none of ours is a reader that has seen nothing."""
        found = _ID.fullmatch(event_id or "")
        if found is None:
            return Seen()
        state: State = found["state"]  # type: ignore[assignment]  # the pattern has the states
        return Seen(state, found["stage"] or "", int(found["done"] or 0))

    @property
    def id(self) -> str:
        return f"{self.state}.{self.stage}.{self.done}" if self.stage else f"{self.state}"

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


async def follow(jobs: Jobs, job: Job, seen: Seen, streams: set[object]) -> AsyncIterator[ServerSentEvent]:
    """The events of a job from `seen` on, until it has ended."""
    mine = object()
    streams.add(mine)
    metrics.STREAMS.set(len(streams))
    try:
        while True:
            events, seen = news(job, seen)
            for event in events:
                yield event
            if job.has_ended:
                return
            await anyio.sleep(LOOK_EVERY_S)
            job = await run_sync(jobs.get, job.id)
    finally:
        streams.discard(mine)
        metrics.STREAMS.set(len(streams))


def news(job: Job, seen: Seen) -> tuple[list[ServerSentEvent], Seen]:
    """What a reader has not seen of a job: each state it went through since, and how far it is now."""
    events = []
    for state in _states_since(job, seen.state):
        seen = Seen(state)
        if state in ENDED:
            events.append(_event("end", seen, job.model_dump(mode="json")))
        else:
            since = job.queued_at if state == "queued" else job.started_at
            events.append(_event("state", seen, {"state": state, "at": since}))
    here = replace(seen, stage=_slug(job.stage), done=job.counts.done or 0)
    if job.state == "running" and job.stage is not None and here != seen:
        seen = here
        progress = {"stage": job.stage, **job.counts.model_dump(exclude_none=True)}
        events.append(_event("progress", seen, progress))
    return events, seen


def _states_since(job: Job, seen: State | None) -> list[State]:
    """The states from `seen` to the present one; a job that went back to the queue is there again."""
    if seen == job.state:
        return []
    way: list[State] = ["queued"]
    if job.started_at is not None or job.state == "running":
        way.append("running")
    if job.has_ended:
        way.append(job.state)
    if seen in way and job.state != "queued":
        return way[way.index(seen) + 1 :]
    return [job.state] if seen is not None else [state for state in way if job.state != "queued" or state == "queued"]


def _event(kind: str, seen: Seen, data: object) -> ServerSentEvent:
    return ServerSentEvent(data=canonical_json(data).decode(), event=kind, id=seen.id)


def _slug(stage: str | None) -> str:
    return re.sub(r"[^a-z0-9]+", "-", (stage or "").lower())[:40]
