"""The child: a worker as a process of its own beside the one that started it, which it does not outlive.

Runs are distilled in one: torch's threads and its random numbers are the whole process's, and a run that takes all
memory takes no API with it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from jobs.settings import PREFIX, WorkerSettings

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before it is started again
WELL_AFTER_S = 60.0  # a life after which the next pause is short again
OWN = ("health_file", "metrics_port", "exchange", "exchange_key")  # settings of a worker that stands alone

log = logging.getLogger("transferset.worker")


class Child:
    """A worker of some queues, started again when it dies; to be used as a context manager."""

    def __init__(self, settings: WorkerSettings, queue: str) -> None:
        self._command = [sys.executable, "-m", "jobs", "worker", "--queues", queue, "--until-stdin-ends"]
        self._environment = environment_of(settings)
        self._patience = settings.stop_seconds
        self._stopping = threading.Event()
        self._process = self._started()
        self._keeper = threading.Thread(target=self._keep, name="child", daemon=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Child:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Tell it to stop, wait for its step as long as a worker may take, and then no longer."""
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(self._patience + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._keeper.join(LONGEST_PAUSE_S)
        _let_go(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        # What it reads from never says anything, and ends with us however we end. A session of its own, so that
        # Ctrl-C comes to it through us.
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True, stdout=sys.stderr
        )

    def _keep(self) -> None:
        pause = SHORTEST_PAUSE_S
        while True:
            began = time.monotonic()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            pause = SHORTEST_PAUSE_S if time.monotonic() - began > WELL_AFTER_S else min(2 * pause, LONGEST_PAUSE_S)
            log.error("the worker that distils ended with %s; it is started again in %.0f s", code, pause)
            if self._stopping.wait(pause):
                return
            _let_go(self._process)
            self._process = self._started()


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def environment_of(settings: WorkerSettings) -> dict[str, str]:
    """What makes a worker of the same settings of a new process."""
    known = {name: value for name in WorkerSettings.model_fields if (value := getattr(settings, name)) is not None}
    ours = {PREFIX + name.upper(): str(value) for name, value in known.items() if name not in OWN}
    ours[PREFIX + "ARTIFACTS"] = str(settings.artifacts.absolute())
    others = {name: value for name, value in os.environ.items() if name not in {PREFIX + own.upper() for own in OWN}}
    # It finds the rooms where we found them.
    return others | ours | {"PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)}


def end_with_stdin(told_to_stop: threading.Event) -> None:
    """The child's side: stop when the process that started it is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not its buffer, whose lock would be missed at the end
            pass
        told_to_stop.set()

    threading.Thread(target=wait, name="parent", daemon=True).start()
