"""The processes of a trial: an API and its workers, each started by its command, killed, frozen and started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 120.0


class Process:
    """One command of ours. Its log is kept over its lives."""

    def __init__(self, name: str, artifacts: Path, command: list[str], ready: str) -> None:
        self.name, self._artifacts, self._command, self._ready = name, artifacts, command, ready
        self.log = artifacts.parent / f"{name}.log"
        self.lives = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._begins_at = 0  # in the log

    def start(self) -> None:
        known = {key: value for key, value in os.environ.items() if not key.startswith("TRANSFERSET_")}
        ours = {"TRANSFERSET_ARTIFACTS": str(self._artifacts), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._begins_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command], env=known | ours, stdout=log, stderr=log
            )
        self.lives += 1

    @property
    def is_up(self) -> bool:
        """Whether it has said that it is. It ends by itself only when it is started while its database is away, and is
        then started again, as compose does it."""
        assert self._process is not None
        code = self._process.poll()
        if code == 2 and "cannot be opened" in self._said():
            self.start()
            return False
        if code is not None:
            raise RuntimeError(f"{self.name} ended by itself with {code}; it said: {self._said()[-2000:]}")
        return re.search(self._ready, self._said()) is not None

    def wait_until_up(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self.is_up:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start in {START_SECONDS:.0f} s: {self._said()[-2000:]}")
            time.sleep(0.05)

    def processor(self) -> float:
        """Seconds of the processor this life has taken."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self, seconds: float) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _said(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._begins_at)
            return log.read().decode(errors="replace")


def api(artifacts: Path, database: str, port: int) -> Process:
    command = ["transferset", "serve", "--port", str(port), "--workers", "0", "--database", database]
    return Process("api", artifacts, command, "Transferset serves")


def worker(number: int, queue: str, artifacts: Path, database: str) -> Process:
    command = ["transferset", "worker", "--queues", queue, "--database", database]
    return Process(f"{queue}-{number}", artifacts, command, "takes jobs from")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
