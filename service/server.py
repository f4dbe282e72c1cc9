"""The server as a process: what `transferset serve` runs until it is told to stop."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext

import uvicorn

from contract.errors import BadInput
from jobs.child import Child
from jobs.logs import log_to_stderr
from jobs.process import Announce, builders_of, check_database, leave, read_queues
from jobs.tracing import stop_tracing, trace_to
from service.api import create_app
from service.connections import Stuck
from service.keys import KeyRing
from service.settings import Settings
from service.transfer_set import open_index


def serve(settings: Settings, announce: Announce) -> None:
    """Serve HTTP, and work at jobs when there are `workers`, until SIGTERM or Ctrl-C."""
    log_to_stderr(settings.log_format)
    _refuse_to_be_open(settings)
    trace_to(settings.otlp_endpoint, "transferset-api")
    listener = _listen(settings.host, settings.port)
    check_database(settings)
    queues = read_queues(None) if settings.workers else []
    # Runs in a process of their own: see `jobs.child`.
    app = create_app(settings, opener=open_index, builders=builders_of([q for q in queues if q != "distill"]))
    # h11, though httptools is quicker: that one bounds no header.
    config = uvicorn.Config(
        app,
        http="h11",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    address = _address(listener)
    where = settings.artifacts.absolute()
    line = f"Transferset serves {address} (console; docs at {address}/docs), artifacts in {where}, {_working(settings)}"
    # uvicorn raises a SIGTERM again once it has shut down; that is the end we wanted, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = _Announcing(config, lambda: announce(line), settings.body_seconds)
    with Child(settings, "distill") if "distill" in queues else nullcontext():
        server.run(sockets=[listener])
    stop_tracing()
    if not server.started:
        raise BadInput("The server did not start; its log says why")
    leave()


class _Announcing(uvicorn.Server):
    """A uvicorn server that says when it is up, and ends connections on which nothing goes on."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], patience: float) -> None:
        super().__init__(config)
        self._announce = announce
        self._stuck = Stuck(patience)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # every second
            self._stuck.end(self.server_state.connections, time.monotonic())
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadInput(f"Cannot listen on {host} port {port}: {error.strerror}; choose another with --port") from None
    listener.set_inheritable(True)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _working(settings: Settings) -> str:
    match settings.workers:
        case 0:
            return "no workers: start `transferset worker` for its jobs"
        case 1:
            return "1 job at a time"
        case workers:
            return f"{workers} jobs at a time"


def _refuse_to_be_open(settings: Settings) -> None:
    """Beyond this machine nobody is let in without a key, unless that was said aloud."""
    if not (settings.is_local or settings.allow_open or KeyRing(settings.keys_file).is_asked_for):
        raise BadInput(
            f"{settings.host} is beyond this machine, and there are no API keys: expected some, made with "
            "`transferset keys create NAME`, or --allow-open where something in front decides who comes in"
        )
