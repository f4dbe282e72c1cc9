"""The followers: processes that train beside this one for as long as it lives, and no longer.

Each is `python -m distill.follower`. Its standard input tells it what to do, and when it closes the follower ends, so
that whoever kills the main process has killed all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from contract.errors import BadInput, WorkerLost
from contract.manifest import Json
from distill.training.processes import ALONE, Processes, joined, refuse_too_many

READY = "ready"  # what a follower says when it has all it needs but the others
LOST = 3  # its exit code when another process has died
ENDS_WITHIN_S, NOTICED_WITHIN_S = 60.0, 5.0

Follower = subprocess.Popen[str]


@contextmanager
def followed(count: int, task: dict[str, Json]) -> Iterator[Processes]:
    """This process and `count` - 1 followers, which are told the task. WorkerLost when one of them dies."""
    if count == 1:
        yield ALONE
        return
    refuse_too_many(count)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        meeting = Path(folder) / "meeting"
        followers = []
        for rank in range(1, count):
            told = {**task, "rank": rank, "count": count, "meeting": str(meeting)}
            followers.append(stack.enter_context(_started(told)))
        for rank, follower in enumerate(followers, 1):
            _await_ready(rank, count, follower)
        try:
            with joined(0, count, meeting) as processes:
                yield processes
        except WorkerLost as error:
            raise WorkerLost(f"{error.message}{_ends(followers)}") from error
        for follower in followers:
            follower.wait(ENDS_WITHIN_S)


@contextmanager
def _started(task: dict[str, Json]) -> Iterator[Follower]:
    follower = subprocess.Popen(
        [sys.executable, "-m", "distill.follower"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which then closes their standard input
    )
    assert follower.stdin is not None
    assert follower.stdout is not None
    try:
        follower.stdin.write(json.dumps(task) + "\n")
        follower.stdin.flush()
        yield follower
    finally:
        with suppress(BrokenPipeError):
            follower.stdin.close()
        try:
            follower.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            follower.kill()
            follower.wait()
        follower.stdout.close()


def _await_ready(rank: int, count: int, follower: Follower) -> None:
    assert follower.stdout is not None
    said = follower.stdout.readline().strip()
    if said != READY:
        follower.wait()
        if said:  # a sentence
            raise BadInput(said)
        raise WorkerLost(f"Process {rank + 1} of {count} ended before the training began{_ends([follower])}")


def _ends(followers: Sequence[Follower]) -> str:
    """How those ended that did not end because another had."""
    for follower in followers:
        with suppress(subprocess.TimeoutExpired):
            follower.wait(NOTICED_WITHIN_S)
    codes = [(rank, follower.returncode) for rank, follower in enumerate(followers, 2)]
    return "".join(
        f"; process {rank} ended " + (f"by signal {-code}" if code < 0 else f"with code {code}")
        for rank, code in codes
        if code not in (None, 0, LOST)
    )
