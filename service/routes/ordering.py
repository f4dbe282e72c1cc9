"""Placing an order: what every order of a job goes through, whatever it builds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Request, Response

from contract.manifest import Json
from jobs.job import Job, JobKind, Origin
from jobs.logs import request_id
from jobs.problem import Refused
from jobs.tracing import carrier_now
from service.orders import check_room
from service.routes.context import CONFLICT, FULL, Service

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
ORDERED: dict[int | str, dict[str, Any]] = (
    CONFLICT | FULL | {202: {"description": "The job: `Location` says where to ask for it, `Retry-After` when"}}
)


def place_order(
    here: Service,
    http: Request,
    response: Response,
    kind: JobKind,
    name: str,
    request: dict[str, Json],
    idempotency_key: str | None,
    check: Callable[[], str | None],
) -> Job:
    """The job of an order, new or of the same order before; `check` refuses it, or says which index it holds on to."""
    _refuse_odd_characters(request)
    caller = http.scope.get("key")
    # One caller's keys are not another's.
    once = f"{caller}:{idempotency_key}" if caller and idempotency_key else idempotency_key
    with here.once.answering(once):
        job = None if once is None else here.jobs.submitted(kind, name, request, once)
        if job is None:
            check_room(here.settings, here.jobs)
            origin = Origin(index=check(), key=caller, request_id=request_id.get(), trace=carrier_now())
            job, _ = here.jobs.submit(kind, name, request, key=once, origin=origin)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "1"
    return job


def _refuse_odd_characters(request: Json) -> None:
    """PostgreSQL holds neither NUL nor half a surrogate pair, and no name, column or class needs one."""
    text = json.dumps(request, ensure_ascii=False)
    if "\\u0000" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("The request holds a NUL character, or half a surrogate pair; remove it")
