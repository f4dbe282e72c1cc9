"""Cases out of the OpenAPI document, by schemathesis: what it allows and what it forbids, for every operation.

Half of the names are those of things that are there: a made-up name is mostly answered 404 and sees nothing of a route.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]
MOST_ADDRESS = 60_000  # httpx sends no longer one; the bare sockets do
PROBLEM = "application/problem+json"
Send = Callable[[requests.PreparedRequest], httpx.Response]


@dataclass
class Outcome:
    """What was seen of all cases: how many were answered how, and each fault once, with the number it was seen."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)  # "POST /v1/tasks 422"
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # fault -> a request that shows it
    slowest: float = 0.0
    slowest_of: str = ""

    def fault(self, what: str, example: str) -> None:
        self.faults[what] += 1
        self.examples.setdefault(what, example[:2000])

    def took(self, seconds: float, whose: str) -> None:
        if seconds > self.slowest:
            self.slowest, self.slowest_of = seconds, whose


def fuzz_operations(
    document: Mapping[str, Any],
    send: Send,
    known: Mapping[str, Sequence[Any]],
    *,
    cases: int,
    draws: int,
    slow: float,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Send about so many cases, shared evenly among the operations; `known` are values that stand for something."""
    outcome = Outcome()
    operations = [found.ok() for found in schemathesis.openapi.from_dict(dict(document)).get_all_operations()]
    left = [
        (operation, mode) for operation in operations for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ]
    for number in count():
        each = max(1, min(50, (cases - outcome.cases) // max(1, len(left))))
        before = len(left)
        left = [one for one in left if _fuzz(*one, send, known, outcome, each, draws + number, slow) > each // 2]
        if outcome.cases >= cases or not left:
            return outcome
        if progress is not None:
            progress(f"{outcome.cases:,} of {cases:,} cases, {len(left)} of {before} kinds have more")
    raise AssertionError("unreachable")


def _fuzz(
    operation: Any,
    mode: GenerationMode,
    send: Send,
    known: Mapping[str, Sequence[Any]],
    outcome: Outcome,
    examples: int,
    draws: int,
    slow: float,
) -> int:
    """Some cases of one operation -> how many there were: an address without parameters has few."""
    before = outcome.cases
    rounds = st.tuples(operation.as_strategy(generation_mode=mode), st.integers(0, 2**32))

    @seed(draws)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(rounds)
    def tried(drawn: tuple[Case, int]) -> None:
        case, number = drawn
        _fill(case, known, random.Random(number))
        _try(case, send, outcome, slow)

    try:
        tried()
    except Exception as error:  # hypothesis' own: no case can be made of this kind
        if type(error).__name__ not in ("Unsatisfiable", "FailedHealthCheck", "Unsatisfied"):
            raise
    return outcome.cases - before


def _fill(case: Case, known: Mapping[str, Sequence[Any]], draw: random.Random) -> None:
    """Put names of what is there into some places where names stand."""
    resource = f"{case.path}//".split("/")[2]
    for name in [*(case.path_parameters or {})]:
        there = known.get(f"{resource}.{name}") or known.get(name)
        if there and draw.random() < 0.6:
            case.path_parameters[name] = draw.choice(there)
    if isinstance(case.body, dict):
        for name in [*case.body]:
            there = known.get(f"{resource}.{name}") or known.get(name)
            if there and draw.random() < 0.6:
                case.body[name] = draw.choice(there)
    if case.query and "page_token" in case.query and draw.random() < 0.5 and known.get("page_token"):
        case.query["page_token"] = draw.choice(known["page_token"])


def _try(case: Case, send: Send, outcome: Outcome, slow: float) -> None:
    where = f"{case.method} {case.path}"
    try:
        request = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1")).prepare()
    except (ValueError, UnicodeError, requests.RequestException):
        return  # what HTTP cannot carry at all
    if len(str(request.url)) > MOST_ADDRESS:
        return
    shown = f"{request.method} {request.url} {dict(request.headers)} {str(request.body)[:800]}"
    began = time.monotonic()
    try:
        response = send(request)
    except (UnicodeError, httpx.LocalProtocolError):
        return  # odd letters in headers
    except httpx.HTTPError as error:
        outcome.cases += 1
        outcome.fault(f"{where}: no answer ({type(error).__name__})", shown)
        return
    spent = time.monotonic() - began
    outcome.cases += 1
    outcome.took(spent, where)
    outcome.statuses[f"{where} {response.status_code}"] += 1
    for what in [*faults_of(response), *_nonconformities(case, response)]:
        outcome.fault(f"{where}: {what}", f"{shown} -> {response.status_code} {response.text[:300]}")
    if spent > slow:
        outcome.fault(f"{where}: answered after more than {slow:g} s", shown)


def faults_of(response: httpx.Response) -> Iterator[str]:
    """What no answer may be, whatever was asked: a failure, an error that is no problem document, one that leaks."""
    if response.status_code >= 500 and not (response.status_code in (503, 507) and "Retry-After" in response.headers):
        yield f"server error {response.status_code}"
    if response.status_code >= 400 and response.request.method != "HEAD":
        if response.headers.get("content-type") != PROBLEM:
            yield f"{response.status_code} as {response.headers.get('content-type')!r}, no problem document"
        elif json.loads(response.content).get("status") != response.status_code:
            yield "a problem whose status is another"
    if "Traceback" in response.text[:100_000] or ".py" in response.text[:2000]:
        yield "a traceback in the answer"
    if response.headers.get("x-content-type-options") != "nosniff" or "x-request-id" not in response.headers:
        yield "no security headers, or no request id"


def _nonconformities(case: Case, response: httpx.Response) -> Iterator[str]:
    """Where the answer is not what the OpenAPI document says."""
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield _described(failure, response.status_code)
    except Failure as failure:
        yield _described(failure, response.status_code)


def _described(failure: Any, status: int) -> str:
    title = getattr(failure, "title", type(failure).__name__)
    return f"{status}: {title}: {' '.join(str(failure.message).split())[:160]}"
