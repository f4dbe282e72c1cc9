"""A builder that counts: what a worker is given in these tests, and how they order from it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from contract.errors import Busy, NotFound
from contract.manifest import Json
from contract.progress import Progress
from jobs.builder import Made
from jobs.job import Job
from jobs.jobs import Jobs
from service.settings import Settings
from tests.service.house import until

STEP_S = 0.02


def built(artifact_id: str) -> Made:
    return Made(artifact_id, {"total": 10, "done": 8, "dropped": 2})


@dataclass
class Counting:
    """Builds by counting to `steps`, and goes on where it was: what a builder does, without the work."""

    done: dict[str, int] = field(default_factory=dict)
    builds: list[tuple[str, bool]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    def __call__(
        self, settings: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool
    ) -> Any:
        self.builds.append((name, restart))
        if request.get("missing"):
            raise NotFound(f"There is no index at {settings.artifacts}/indexes/web")
        if request.get("bug"):
            raise KeyError("a user's very own words")
        if request.get("busy_for", 0) >= len(self.builds):
            raise Busy("Another process is building it")
        for step in range(self.done.get(name, 0), request.get("steps", 2)):
            progress("counting", step, request.get("steps", 2))
            time.sleep(STEP_S)
            self.done[name] = step + 1
        return built(f"id-of-{name}")


def submit(jobs: Jobs, name: str = "set", *, key: str | None = None, **request: Json) -> Job:
    return jobs.submit("transfer-set", name, request, key=key)[0]


def ended(jobs: Jobs, job: Job) -> Job:
    found: Job = until(lambda: (now := jobs.get(job.id)).state in ("finished", "failed", "cancelled") and now)
    return found
