"""What the tests of the Ray engine run in a process of its own: Ray leaves threads, warnings and handlers behind.

Run as `python -m tests.indexer.ray_runs NAME FOLDER`, where FOLDER holds the artifacts; prints one JSON value.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # 127.0.0.1 only
os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # quiet
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import ray
from ray.cluster_utils import Cluster

from contract.artifact import Artifact
from contract.errors import TransfersetError
from contract.store import Store
from indexer.build import build_index
from indexer.engine import LocalEngine, open_engine
from indexer.engines.bulk import open_bulk_index
from indexer.index import open_index
from tests.indexer.counting import Dying, Failing, Slow, Square
from tests.indexer.killed_builds import settings

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 << 20}
QUERIES = [f"passage {n} says some thing" for n in range(40)]


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any, str]]:
    """A cluster of two one-core nodes: it, its second node, its address."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    second = cluster.add_node(**NODE)
    try:
        yield cluster, second, cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def calls(folder: Path) -> dict[str, Any]:
    """Every claim about `map` and `reach`, on one cluster: it takes seconds to start."""
    with two_nodes() as (cluster, second, address):
        engine = open_engine("ray", address=address)
        folder.mkdir()
        engine.reach(folder)
        told: dict[str, Any] = {"workers": engine.workers, "left": len(list(folder.iterdir()))}
        squares = list(engine.map(Square(), range(30)))
        told["squares"] = [square for square, _ in squares]
        told["processes"] = len({pid for _, pid in squares} - {os.getpid()})
        told["ordered"] = list(engine.map(Slow(), [3, 0, 7, 5, 1, 6]))
        told["with_memory"] = list(open_engine("ray", memory_budget="1GB").map(Slow(), [7, 8], bytes_each=10**9))
        told["deaths"] = list(engine.map(Dying(folder, 4, 2), range(8)))
        told["attempts"] = len(list(folder.glob("4-*")))
        told["errors"] = [error_of(lambda kind=kind: list(engine.map(Failing(kind), range(6)))) for kind in KINDS]
        told["lost"] = error_of(lambda: list(engine.map(Dying(folder, 9, 99), range(9, 10))))
        results = engine.map(Slow(), range(30))
        first = next(results)
        cluster.remove_node(second, allow_graceful=False)
        told["after_loss"] = [first, *results]
        told["unseen"] = unseen(engine, folder)
    return told


KINDS = ("input", "disk", "odd")


def unseen(engine: Any, folder: Path) -> Any:
    """What `reach` says when a node does not see the folder: one that answers from another folder stands for it."""
    from indexer.engines import cluster

    cluster._echo = lambda probe, answer: None  # type: ignore[assignment]
    return error_of(lambda: engine.reach(folder))


def error_of(attempt: Callable[[], object]) -> Any:
    try:
        attempt()
    except TransfersetError as error:
        return [type(error).__name__, error.message]
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def builds(folder: Path) -> dict[str, Any]:
    """One index by Ray while a node goes and a worker is killed, one by Ray undisturbed; and what they find."""
    store = Store(folder)
    told: dict[str, Any] = {}
    with two_nodes() as (cluster, second, address):
        engine = open_engine("ray", address=address)
        told["undisturbed"] = build_index(store, "whole", "c", settings("lexical"), engine=engine).id
        told["bulk"] = same_hits(store, "whole", engine)
        killing, removing = Disturbing(lambda: kill_workers(second)), Disturbing(lambda: remove(cluster, second))
        told["worker_killed"] = build_index(store, "a", "c", settings("lexical"), engine=engine, progress=killing).id
        told["node_removed"] = build_index(store, "b", "c", settings("lexical"), engine=engine, progress=removing).id
        told["killed"], told["removed"] = killing.did, removing.did
    return told


def kills(folder: Path) -> dict[str, Any]:
    """Twenty drivers of one cluster killed at random moments, what they began finished here, by threads."""
    store, draw = Store(folder), random.Random(0)
    told: dict[str, Any] = {"ids": [], "faults": [], "left": [], "killed": 0}
    with two_nodes() as (_, _, address):
        took = drive(store, "undisturbed", address, None)
        for number in range(100):
            if told["killed"] == KILLS:
                break
            name = f"life-{number}"
            told["killed"] += drive(store, name, address, draw.uniform(0, took)) < 0
            index = build_index(store, name, "c", settings("lexical"), engine=LocalEngine(2, processes=False))
            told["ids"].append(index.id)
            told["faults"] += index.verify()
            told["left"] += left_in(index)
    told["ids"] = sorted({*told["ids"], open_index(store, "undisturbed").artifact.id})
    return told


