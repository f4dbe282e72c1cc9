"""Traces: one from the request that ordered a job to the worker that built it; and none that nobody asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contract.errors import MissingExtra
from jobs.tracing import carrier_now, span, stop_tracing, trace_to
from tests.service.house import ended, running, settings_in, until
from tests.service.test_api import ORDER, PLAY

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    trace_to(None, "tests", SimpleSpanProcessor(kept))
    yield kept
    stop_tracing()


def named(kept: InMemorySpanExporter, name: str) -> ReadableSpan:
    found: ReadableSpan = until(lambda: next((s for s in kept.get_finished_spans() if s.name == name), None))
    return found


def test_request_search_and_job_are_one_trace_that_the_client_began(tmp_path: Path, kept: InMemorySpanExporter) -> None:
    with running(settings_in(tmp_path)) as client:
        client.post("/v1/neighbours", json=PLAY, headers={"traceparent": PARENT})
        job = client.post("/v1/transfer-sets", json=ORDER, headers={"traceparent": PARENT}).json()
        ended(client, job["id"])
        spans = [named(kept, name) for name in ("POST /v1/neighbours", "search", "POST /v1/transfer-sets", "job")]
    assert {f"{found.context.trace_id:032x}" for found in spans if found.context} == {PARENT.split("-")[1]}
    asked, search, order, built = spans
    assert search.parent is not None
    assert asked.context is not None
    assert search.parent.span_id == asked.context.span_id
    assert built.parent is not None
    assert order.context is not None
    assert built.parent.span_id == order.context.span_id
    assert built.attributes is not None
    assert built.attributes["transferset.job"] == job["id"]
    assert asked.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/neighbours",
        "http.response.status_code": 200,
    }
    assert "jazz" not in "".join(found.to_json() for found in kept.get_finished_spans())


def test_an_error_inside_a_span_leaves_none_of_its_words(kept: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="my own words"), span("work"):
        raise ValueError("my own words")
    assert "my own words" not in named(kept, "work").to_json()


def test_unasked_nothing_is_traced() -> None:
    assert carrier_now() == {}
    with span("work") as traced:
        traced.note(rows=1)


def test_to_ask_for_traces_without_the_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(MissingExtra, match=r"transferset\[otel\]"):
        trace_to("http://127.0.0.1:4318", "tests")
