"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, on a free port of the loopback address."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    binaries: Path
    port: int

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"jobs_{uuid.uuid4().hex[:12]}"
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--username", "postgres"]
        subprocess.run([self.binaries / "createdb", *where, name], check=True)
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server and stop it; skip where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    binaries, port = found[-1].parent, _free_port()
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="transferset-postgres-"))
    if as_user:
        shutil.chown(folder, "postgres")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [*as_user, binaries / "pg_ctl", "--pgdata", folder / "data", "--wait"]

    def call(*command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    try:
        call(*as_user, binaries / "initdb", "--pgdata", folder / "data", "--auth", "trust", "--username", "postgres")
        call(*control, "--options", options, "--log", folder / "log", "start")
        try:
            yield Postgres(binaries, port)
        finally:
            call(*control, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
