"""Traces: where a request's and a job's time goes, told to an OpenTelemetry collector when one is named.

Without `otlp_endpoint` nothing is loaded and nothing is recorded. A job carries the trace of the request that ordered
it, so API and worker show as one. Spans hold routes, ids, counts and states: never text of a user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contract.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer

_tracer: Tracer | None = None  # set once, when a process is told to trace
_provider: TracerProvider | None = None


def trace_to(endpoint: str | None, service: str, processor: SpanProcessor | None = None) -> None:
    """Send the spans of this process to a collector (OTLP over HTTP); `processor`, where given, takes them instead."""
    global _tracer, _provider
    if endpoint is None and processor is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Traces were asked for (otlp_endpoint), but the library {error.name} is not installed; "
            "pip install 'transferset[otel]', or leave the setting out"
        ) from error
    _provider = trace.TracerProvider(resource=Resource.create({"service.name": service}))
    if processor is None:
        assert endpoint is not None
        processor = BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("transferset")


def stop_tracing() -> None:
    """Trace no more; what is not sent yet is sent now."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


class Traced:
    """A span, or where there is no tracing what takes its place."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def end_with(self, method: str, route: str, status: int) -> None:
        """Name a request's span, which knows its route only now."""
        if self._span is not None:
            self._span.update_name(f"{method} {route}")
            self._span.set_attribute("http.request.method", method)
            self._span.set_attribute("http.route", route)
            self._span.set_attribute("http.response.status_code", status)

    def note(self, **attributes: str | int | float) -> None:
        if self._span is not None:
            self._span.set_attributes(attributes)


@contextmanager
def request_span(headers: Mapping[str, str]) -> Iterator[Traced]:
    """The span of one HTTP request, in the trace its `traceparent` names."""
    with _span("request", headers, server=True) as span:
        yield span


@contextmanager
def span(name: str, carrier: Mapping[str, str] | None = None, **attributes: str | int | float) -> Iterator[Traced]:
    """A span inside the present one, or in the trace of `carrier`, which `carrier_now` made."""
    with _span(name, carrier, server=False) as traced:
        traced.note(**attributes)
        yield traced


def carrier_now() -> dict[str, str]:
    """The present trace, to be taken along with a job; empty without one."""
    if _tracer is None:
        return {}
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier


@contextmanager
def _span(name: str, carrier: Mapping[str, str] | None, *, server: bool) -> Iterator[Traced]:
    if _tracer is None:
        yield Traced()
        return
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    parent = extract(carrier) if carrier else None
    kind = SpanKind.SERVER if server else SpanKind.INTERNAL
    # Errors are noted by us, by their kind: a recorded exception would bring its message along.
    with _tracer.start_as_current_span(
        name, context=parent, kind=kind, record_exception=False, set_status_on_exception=False
    ) as found:
        yield Traced(found)
