"""What is measured of requests, searches and open indexes, beside what `jobs.metrics` measures of jobs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from jobs.metrics import QUICK, REGISTRY

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
