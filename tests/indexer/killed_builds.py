"""Builds that are killed with SIGKILL at random moments and then run again, one JSON line a life.

Run as `python -m tests.indexer.killed_builds FOLDER KIND KILLS SEED PARTS`; KIND is `build` or `add`, PARTS are
`lexical` or `lexical,dense`, with an encoder that needs no model. What the engine of processes began, that of threads
goes on with. Everything is imported once and each life is a fork of that, made before any thread starts; moments are
drawn from the time that an undisturbed life takes. The builder's own workers are new interpreters.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

import indexer.build
import indexer.index
from contract.artifact import Artifact
from contract.manifest import MANIFEST
from contract.store import Store
from indexer.build import add_to_index, build_index
from indexer.corpus import CorpusSettings, build_corpus
from indexer.dense import DenseSettings
from indexer.engine import LocalEngine
from indexer.index import Built, IndexSettings, open_index
from indexer.lexical import LexicalSettings
from tests.indexer.counting import LightEncoder, open_light

FIRST, MORE = 1500, 900  # passages of the corpus, and of what `add` puts behind them
SHARD = 200


def settings(parts: str) -> IndexSettings:
    retrievers: tuple[Built, ...] = ("lexical", "dense") if parts == "lexical,dense" else ("lexical",)
    dense = DenseSettings(encoder=LightEncoder.settings, shard_rows=SHARD)
    return IndexSettings(retrievers=retrievers, lexical=LexicalSettings(shard_rows=SHARD), dense=dense)


def write_sources(folder: Path) -> tuple[Path, Path]:
    """Two files of documents, the second with some of the first's among them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"passage {n} says {n * n} and {'some thing or other ' * (n % 5)}" for n in range(FIRST + MORE)]
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    first.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:FIRST]))
    second.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[FIRST - 50 :]))
    return first, second


def corpus_settings() -> CorpusSettings:
    return CorpusSettings(min_words=1, shard_passages=400)


def make(store: Store, kind: str, sources: tuple[Path, Path], parts: str, *, processes: bool) -> Artifact:
    """What a life does: build the index, or add to the one that is there."""
    engine = LocalEngine(2, processes=processes)
    if kind == "build":
        return build_index(store, "i", "c", settings(parts), engine=engine)
    return add_to_index(store, "i", [str(sources[1])], engine=engine)


def prepare(store: Store, kind: str, sources: tuple[Path, Path], parts: str) -> None:
    """What is finished before the lives that are killed."""
    build_corpus(store, "c", [str(sources[0])], corpus_settings())
    if kind == "add":
        build_index(store, "i", "c", settings(parts))


def kept_files(directory: Path) -> list[str]:
    """The files that receipts stand for: what must not be made again."""
    receipts = [json.loads(path.read_text()) for path in (directory / ".draft").glob("*.json") if path.stem != "plan"]
    return [entry["name"] for receipt in receipts for entry in receipt["files"]]


def stamps(directory: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Inode and time of each file, which tell whether it was written again."""
    found = {name: (directory / name).stat() for name in names}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def fork(life: Callable[[], object]) -> int:
    """A child in a process group of its own that lives `life` and exits with 0 when nothing went wrong."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    code = 1
    try:
        life()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def live(life: Callable[[], object]) -> None:
    _, status = os.waitpid(fork(life), 0)
    assert status == 0, status


def kill_some(child: int, whom: str, draw: random.Random) -> bool:
    """Kill the builder, it and its workers at once, or one worker, which the builder must get over."""
    pids = [int(pid) for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
    if whom == "worker":
        pids = [draw.choice(pids)] if pids else []
    else:
        pids = [child] if whom == "builder" else [child, *pids]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return bool(pids)


def is_over(child: int, until: float) -> bool:
    """Wait until a moment, or until the child has ended before it."""
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.001)
    return False


def report(store: Store, directory: Path, before: dict[str, tuple[int, int]]) -> dict[str, object]:
    """What the index is after all, and what of it was made twice, is missing or left over."""
    index = open_index(store, "i")
    now = stamps(directory, before)
    texts = index.passages(np.arange(index.rows))["text"].to_pylist()
    listed = {entry.name for entry in (*index.artifact.manifest.files, *index.artifact.manifest.attachments)}
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return {
        "id": index.artifact.id,
        "corpus": index.corpus.id,
        "directory": directory.name,
        "faults": [*index.artifact.verify(), *index.corpus.verify()],
        "left": sorted(there - listed - {MANIFEST}),
        "made_again": sorted(name for name in before if before[name] != now[name]),
        "rows": len(texts),
        "distinct": len(set(texts)),
    }


def main(folder: Path, kind: str, kills: int, seed: int, parts: str) -> None:
    """One undisturbed life, then others until so many were killed: a moment may come when there is nothing to kill."""
    draw = random.Random(seed)
    sources, prepared = write_sources(folder / "sources"), folder / "prepared"
    live(lambda: prepare(Store(prepared), kind, sources, parts))
    killed, took = 0, 0.0
    for number in range(5 * kills + 1):
        if killed == kills and took:
            break
        store = Store(shutil.copytree(prepared, folder / f"life-{number}"))
        directory = store.path("index", "i", 2 if kind == "add" else 1)
        child = fork(lambda: make(store, kind, sources, parts, processes=True))  # noqa: B023
        started, whom, was_killed = time.monotonic(), "nobody", False
        if took and not is_over(child, started + draw.uniform(0.2, 1.0) * took):
            whom = draw.choice(["builder", "all", "worker"])
            was_killed = kill_some(child, whom, draw)
            killed += was_killed
        _, status = os.waitpid(child, 0)
        took = took if was_killed else time.monotonic() - started
        finished = (directory / MANIFEST).exists()
        assert finished or os.WIFSIGNALED(status), (whom, status)
        before = {} if finished else stamps(directory, kept_files(directory))
        live(lambda: make(store, kind, sources, parts, processes=False))  # noqa: B023
        told = folder / f"life-{number}.json"
        live(lambda: told.write_text(json.dumps(report(store, directory, before))))  # noqa: B023
        known = {"whom": whom, "was_killed": was_killed, "finished": finished, "kept": len(before)}
        print(json.dumps({**known, **json.loads(told.read_text())}), flush=True)
        shutil.rmtree(store.root)


def reference(folder: Path, parts: str) -> None:
    """The build from scratch over all sources together, whose ids an `add` must have."""
    store = Store(folder / "reference")
    first, second = write_sources(folder / "sources")
    build_corpus(store, "c", [str(first), str(second)], corpus_settings())
    index = build_index(store, "i", "c", settings(parts), engine=LocalEngine(2, processes=False))
    print(json.dumps({"id": index.id, "corpus": index.manifest.inputs["corpus"]}))


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # SIGKILL loses nothing that was written
    indexer.build.open_encoder = indexer.index.open_encoder = open_light  # type: ignore[assignment]
    folder, kind, kills, seed, parts = sys.argv[1:]
    if kind == "reference":
        reference(Path(folder), parts)
    else:
        main(Path(folder), kind, int(kills), int(seed), parts)
