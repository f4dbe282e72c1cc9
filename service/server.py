"""The server and the worker as processes: what `transferset serve` and `transferset worker` run until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.manifest import Json
from contract.progress import Progress
from contract.store import Store
from service.api import create_app
from service.jobs import QUEUE, Jobs
from service.keys import KeyRing
from service.logs import log_to_stderr
from service.metrics import serve_metrics
from service.neighbours import SearchIndex
from service.orders import resolve
from service.reader import Readers
from service.settings import Settings
from service.tasks import TaskFolder
from service.tracing import stop_tracing, trace_to
from service.transfer_set import build_transfer_set
from service.worker import Worker

Announce = Callable[[str], None]


def serve(settings: Settings, announce: Announce) -> None:
    """Serve HTTP, and work at jobs in this process when there are `workers`, until SIGTERM or Ctrl-C."""
    log_to_stderr(settings.log_format)
    _refuse_to_be_open(settings)
    trace_to(settings.otlp_endpoint, "transferset-api")
    listener = _listen(settings.host, settings.port)
    _check_database(settings)
    app = create_app(settings, opener=open_index, builder=build_job)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=10)
    address = _address(listener)
    where = settings.artifacts.absolute()
    line = f"Transferset serves {address}, docs at {address}/docs, artifacts in {where}, {_working(settings)}"
    # uvicorn raises a SIGTERM again once it has shut down; that is the end we wanted, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = _Announcing(config, lambda: announce(line))
    server.run(sockets=[listener])
    stop_tracing()
    if not server.started:
        raise BadInput("The server did not start; its log says why")
    _leave()


def work(settings: Settings, queues: list[str], announce: Announce) -> None:
    """Work at jobs until SIGTERM or Ctrl-C; what is running then is left for the next worker."""
    unknown = sorted({*queues} - {QUEUE})
    if unknown or not queues:
        raise BadInput(f"--queues: expected {QUEUE}, found {', '.join(unknown) or 'none'}")
    log_to_stderr(settings.log_format)
    trace_to(settings.otlp_endpoint, "transferset-worker")
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    _check_database(settings)
    worker = Worker(settings, build_job)
    worker.start()
    if settings.metrics_port is not None:
        serve_metrics(settings.host, settings.metrics_port)
    announce(f"Transferset worker takes jobs from {QUEUE}, artifacts in {settings.artifacts.absolute()}")
    told_to_stop.wait()
    worker.stop()
    stop_tracing()
    _leave()


def build_job(settings: Settings, name: str, request: dict[str, Json], progress: Progress, restart: bool) -> Artifact:
    """Build what a job asks for. Its task is a name in the tasks folder."""
    asked = resolve(TaskFolder(settings.tasks_folder, Readers(settings.reading)), request)
    return build_transfer_set(settings.store, name, asked, progress=progress, restart=restart)


def open_index(store: Store, name: str) -> SearchIndex:
    """The indexer's index; its libraries are loaded with the first one."""
    from indexer import index

    opened: SearchIndex = index.open_index(store, name)
    return opened


def _check_database(settings: Settings) -> None:
    """Open the jobs' database once before anything is started, so that a wrong one is a sentence."""
    settings.artifacts.mkdir(parents=True, exist_ok=True)
    Jobs(settings.database_url).close()


class _Announcing(uvicorn.Server):
    """A uvicorn server that says when it is up."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

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


def _leave() -> None:
    """End a process that is done, though a shard is still being built: the interpreter would wait for its thread.

    To the job it is a kill, which it is made for (law 11).
    """
    if any(thread.name.startswith("dbos-executor-") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)
