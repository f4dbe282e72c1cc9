"""The house of the fuzzing: a real server and its worker as processes, with low limits, over a small real index.

What the processes take is watched from outside, readers and their forks included: memory at its peak, files they left.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from contract.store import Store
from indexer.build import build_index
from indexer.corpus import CorpusSettings, build_corpus
from indexer.index import IndexSettings

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
READ_SECONDS = 3
# Low, so that what is beyond a limit is met often, and what holds a limit badly is seen.
LIMITS = {
    "MAX_BODY_BYTES": str(MIB),
    "MAX_UPLOAD_BYTES": str(8 * MIB),
    "MAX_TASK_ROWS": "20000",
    "MAX_TASK_BYTES": str(16 * MIB),
    "READ_MEMORY_BYTES": str(256 * MIB),
    "READ_SECONDS": str(READ_SECONDS),
    "MAX_TEXT_CHARS": "2000",
    "MAX_UTTERANCES": "64",
    "MAX_K": "100",
    "MAX_JOBS": "40",
    "MAX_STREAMS": "8",
    "BODY_SECONDS": "5",
    "SEARCH_WAIT_SECONDS": "5",
    "PRELOAD": "web,near",
}
WORDS = [f"word{n}" for n in range(400)]


@dataclass
class House:
    """A running server: where it is, where its artifacts are, and its processes."""

    url: str
    artifacts: Path
    server: subprocess.Popen[str]
    worker: subprocess.Popen[str]
    said: dict[str, list[str]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)  # bytes, by what was measured

    @property
    def is_whole(self) -> bool:
        return self.server.poll() is None and self.worker.poll() is None

    def failures(self) -> list[str]:
        """What the logs say that no request should have been able to cause."""
        odd = re.compile(r"failed inside|Traceback|Exception in ASGI|\bERROR\b|CRITICAL")
        return [line.rstrip() for lines in self.said.values() for line in lines if odd.search(line)]


@contextmanager
def running(folder: Path) -> Iterator[House]:
    """Build what is searched, start both processes, watch them, and end them."""
    artifacts = folder / "artifacts"
    furnish(artifacts)
    server, worker = (
        _start(artifacts, "serve", "--port", "0", "--workers", "0"),
        _start(artifacts, "worker", "--queues", "build"),
    )
    house = House("", artifacts, server, worker)
    threads = [threading.Thread(target=_listen, args=(house, name), daemon=True) for name in ("server", "worker")]
    done = threading.Event()
    threads.append(threading.Thread(target=_watch, args=(house, done), daemon=True))
    for thread in threads:
        thread.start()
    try:
        house.url = _said(house, "server", r"serves (http://127\.0\.0\.1:\d+)")
        _said(house, "worker", r"takes jobs from (\w+)")
        _await_ready(house.url)
        yield house
    finally:
        done.set()
        for process in (server, worker):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait(30)


def furnish(artifacts: Path) -> None:
    """Two indexes, one with an encoder where its weights are installed, and a task."""
    draw = random.Random(0)
    (artifacts / "tasks").mkdir(parents=True)
    _write(artifacts.parent / "web.jsonl", ({"text": " ".join(draw.choices(WORDS, k=9))} for _ in range(2000)))
    _write(artifacts.parent / "near.jsonl", ({"text": " ".join(draw.choices(WORDS, k=9))} for _ in range(200)))
    splits = ("train", "train", "train", "test")
    _write(
        artifacts / "tasks" / "talk.jsonl",
        (
            {"text": " ".join(draw.choices(WORDS, k=6)), "intent": f"intent{n % 7}", "split": splits[n % 4]}
            for n in range(200)
        ),
    )
    store = Store(artifacts)
    for name, settings in (("web", IndexSettings(retrievers=("lexical",))), ("near", IndexSettings())):
        build_corpus(store, name, [str(artifacts.parent / f"{name}.jsonl")], CorpusSettings())
        build_index(store, name, name, settings)


def _write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _start(artifacts: Path, *command: str) -> subprocess.Popen[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFERSET_")}
    ours = {f"TRANSFERSET_{name}": value for name, value in LIMITS.items()}
    paths = {"TRANSFERSET_ARTIFACTS": str(artifacts), "PYTHONPATH": os.environ.get("FUZZED_TREE", str(ROOT))}
    return subprocess.Popen(
        [sys.executable, "-m", "transferset", *command],
        env=known | ours | paths | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=artifacts.parent,
    )


def _listen(house: House, name: str) -> None:
    """Keep the lines of a log that matter: requests that went well are many."""
    process: subprocess.Popen[str] = getattr(house, name)
    assert process.stdout is not None
    kept = house.said.setdefault(name, [])
    for line in process.stdout:
        if len(kept) < 50_000 and (len(kept) < 50 or not re.search(r" [1-4]\d\d \d+ ms", line)):
            kept.append(line)


def _said(house: House, name: str, pattern: str) -> str:
    process: subprocess.Popen[str] = getattr(house, name)
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in [*house.said.get(name, ())]:
            if found := re.search(pattern, line):
                return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the {name} did not start: {''.join(house.said.get(name, []))}")


def _await_ready(url: str) -> None:
    """Until the indexes are open: loading an encoder takes seconds, once."""
    end = time.monotonic() + 120
    while httpx.get(f"{url}/readyz", timeout=60).status_code != 200:
        if time.monotonic() > end:
            raise RuntimeError("the server is not ready")
        time.sleep(0.2)


def _watch(house: House, done: threading.Event) -> None:
    """Note the peaks of memory: of each process, of all a server's readers and their forks together."""
    while not done.wait(0.05):
        for name in ("server", "worker"):
            process: subprocess.Popen[str] = getattr(house, name)
            _note(house, name, _resident(process.pid))
        _note(house, "readers", sum(map(_resident, _offspring(house.server.pid))))


def _note(house: House, name: str, found: int) -> None:
    house.peaks[name] = max(house.peaks.get(name, 0), found)


def _offspring(pid: int) -> list[int]:
    try:
        text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return children + [grandchild for child in children for grandchild in _offspring(child)]


def _resident(pid: int) -> int:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
