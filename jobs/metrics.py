"""The metrics of this process, for Prometheus: served at /metrics by the API, on a port of its own by a worker.

Labels are routes, states, stages and names of indexes: never text of a user, never a key.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
QUICK = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
LONG = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0)

REGISTRY = CollectorRegistry()

JOBS = Gauge("transferset_jobs", "Jobs that have not ended, by state.", ("state",), registry=REGISTRY)
OLDEST_JOB = Gauge(
    "transferset_oldest_queued_job_seconds", "How long the oldest queued job has waited.", registry=REGISTRY
)
JOB_SECONDS = Histogram(
    "transferset_job_seconds", "From a job's start here to its end.", ("state",), buckets=LONG, registry=REGISTRY
)
STEP_SECONDS = Histogram(
    "transferset_step_seconds", "One step of a job: a shard, or a batch of searches.", ("stage",),
    buckets=(*QUICK, 30.0, 100.0), registry=REGISTRY,
)  # fmt: skip
STEP_ROWS = Counter("transferset_step_rows", "Rows done in the steps of jobs.", ("stage",), registry=REGISTRY)


def show_jobs(states: Mapping[str, int], oldest_queued_s: float) -> None:
    """What the jobs' database says now."""
    for state in ("queued", "running"):
        JOBS.labels(state).set(states.get(state, 0))
    OLDEST_JOB.set(oldest_queued_s)


def exposition() -> bytes:
    return generate_latest(REGISTRY)


def serve_metrics(host: str, port: int) -> None:
    """Serve the metrics of a process that has no HTTP of its own, from a thread that ends with it."""
    start_http_server(port, addr=host, registry=REGISTRY)
