"""A server to be measured: `transferset serve` as a process, over indexes of elsewhere, writing in a folder alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contract.store import FOLDERS

READY_SECONDS = 300.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int

    def processor(self) -> float:
        """Seconds of the processor it has taken, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def beside(artifacts: Path, folder: Path) -> Path:
    """An artifacts folder of its own that sees the corpora and indexes of another; what is written lies in it alone."""
    folder.mkdir(parents=True)
    for kind in ("corpus", "index"):
        (folder / FOLDERS[kind]).symlink_to((artifacts / FOLDERS[kind]).resolve(), target_is_directory=True)
    return folder


@contextmanager
def serving(artifacts: Path, index: str, **settings: object) -> Iterator[Server]:
    """A running server that has opened `index`; ended at the end."""
    log_path = artifacts / "server.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0", "--workers", "0", "--artifacts", str(artifacts)],
            stdout=log,
            stderr=log,
            env=_environment({"preload": index, "log_format": "json", **settings}),
        )
        try:
            yield Server(_port_of(process, log_path), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's, without the settings of a service someone runs here."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFERSET_")}
    return clean | {f"TRANSFERSET_{name.upper()}": str(value) for name, value in settings.items()}


def _port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the server says where it is, and then until it is ready."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text()
        if "serves http://127.0.0.1:" in said:
            port = int(said.partition("serves http://127.0.0.1:")[2].partition(" ")[0])
            if _is_ready(port):
                return port
        time.sleep(0.1)
    raise RuntimeError(f"the server did not become ready; it said: {log.read_text()[-2000:]}")


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
