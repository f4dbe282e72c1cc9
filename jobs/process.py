"""The worker as a process: what `transferset worker` runs until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

from contract.errors import BadInput, MissingExtra
from jobs.builder import Builder
from jobs.child import end_with_stdin
from jobs.job import QUEUES, JobKind
from jobs.jobs import Jobs
from jobs.logs import log_to_stderr
from jobs.metrics import serve_metrics
from jobs.settings import WorkerSettings
from jobs.tracing import stop_tracing, trace_to
from jobs.worker import Worker

Announce = Callable[[str], None]
# Who builds what is asked for in a queue, by name: this room knows neither of those that work in it.
BUILDERS = {"build": "service.build", "distill": "distill.worker"}
# Without these a room is not installed.
LIBRARIES = {"build": ("fastapi", "faiss"), "distill": ("torch", "transformers")}


def work(
    settings: WorkerSettings, queues: Sequence[str], announce: Announce, *, until_stdin_ends: bool = False
) -> None:
    """Work at jobs until SIGTERM or Ctrl-C; what is running then is left for the next worker."""
    log_to_stderr(settings.log_format)
    trace_to(settings.otlp_endpoint, "transferset-worker")
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    if until_stdin_ends:
        end_with_stdin(told_to_stop)
    check_database(settings)
    worker = Worker(settings, builders_of(queues))
    worker.start()
    if settings.metrics_port is not None:
        serve_metrics(settings.host, settings.metrics_port)
    announce(f"Transferset worker takes jobs from {', '.join(queues)}, artifacts in {settings.artifacts.absolute()}")
    told_to_stop.wait()
    worker.stop()
    stop_tracing()
    leave()


def read_worker_settings(**given: object) -> WorkerSettings:
    """The settings of a worker, by the service's, which have them all: a file of variables may be shared by all."""
    settings: WorkerSettings = import_module("service.settings").read_settings(**given)
    return settings


def read_queues(names: str | None) -> list[str]:
    """The queues of a list with commas; without one, those whose room is installed."""
    if names is None:
        return [queue for queue in BUILDERS if not _missing(queue)]
    queues = list(dict.fromkeys(filter(None, (name.strip() for name in names.split(",")))))
    unknown = sorted({*queues} - {*BUILDERS})
    if unknown or not queues:
        raise BadInput(f"--queues: expected {' or '.join(BUILDERS)}, found {', '.join(unknown) or 'none'}")
    return queues


def builders_of(queues: Sequence[str]) -> dict[JobKind, Builder]:
    """Who builds the jobs of these queues; MissingExtra when its room is not installed."""
    for queue in queues:
        _check_installed(queue)
    return {kind: import_module(BUILDERS[queue]).build_job for kind, queue in QUEUES.items() if queue in queues}


def check_database(settings: WorkerSettings) -> None:
    """Open the jobs' database once before anything is started, so that a wrong one is a sentence."""
    settings.artifacts.mkdir(parents=True, exist_ok=True)
    Jobs(settings.database_url).close()


def leave() -> None:
    """End a process that is done, though a shard is still being built: the interpreter would wait for its thread.

    To the job it is a kill, which it is made for (law 11).
    """
    if any(thread.name.startswith("dbos-executor-") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)


def _missing(queue: str) -> list[str]:
    """The libraries that the room of a queue lacks here."""
    return [library for library in LIBRARIES[queue] if find_spec(library) is None]


def _check_installed(queue: str) -> None:
    if missing := _missing(queue):
        extra = BUILDERS[queue].partition(".")[0]
        raise MissingExtra(
            f"Jobs of the queue {queue} need {', '.join(missing)}, which this installation lacks; "
            f"pip install 'transferset[{extra},jobs]', or take other queues with --queues"
        )