KILLS = 20


def drive(store: Store, name: str, address: str, lifetime: float | None) -> float:
    """Build by a driver of its own; the seconds from its first step, or -1 when it was killed so many after that."""
    command = [sys.executable, "-m", "tests.indexer.ray_runs", "driver", str(store.root), name, address]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (store.path("index", name) / ".draft").exists() and driver.poll() is None:
        time.sleep(0.001)
    started = time.monotonic()
    try:
        assert driver.wait(lifetime) == 0
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
        return -1
    return time.monotonic() - started


def driver(folder: Path, name: str, address: str) -> dict[str, Any]:
    engine = open_engine("ray", address=address)
    return {"id": build_index(Store(folder), name, "c", settings("lexical"), engine=engine).id}


def left_in(index: Artifact) -> list[str]:
    """Files that no manifest knows, but for those that workers of a driver just killed are about to leave."""
    known = {entry.name for entry in (*index.manifest.files, *index.manifest.attachments)} | {"manifest.json"}
    there = {str(path.relative_to(index.directory)) for path in index.directory.rglob("*") if path.is_file()}
    return sorted(name for name in there - known if ".attempt-" not in name)


def remove(cluster: Cluster, node: Any) -> int:
    cluster.remove_node(node, allow_graceful=False)
    return 1


class Disturbing:
    """A progress that does something once, in the middle of the lexical part."""

    def __init__(self, what: Callable[[], int]) -> None:
        self.what, self.did = what, 0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage == "lexical" and not self.did:
            self.did = self.what()


def kill_workers(node: Any) -> int:
    """Kill with SIGKILL the workers of a node: those of its raylet's children that Ray calls so; how many."""
    raylet = node.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] for pid in children}
    workers = [int(pid) for pid, name in names.items() if name in (b"ray::_call", b"ray::IDLE")]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return len(workers)


def same_hits(store: Store, name: str, engine: Any) -> bool:
    """Whether the engine's search is, to the bit, that of one process."""
    alone, spread = open_index(store, name), open_bulk_index(store, name, engine)
    equal = []
    for k in (1, 10, 2000):
        mine, theirs = alone.search(QUERIES, k, "lexical"), spread.search(QUERIES, k, "lexical")
        equal += [(mine.rows == theirs.rows).all(), (mine.scores == theirs.scores).all()]
    return bool(all(equal))


def alone(folder: Path) -> dict[str, Any]:
    """A Ray that is started here: where it listens, what it leaves behind."""
    engine = open_engine("ray", workers=2)
    squares = [square for square, _ in engine.map(Square(), range(10))]
    addresses = sorted({node["NodeManagerAddress"] for node in ray.nodes()})
    return {"squares": squares, "addresses": addresses, "workers": engine.workers, "listening": listening()}


def listening() -> list[str]:
    """The addresses on which the children of this process listen, from the kernel's tables."""
    family = {os.getpid()}
    parents = {int(path.name): int(stat_of(path)[1]) for path in Path("/proc").glob("[0-9]*") if stat_of(path)}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    inodes = {link for pid in family for link in sockets_of(pid)}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].split(":")[0])
    return sorted(found)


def stat_of(path: Path) -> list[str]:
    try:
        return (path / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def sockets_of(pid: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            link = str(descriptor.readlink())
        except OSError:
            continue
        if link.startswith("socket:["):
            found.append(link.removeprefix("socket:[").removesuffix("]"))
    return found


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    "calls": calls,
    "builds": builds,
    "alone": alone,
    "kills": kills,
    "driver": driver,
}


def main() -> None:
    name, folder, *rest = sys.argv[1:]
    patience = 1200 if name == "kills" else 200
    threading.Timer(patience, lambda: os._exit(3)).start()  # Ray waits for ever for what does not come
    started = time.monotonic()
    told = RUNS[name](Path(folder), *rest)
    print(json.dumps({**told, "seconds": round(time.monotonic() - started, 1)}), flush=True)
    ray.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
