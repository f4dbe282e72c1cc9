"""/livez, /readyz and /metrics: for whoever starts, restarts, load-balances and watches the server."""

from __future__ import annotations

import os

from fastapi import APIRouter, Response

from jobs import metrics
from jobs.problem import Refused
from service.forms import Health
from service.routes.context import PROBLEM, Here

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Health:
    return Health(status="alive")


@router.get("/readyz", summary="Can it do its work?", responses={503: {**PROBLEM, "description": "Not now; says why"}})
def readyz(here: Here) -> Health:
    """The jobs' database answers, the artifacts folder can be written, no index is being opened or was found broken,
    and the worker, where it has one, is at work."""
    here.jobs.check()
    if not os.access(here.store.root, os.W_OK | os.X_OK):
        raise _not_now("The artifacts folder cannot be written")
    if here.worker is not None and not here.worker.is_alive:
        raise _not_now("The worker has stopped; start the server again")
    fault = here.indexes.fault()
    if fault is not None:
        raise _not_now(fault)
    return Health(status="ready")


@router.get(
    "/metrics",
    summary="Metrics, for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The text format of Prometheus"}},
)
def show_metrics(here: Here) -> Response:
    metrics.show_jobs(*here.jobs.alive())
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)


def _not_now(why: str) -> Refused:
    return Refused(why, status=503, retry_after=5)
