"""How soon a job is picked up, on SQLite and on Postgres: from the order over HTTP to the state running, one at a time.

    python -m benchmarks.pickup --jobs 50

With it what looking for jobs costs while there are none: the processor's time of an idle server and an idle worker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import httpx

from benchmarks.chaos.processes import Process, api, free_port, worker
from tests.distill.tiny import write_task
from tests.jobs.postgres import ADVICE, installed, running_postgres

TARGET_S = 1.0
PATIENCE_S = 30.0


def main() -> None:
    options = _options()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; to reach: every job within {TARGET_S:g} s")
    print("| database | jobs | median s | worst s | | idle API, % of a core | idle worker, % of a core |")
    print("|---|--:|--:|--:|---|--:|--:|", flush=True)
    if installed() is None:
        print(ADVICE)
    for database in ("sqlite", "postgres") if installed() else ("sqlite",):
        with tempfile.TemporaryDirectory(prefix="pickup-", dir=options.scratch) as name:
            _measure(Path(name), database, options.jobs, options.idle)


def _measure(folder: Path, database: str, jobs: int, idle: float) -> None:
    artifacts = folder / "artifacts"
    (artifacts / "tasks").mkdir(parents=True)
    write_task(artifacts / "tasks" / "small.jsonl")
    with running_postgres() if database == "postgres" else nullcontext() as postgres:
        url = postgres.database() if postgres else f"sqlite:///{artifacts / 'jobs.sqlite'}"
        port = free_port()
        processes = [api(artifacts, url, port), worker(0, "build", artifacts, url)]
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.wait_until_up()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                _seconds_to_start(client, "warm-up")
                waits = [_seconds_to_start(client, f"set-{number}") for number in range(jobs)]
            shares = _idle_shares(processes, idle)
        finally:
            for process in processes:
                process.end()
    verdict = "yes" if max(waits) < TARGET_S else "**NO**"
    print(
        f"| {database} | {jobs} | {statistics.median(waits):.2f} | {max(waits):.2f} | {verdict} "
        f"| {shares[0]:.1%} | {shares[1]:.1%} |",
        flush=True,
    )


def _seconds_to_start(client: httpx.Client, name: str) -> float:
    """From before the order to the first answer that says the job has begun; then wait for its end."""
    began = time.perf_counter()
    job = (
        client.post("/v1/transfer-sets", json={"name": name, "task": "small", "retriever": "none"})
        .raise_for_status()
        .json()
    )
    took = None
    while time.perf_counter() - began < PATIENCE_S:
        job = client.get(f"/v1/jobs/{job['id']}").json()
        if took is None and job["state"] != "queued":
            took = time.perf_counter() - began
        if job["state"] == "finished":
            assert took is not None
            return took
        time.sleep(0.01)
    raise RuntimeError(f"the job {name} is {job['state']} after {PATIENCE_S:.0f} s: {job.get('error')}")


def _idle_shares(processes: list[Process], seconds: float) -> list[float]:
    before = [process.processor() for process in processes]
    time.sleep(seconds)
    return [(process.processor() - then) / seconds for process, then in zip(processes, before, strict=True)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--idle", type=float, default=10, help="seconds to look at idle processes")
    parser.add_argument("--scratch", type=Path, help="where to make the temporary folders")
    return parser.parse_args()


if __name__ == "__main__":
    main()
