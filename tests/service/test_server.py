"""The server and the worker as processes: started by their commands, killed, started again. A real index, real HTTP."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.manifest import read_manifest
from contract.store import Store
from indexer.build import build_index
from indexer.corpus import CorpusSettings, build_corpus
from indexer.index import IndexSettings
from service.client import Client
from service.keys import KeyRing
from service.request import read_request
from service.transfer_set import build_transfer_set
from tests.service.house import until

ROOT = Path(__file__).parents[2]
WORDS = [f"word{n}" for n in range(400)]
ORDER = {"name": "made", "index": "web", "task": "talk", "retriever": "lexical", "k": 10}


class Process:
    """A command of ours, running: its address once it says so, and all it has said."""

    def __init__(self, artifacts: Path, *command: str, **environment: str) -> None:
        known = {key: value for key, value in os.environ.items() if not key.startswith("TRANSFERSET_")}
        ours = {"TRANSFERSET_ARTIFACTS": str(artifacts), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=known | ours | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=artifacts.parent,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):  # closed: a killed server's child lives on for a moment, and holds its other end
            for line in self.process.stdout:
                self.said += line

    def says(self, pattern: str) -> re.Match[str]:
        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(pattern, self.said)

        found: re.Match[str] = until(look, seconds=60)
        return found

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.says(r"serves (http://127\.0\.0\.1:\d+) ")[1], timeout=30)

    def send(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end -> the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        return code


@contextmanager
def started(artifacts: Path, *command: str, **environment: str) -> Iterator[Process]:
    process = Process(artifacts, *command, **environment)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.send(signal.SIGKILL)
        assert process.process.stdout is not None
        process.process.stdout.close()


def serving(artifacts: Path, *options: str, **environment: str) -> Any:
    return started(artifacts, "-m", "service", "serve", "--port", "0", *options, **environment)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifacts folder with a small index, and a task that takes a second or two to build for."""
    artifacts = tmp_path_factory.mktemp("house") / "artifacts"
    draw = random.Random(0)
    tasks = artifacts / "tasks"
    tasks.mkdir(parents=True)
    with (artifacts.parent / "web.jsonl").open("w") as file:
        for _ in range(500):
            file.write(json.dumps({"text": " ".join(draw.choices(WORDS, k=9))}) + "\n")
    with (tasks / "talk.jsonl").open("w") as file:
        for n in range(4000):
            row = {"text": " ".join(draw.choices(WORDS, k=6)), "split": "test" if n % 100 == 0 else "train"}
            file.write(json.dumps(row) + "\n")
    store = Store(artifacts)
    build_corpus(store, "web", [str(artifacts.parent / "web.jsonl")], CorpusSettings())
    build_index(store, "web", "web", IndexSettings(retrievers=("lexical",)))
    return artifacts


