"""The trial: so many kills at random moments over one database and so many workers; what was lost, doubled, changed."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.client import Client
from benchmarks.chaos.house import FOR_RUNS, RUN, SET
from benchmarks.chaos.processes import Process, api, free_port, worker
from contract.artifact import Artifact
from contract.manifest import read_manifest
from contract.store import Store
from tests.jobs.postgres import Postgres, running_postgres

FREEZE_SHARE, RESTART_SHARE = 0.12, 0.05  # of all moments at which something is done
SETTLE_SECONDS = 180.0
ORDERS = {"transfer-sets": SET, "runs": RUN}
KINDS = {"transfer-sets": "transfer-set", "runs": "run"}


@dataclass
class Outcome:
    """What a trial came to."""

    database: str
    workers: int
    kills: Counter[str] = field(default_factory=Counter)
    frozen: int = 0
    restarts: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        return not (self.lost or self.doubled or self.changed or self.wrong)


def run_trial(house: Path, folder: Path, database: str, workers: int, kills: int, seed: int) -> Outcome:
    """Kill `kills` times among an API and `workers` of each queue, over a copy of the house."""
    outcome, began = Outcome(database, workers), time.monotonic()
    artifacts = folder / "artifacts"
    shutil.copytree(house, artifacts)
    with running_postgres() if database == "postgres" else nullcontext() as postgres:
        url = postgres.database() if postgres else f"sqlite:///{artifacts / 'jobs.sqlite'}"
        port = free_port()
        workforce = [worker(n, queue, artifacts, url) for queue in ("build", "distill") for n in range(workers)]
        processes = [api(artifacts, url, port), *workforce]
        client = Client(port, ORDERS)
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.wait_until_up()
            expected = _undisturbed(client, artifacts)
            client.start()
            try:
                _disturb(processes, postgres, kills, random.Random(seed), outcome)
            finally:
                client.stop_ordering()
            for process in processes:
                process.wait_until_up()
            client.wait(SETTLE_SECONDS)
            _judge(client, artifacts, expected, outcome)
        finally:
            for process in processes:
                process.end()
            client.close()
    outcome.seconds = time.monotonic() - began
    return outcome


def _undisturbed(client: Client, artifacts: Path) -> dict[str, Artifact]:
    """What the orders come to when nothing happens."""
    client.order("transfer-sets", "for-runs", FOR_RUNS)
    client.wait(SETTLE_SECONDS)
    for where in ORDERS:
        client.order(where, "undisturbed")
    client.wait(SETTLE_SECONDS)
    made = {where: _artifact(artifacts, where, "undisturbed") for where in ORDERS}
    for where, artifact in made.items():
        if artifact is None:
            raise RuntimeError(f"{where} could not be built at all: {client.jobs}")
    # Teacher and labels go, so that they are made again among the kills.
    for kind in ("teachers", "labels"):
        shutil.rmtree(artifacts / kind, ignore_errors=True)
    client.jobs.clear()
    return {where: artifact for where, artifact in made.items() if artifact is not None}


def _disturb(
    processes: Sequence[Process], postgres: Postgres | None, kills: int, draw: random.Random, outcome: Outcome
) -> None:
    """Kill, freeze, restart: at moments drawn while the victim is up, sometimes all at once."""
    while sum(outcome.kills.values()) < kills:
        time.sleep(draw.uniform(0, 1.6))
        up = [process for process in processes if process.is_up]
        what = draw.random()
        if not up:
            continue
        victim = draw.choice(up)
        if what < FREEZE_SHARE:
            victim.freeze(draw.uniform(0.5, 4))
            outcome.frozen += 1
        elif what < FREEZE_SHARE + RESTART_SHARE and postgres:
            postgres.stop()
            time.sleep(draw.uniform(0, 2))
            postgres.start()
            outcome.restarts += 1
        else:
            victims = up if draw.random() < 0.1 else [victim]
            for each in victims:
                each.kill()
                outcome.kills[each.name.split("-")[0]] += 1
            time.sleep(draw.choice((0, 0, 0.5)))
            for each in victims:
                each.start()


def _judge(client: Client, artifacts: Path, expected: dict[str, Artifact], outcome: Outcome) -> None:
    """Every job once, finished, with just what an undisturbed one makes."""
    outcome.asked_again, outcome.wrong = client.asked_again, sorted({*client.wrong})
    ids = Counter(client.listed())
    known = {job["id"] for job in client.jobs.values()}
    for key, job in client.jobs.items():
        where, name = key.split("/")
        outcome.jobs[where] += 1
        made = _artifact(artifacts, where, name)
        if job["state"] != "finished" or made is None:
            outcome.lost.append(f"{key} is {job['state']}: {(job.get('error') or {}).get('detail')}")
        elif not _same(made, expected[where]) or job["result"]["id"] != made.id or made.verify():
            outcome.changed.append(f"{key} is not what an undisturbed one is")
    outcome.doubled = [job_id for job_id, times in ids.items() if times > 1]
    if len(ids) != len(known) + 1 + len(ORDERS):
        outcome.doubled.append(f"{len(ids)} jobs were taken in for {len(known) + 1 + len(ORDERS)} orders")


def _artifact(artifacts: Path, where: str, name: str) -> Artifact | None:
    directory = Store(artifacts).path(KINDS[where], name)  # type: ignore[arg-type]
    if not (directory / "manifest.json").exists():
        return None
    return Artifact(directory, read_manifest(directory))


def _same(made: Artifact, expected: Artifact) -> bool:
    shards = [[(entry.name, entry.sha256) for entry in each.manifest.files] for each in (made, expected)]
    return made.id == expected.id and shards[0] == shards[1]
