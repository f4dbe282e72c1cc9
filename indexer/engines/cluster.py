"""The Ray engine: shards made by the nodes of a Ray cluster, or of a Ray that is started here for the occasion.

What other nodes need: the artifacts folder mounted at the same path, the same versions of Python and of
`transferset[indexer,ray]`, and the encoder where the build finds it. Workers on this machine use the installed package.
A Ray started here listens on 127.0.0.1 only and asks for a token; its logs are below /tmp/ray.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import BadInput, MissingExtra, WorkerLost
from indexer.engines.workers import attempt, result_of

Result = TypeVar("Result")

RETRIES = 4  # of a shard whose node or worker was lost
AHEAD = 3  # calls in flight a core: enough that no core waits for the one whose result is next
ANSWER_S = 60  # how long a node may take to say that it sees a folder
_OBJECT_STORE = 1 << 30  # bytes, for what travels between driver and workers; more of it spills to the disk

_held: dict[str, Callable[[int], Any]] = {}  # in a worker: the work at hand, by its map's key


class RayEngine:
    """The cores of a Ray cluster. Connects, or starts a Ray, when it is first asked for something."""

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, memory_budget: int | None = None
    ) -> None:
        self.memory_budget = memory_budget
        self._address = address
        self._wanted = workers
        _import_ray(is_ours=address is None)

    @property
    def workers(self) -> int:
        cores = int(sum(node["Resources"]["CPU"] for node in self._nodes()))
        return min(cores, self._wanted or cores)

    def reach(self, folder: Path) -> None:
        """Have every node with a core read a file that is written here, and write one that is read here."""
        token = secrets.token_hex(6)
        probe = folder.absolute() / f".reach.attempt-{token}.partial"
        try:
            probe.write_text(token)
            answers = [self._ask(node, probe, token) for node in self._nodes()]
        finally:
            for left in folder.glob(f".reach.attempt-{token}*"):
                left.unlink(missing_ok=True)
        if not any(answers):
            raise WorkerLost("Every node of the Ray cluster was lost while it was asked; look at it with `ray status`")

    def map(self, work: Callable[[int], Result], numbers: Sequence[int], *, bytes_each: int = 0) -> Iterator[Result]:
        ray = self._ray
        key, shipped = secrets.token_hex(8), [ray.put(work)]
        call = ray.remote(_call).options(num_cpus=1, max_retries=RETRIES, memory=self._memory_for(bytes_each))
        in_flight = self._wanted or AHEAD * self.workers
        pending: deque[Any] = deque()
        try:
            for number in numbers:
                if len(pending) == in_flight:
                    yield self._result(pending.popleft())
                pending.append(call.remote(key, shipped, number))
            while pending:
                yield self._result(pending.popleft())
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    @cached_property
    def _ray(self) -> Any:
        ray = _import_ray(is_ours=self._address is None)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if ray.is_initialized():
            return ray
        if self._address is None:
            cores = self._wanted or len(os.sched_getaffinity(0))
            store = _OBJECT_STORE
            ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=store, **quiet)
            return ray
        try:
            ray.init(self._address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"There is no Ray cluster at {self._address!r} ({_first_line(error)}); expected HOST:PORT of a running "
                "one, or auto; leave --ray-address out to start one on this machine"
            ) from error
        return ray

    def _nodes(self) -> list[dict[str, Any]]:
        """The living nodes on which a shard can be made."""
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise BadInput("The Ray cluster has no node with a CPU for a shard; start one with --num-cpus")
        return nodes

    def _ask(self, node: dict[str, Any], probe: Path, token: str) -> bool:
        """Whether the node answered; one that is just being lost need not."""
        ray, name = self._ray, f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        call = ray.remote(_echo).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
        answer = probe.with_name(f".reach.attempt-{token}-{node['NodeID']}.partial")
        try:
            seen = ray.get(call.remote(str(probe), str(answer)), timeout=ANSWER_S)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            return False
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            raise BadInput(
                f"Node {name} of the Ray cluster cannot work here ({type(cause).__name__}: {_first_line(cause)}); "
                "expected the same Python and transferset[indexer,ray] as on this machine"
            ) from error
        if seen != token or not answer.exists():
            raise BadInput(
                f"Node {name} of the Ray cluster does not see the artifacts folder: expected {probe.parent} to be the "
                f"same folder there as on {socket.gethostname()}; mount it at that path on every node, or name a "
                "shared one with --artifacts"
            )
        return True

    def _memory_for(self, bytes_each: int) -> int:
        """What a call reserves of its node's memory, so that a budget is kept on every node; Ray's unit is a byte."""
        smallest = int(min(node["Resources"].get("memory", 0) for node in self._nodes()))
        if self.memory_budget is None or not bytes_each:
            return min(bytes_each, smallest)
        return smallest // max(1, self.memory_budget // bytes_each)

    def _result(self, reference: Any) -> Any:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(
                f"A shard was given to Ray {RETRIES + 1} times and its node or worker was lost each time "
                f"({type(error).__name__}: {_first_line(error)}); what is finished is kept: free some memory, or give "
                "less of it with a smaller --memory-budget, and run the same command"
            ) from error
        return result_of(*answer)


def _call(key: str, shipped: Sequence[Any], number: int) -> Any:
    """One call in a worker, which keeps the work, with whatever that has opened, for the next one."""
    if key not in _held:
        import ray

        _held.clear()
        _held[key] = ray.get(shipped[0])
    return attempt(_held[key], number)


def _echo(probe: str, answer: str) -> str | None:
    """On a node: read the probe and write the answer beside it; None when that cannot be done."""
    try:
        token = Path(probe).read_text()
        Path(answer).write_text(token)
    except OSError:
        return None
    return token


def _import_ray(*, is_ours: bool) -> Any:
    """Ray, told before it loads to be quiet and, where we start it, to stay on the loopback interface.

    `ray.init` takes 127.0.0.1 for "this machine" and would listen on every interface; this variable keeps it from that.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its notes on lost workers would go to stdout
    if is_ours:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise MissingExtra(f"--engine ray needs Ray ({error}); pip install 'transferset[ray]'") from error
    return ray


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