@pytest.fixture(scope="module")
def served(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server for all tests that let it live, over a copy of that folder; one of its indexes is broken."""
    artifacts = tmp_path_factory.mktemp("served") / "artifacts"
    shutil.copytree(house, artifacts, ignore=shutil.ignore_patterns("jobs.sqlite*", ".workers", "transfer-sets"))
    shutil.copytree(artifacts / "indexes" / "web", artifacts / "indexes" / "broken")
    for entry in read_manifest(Store(artifacts).path("index", "broken")).files:
        path = artifacts / "indexes" / "broken" / entry.name
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    with serving(artifacts, TRANSFERSET_BODY_SECONDS="2") as server:
        yield server
        assert server.send(signal.SIGTERM) == 0
        assert "Traceback" not in server.said


@pytest.fixture(scope="module")
def by_hand(house: Path) -> list[tuple[str, str]]:
    """The shards the library itself builds: name and sha256."""
    given = {key: value for key, value in ORDER.items() if key != "name"}
    request = read_request(given | {"task": house / "tasks" / "talk.jsonl"})
    built = build_transfer_set(Store(house), "by-hand", request)
    return [(entry.name, entry.sha256) for entry in built.shards]


def ended(client: httpx.Client, location: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(location).json()
        return job if job["state"] in ("finished", "failed", "cancelled") else None

    job: dict[str, Any] = until(look, seconds=120)
    return job


def shards(client: httpx.Client, name: str) -> list[tuple[str, str]]:
    items = client.get(f"/v1/transfer-sets/{name}/shards").json()["items"]
    return [(item["name"], item["sha256"]) for item in items]


def is_half_built(house: Path, name: str) -> Callable[[], bool]:
    """Whether some steps of a transfer set are done and others are not."""
    directory = house / "transfer-sets" / name

    def look() -> bool:
        assert not (directory / "manifest.json").exists(), "it was finished before it could be killed"
        return len([path for path in (directory / ".draft").rglob("*") if path.is_file()]) >= 3

    return look


def test_a_server_killed_in_the_midst_of_a_job_finishes_it_after_a_restart_as_if_nothing_had_been(
    house: Path, by_hand: list[tuple[str, str]]
) -> None:
    order = ORDER | {"name": "killed"}
    with serving(house) as server, server.client() as client:
        location = client.post("/v1/transfer-sets", json=order).headers["location"]
        until(is_half_built(house, "killed"), seconds=60)
        assert server.send(signal.SIGKILL) == -signal.SIGKILL
    assert not (house / "transfer-sets" / "killed" / "manifest.json").exists()
    with serving(house) as server, server.client() as client:
        job = ended(client, location)
        assert (job["state"], job["error"]) == ("finished", None)
        assert shards(client, "killed") == by_hand
        assert server.send(signal.SIGTERM) == 0
        assert "Traceback" not in server.said


def test_a_server_told_to_stop_stops_soon_and_leaves_its_job_for_the_next(
    house: Path, by_hand: list[tuple[str, str]]
) -> None:
    with serving(house) as server, server.client() as client:
        location = client.post("/v1/transfer-sets", json=ORDER | {"name": "stopped"}).headers["location"]
        until(is_half_built(house, "stopped"), seconds=60)
        began = time.monotonic()
        assert server.send(signal.SIGTERM) == 0
        assert time.monotonic() - began < 15
        assert "Traceback" not in server.said
    with serving(house) as server, server.client() as client:
        assert ended(client, location)["state"] == "finished"
        assert shards(client, "stopped") == by_hand
        said = server.says(r"serves (\S+) \(console; docs at \1/docs\), artifacts in (\S+), 1 job at a time\n")
        assert said[2] == str(house)
        assert httpx.get(f"{said[1]}/docs").status_code == 200


def frozen(worker: Process, client: httpx.Client, location: str) -> dict[str, Any]:
    """Stop a worker at a moment when it holds no lock on the database; the job as it stands then."""
    for _ in range(20):
        worker.process.send_signal(signal.SIGSTOP)
        with suppress(httpx.TimeoutException):
            found: dict[str, Any] = client.get(location, timeout=3).json()
            return found
        worker.process.send_signal(signal.SIGCONT)
    raise AssertionError("the worker was never stopped between two writes")


@pytest.mark.slow  # tests/jobs/test_recovery.py has it within one process
def test_of_two_workers_one_takes_over_when_the_other_is_killed_for_good(
    house: Path, by_hand: list[tuple[str, str]], tmp_path: Path
) -> None:
    command, alive = ("-m", "transferset", "worker", "--queues", "build"), tmp_path / "alive"
    with serving(house, "--workers", "0") as server, server.client() as client:
        location = client.post("/v1/transfer-sets", json=ORDER | {"name": "orphan"}).headers["location"]
        server.says("no workers")
        with started(house, *command) as first:
            until(is_half_built(house, "orphan"), seconds=60)
            assert frozen(first, client, location)["state"] == "running"  # slow, for all that others can tell
            with started(house, *command, TRANSFERSET_HEALTH_FILE=str(alive)) as second:
                second.says("takes jobs from build")
                first.send(signal.SIGKILL)
                assert ended(client, location)["state"] == "finished"
                assert shards(client, "orphan") == by_hand
                assert "finished: " not in first.said
                until(alive.exists)
                assert second.send(signal.SIGTERM) == 0
                assert second.said.count("finished: ") == 1
                assert "Traceback" not in second.said


def test_a_real_corrupt_index_is_a_problem_that_names_the_file(served: Process) -> None:
    with served.client() as client:
        response = client.post("/v1/neighbours", json={"index": "broken", "utterances": ["word1 word2"]})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert re.search(r"^indexes/broken/\S+ does not match the sha256", response.json()["detail"])


def test_clients_that_never_end_the_head_of_a_request_are_let_go(served: Process) -> None:
    with served.client() as client:
        address = (client.base_url.host, client.base_url.port)
        dawdlers = [socket.create_connection(address, 60) for _ in range(100)]
        for dawdler in dawdlers:
            dawdler.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert client.get("/livez").status_code == 200
        for dawdler in dawdlers:
            with suppress(ConnectionResetError):
                assert dawdler.recv(100) == b""
            dawdler.close()
        assert client.get("/livez").status_code == 200


def test_a_server_that_cannot_start_says_why_in_a_sentence_and_no_password(tmp_path: Path) -> None:
    with serving(tmp_path / "artifacts", "--database", "postgresql+psycopg://u:secret@127.0.0.1:1/d") as server:
        assert server.process.wait(60) == 2
        until(lambda: "cannot be opened" in server.said)
        assert "secret" not in server.said
        assert "Traceback" not in server.said


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started(tmp_path / "artifacts", "-m", "service", "serve", "--port", port) as server:
            assert server.process.wait(60) == 2
            until(lambda: f"Cannot listen on 127.0.0.1 port {port}" in server.said)


def test_beyond_this_machine_it_is_not_served_without_keys_unless_that_is_said_aloud(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    with serving(artifacts, "--host", "0.0.0.0", "--workers", "0") as server:
        assert server.process.wait(60) == 2
        until(lambda: "there are no API keys" in server.said)
    options = ("--host", "0.0.0.0", "--workers", "0", "--allow-open")
    with serving(artifacts, *options, TRANSFERSET_LOG_FORMAT="json") as server:
        port = server.says(r"serves http://0\.0\.0\.0:(\d+)")[1]
        jobs = f"http://127.0.0.1:{port}/v1/jobs"
        assert httpx.get(jobs).status_code == 200
        _, secret = KeyRing(artifacts / "keys.json").create("ann", "read")
        asked = {"Authorization": f"Bearer {secret}", "X-Request-ID": "from-me"}
        assert httpx.get(jobs).status_code == 401
        assert httpx.get(jobs, headers=asked).status_code == 200
        line = json.loads(server.says(r'\{[^\n]*"request_id": "from-me"[^\n]*\}')[0])
        assert (line["route"], line["status"], line["level"]) == ("/v1/jobs", 200, "INFO")
        assert secret not in server.said


def test_a_stream_of_events_follows_a_job_and_does_not_keep_a_server_from_stopping(house: Path) -> None:
    with serving(house, "--workers", "0") as server, server.client() as client:
        job = client.post("/v1/transfer-sets", json=ORDER | {"name": "followed"}).json()
        seen: list[str] = []
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            while "data" not in (line := next(lines)):
                seen.append(line)
            assert json.loads(line.partition(": ")[2])["state"] == "queued"
            began = time.monotonic()
            assert server.send(signal.SIGTERM) == 0
            assert time.monotonic() - began < 8
        assert "id: queued" in seen
        assert "Traceback" not in server.said
    with serving(house) as server, server.client() as client:
        headers = {"Last-Event-ID": "queued"}
        events = client.get(f"/v1/jobs/{job['id']}/events", headers=headers, timeout=120).text
        assert [line for line in events.splitlines() if line.startswith("event: ")][-1] == "event: end"
        assert "id: queued" not in events
        assert '"state":"finished"' in events
        assert server.send(signal.SIGTERM) == 0


def test_a_client_builds_fetches_and_opens_a_set_over_a_real_connection(
    served: Process, by_hand: list[tuple[str, str]], tmp_path: Path
) -> None:
    with Client(str(served.client().base_url), progress=False) as client:
        found = client.neighbours(["word1 word2"], index="web", k=2)
        assert len(found[0].neighbours) == 2
        settings = {key: value for key, value in ORDER.items() if key not in ("name", "task")}
        made = client.build_transfer_set("by-client", task="talk", **settings).wait(seconds=120)
        artifact = made.download(tmp_path / "fetched")
        assert [(entry.name, entry.sha256) for entry in artifact.shards] == by_hand
        assert artifact.verify() == []
