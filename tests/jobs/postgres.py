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

import psycopg

from jobs.jobs import Jobs

ADVICE = "PostgreSQL is not installed (apt-get install -y postgresql); what needs it is skipped"


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    control: tuple[str | Path, ...]
    options: str
    log: Path
    port: int

    def database(self, *, empty: bool = False) -> str:
        """The URL of a new database that has the jobs' tables already, as a copy of one: migrating takes a second."""
        name = f"jobs_{uuid.uuid4().hex[:12]}"
        template = "template1" if empty else "jobs"
        with self.session() as session:
            if not empty and session.execute("SELECT FROM pg_database WHERE datname = 'jobs'").fetchone() is None:
                session.execute("CREATE DATABASE jobs")
                Jobs(self._url("jobs")).close()
            session.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        return self._url(name)

    def drop(self, url: str) -> None:
        with self.session() as session:
            session.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)".encode())

    def session(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the tests' own."""
        return psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/{database}", autocommit=True)

    def start(self) -> None:
        call(*self.control, "--options", self.options, "--log", self.log, "start")

    def stop(self) -> None:
        """End the server and every session at once, as a crash does."""
        call(*self.control, "--mode", "immediate", "stop")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"


def installed() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server and stop it."""
    binaries, port = installed(), _free_port()
    assert binaries is not None, ADVICE
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="transferset-postgres-", dir=_memory()))
    if as_user:
        shutil.chown(folder, "postgres")
    # No test outlives a power failure, so nothing is flushed.
    quick = "-c fsync=off -c full_page_writes=off -c shared_buffers=16MB"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} {quick}"
    control = (*as_user, binaries / "pg_ctl", "--pgdata", folder / "data", "--wait")
    server = Postgres(control, options, folder / "log", port)
    made = ("--no-sync", "--auth", "trust", "--username", "postgres", "--encoding", "UTF8", "--locale", "C")
    try:
        call(*as_user, binaries / "initdb", "--pgdata", folder / "data", *made)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def call(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def _memory() -> Path | None:
    """A folder in memory with room for it; on a busy disk a cluster is minutes."""
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 400_000_000
    return memory if has_room else None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
