"""What Prometheus is told of runs: how long each phase took, and how many updates a second there are now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prometheus_client import Gauge, Histogram

from contract.progress import Progress
from distill.reporting.outcome import RunReport
from jobs.metrics import LONG, REGISTRY

UPDATING = ("adapt", "teacher", "distill", "finetune")  # stages whose steps are updates
OVER_S = 2.0  # the rate is of about so many seconds

PHASE_SECONDS = Histogram(
    "transferset_run_seconds", "A finished run's phases; what was there already took none.", ("phase",), buckets=LONG,
    registry=REGISTRY,
)  # fmt: skip
UPDATES = Gauge(
    "transferset_run_updates_per_second", "How fast the model learns now, 0 when it does not.", ("stage",),
    registry=REGISTRY,
)  # fmt: skip


def observe(report: RunReport) -> None:
    """Count a finished run."""
    for phase, seconds in asdict(report.seconds).items():
        PHASE_SECONDS.labels(phase).observe(seconds)


@contextmanager
def watching(progress: Progress) -> Iterator[Progress]:
    """The same listener, with an eye on the updates."""
    stage_then, done_then, then = "", 0, time.monotonic()

    def listen(stage: str, done: int, total: int | None) -> None:
        nonlocal stage_then, done_then, then
        now = time.monotonic()
        if stage == stage_then and stage in UPDATING and now - then >= OVER_S:
            UPDATES.labels(stage).set((done - done_then) / (now - then))
            done_then, then = done, now
        if stage != stage_then:
            if stage_then in UPDATING:
                UPDATES.labels(stage_then).set(0)
            stage_then, done_then, then = stage, done, now
        progress(stage, done, total)

    try:
        yield listen
    finally:
        if stage_then in UPDATING:
            UPDATES.labels(stage_then).set(0)
