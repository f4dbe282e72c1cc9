"""/livez and /readyz: for whoever starts, restarts and load-balances the server."""

from __future__ import annotations

import os

from fastapi import APIRouter

from service.forms import Health
from service.problems import Refused
from service.routes.context import PROBLEM, Here

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Health:
    return Health(status="alive")


@router.get("/readyz", summary="Can it do its work?", responses={503: {**PROBLEM, "description": "Not now; says why"}})
def readyz(here: Here) -> Health:
    """The jobs' database answers, the artifacts folder can be written, and the worker, where it has one, is at work."""
    here.jobs.check()
    if not os.access(here.store.root, os.W_OK | os.X_OK):
        raise Refused("The artifacts folder cannot be written", status=503)
    if here.worker is not None and not here.worker.is_alive:
        raise Refused("The worker has stopped; start the server again", status=503)
    return Health(status="ready")
