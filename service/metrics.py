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

REQUESTS = Counter("transferset_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "transferset_http_request_seconds", "From a request's head to the end of its answer.", ("route",),
    buckets=QUICK, registry=REGISTRY,
)  # fmt: skip
REFUSED = Counter("transferset_refused", "Requests turned away, by why.", ("why",), registry=REGISTRY)
STREAMS = Gauge("transferset_event_streams", "Event streams open now.", registry=REGISTRY)

SEARCH_SECONDS = Histogram(
    "transferset_search_seconds", "One search: of one request, or of several made together.", ("retriever",),
    buckets=QUICK, registry=REGISTRY,
)  # fmt: skip
WAIT_SECONDS = Histogram(
    "transferset_search_wait_seconds", "How long a request waited for its search.", buckets=QUICK, registry=REGISTRY
)
SEARCHED = Counter("transferset_searched_utterances", "Utterances searched.", ("retriever",), registry=REGISTRY)
TOGETHER = Histogram(
    "transferset_search_requests", "Requests in one search.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=REGISTRY
)
WAITING = Gauge("transferset_searches_waiting", "Requests that wait for a search now.", registry=REGISTRY)

INDEX_BYTES = Gauge("transferset_index_bytes", "Size of an open index on the disk.", ("index",), registry=REGISTRY)
CACHE = Counter("transferset_cache", "Looks into a cache, by what came of it.", ("cache", "outcome"), registry=REGISTRY)

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
