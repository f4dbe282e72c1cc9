"""Hostile input by the ten thousand against a real server and its worker: schemathesis' cases, then mutated uploads.

    python -m benchmarks.fuzz --cases 20000 --uploads 10000

The server runs in a process of its own on 127.0.0.1 over a small real index, its worker in another; this one asks.
What may not be seen: a server error, an answer the OpenAPI document does not allow, one that takes too long, a job
that fails inside, a process that ends, memory without bound, a file left behind. Any of them makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import requests

from benchmarks.fuzzing import house, sockets
from benchmarks.fuzzing.cases import Outcome, faults_of, fuzz_operations
from benchmarks.fuzzing.manifests import send_artifact
from benchmarks.fuzzing.uploads import Upload, hostile_upload

SLOW = 5.0  # seconds; a search or a page that takes longer is a fault
SLOW_UPLOAD = 2 * house.READ_SECONDS + 5.0  # reading may take so long, and no longer
HANG = 60.0
PEAKS = {"server": 1500, "worker": 1500, "readers": 1200}  # MiB, with torch and an encoder in the first two
SEEN = ("web", "near", "web@1")


def main() -> int:
    options = _options()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        house.running(Path(folder)) as running,
        httpx.Client(base_url=running.url, timeout=HANG) as client,
    ):
        before = dict(running.peaks)
        outcomes = {"cases": _fuzz_cases(client, options), "uploads": _fuzz_uploads(client, options)}
        outcomes["manifests"] = _fuzz_manifests(client, options)
        outcomes["sockets"] = sockets.fuzz(running.url, options.sockets, options.seed)
        _settle(client, outcomes["cases"])
        faults = _faults_afterwards(client, running)
    _show(outcomes, running, before, time.monotonic() - began)
    for fault in faults:
        print(f"FAULT {fault}")
    return 1 if faults or any(outcome.faults for outcome in outcomes.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--manifests", type=int, default=2000, help="artifacts as a worker gone bad would send them")
    parser.add_argument("--sockets", type=int, default=300, help="requests that are no proper HTTP")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it")
    parser.add_argument("--examples", action="store_true", help="show a request for each fault")
    options = parser.parse_args()
    if options.quick:
        options.cases, options.uploads = options.cases // 50, options.uploads // 50
        options.manifests, options.sockets = options.manifests // 50, 60
    return options


def _fuzz_cases(client: httpx.Client, options: argparse.Namespace) -> Outcome:
    if not options.cases:
        return Outcome()
    known = _furnish(client)
    document = client.get("/openapi.json").json()
    return fuzz_operations(
        document, sender(client), known, cases=options.cases, draws=options.seed, slow=SLOW, progress=_progress
    )


def _progress(said: str) -> None:
    print(f"  {said}", file=sys.stderr)


def sender(client: httpx.Client) -> Callable[[requests.PreparedRequest], httpx.Response]:
    """Sends what schemathesis prepared, to the byte, and reads no more than the beginning of a stream."""

    def send(request: requests.PreparedRequest) -> httpx.Response:
        assert request.url is not None
        target = request.url.removeprefix("http://127.0.0.1")
        headers = {k: v for k, v in (request.headers or {}).items() if k.lower() not in ("host", "content-length")}
        asked = client.build_request(
            str(request.method),
            target,
            headers=headers,
            content=_bytes_of(request.body),  # type: ignore[arg-type]
        )
        response = client.send(asked, stream=True)
        response._content = _begin_of(response)
        response.close()
        return response

    return send


def _bytes_of(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes) else b"".join(body)


def _begin_of(response: httpx.Response) -> bytes:
    """The body; of a stream of events no more than its first ones."""
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if is_stream:
            break
    return content


def _furnish(client: httpx.Client) -> dict[str, Sequence[Any]]:
    """Build a transfer set, fail and cancel a job -> names and tokens of what is there."""
    order = {"name": "made", "index": "web", "task": "talk", "retriever": "lexical", "k": 3, "policy": {"max_uses": 9}}
    job = client.post("/v1/transfer-sets", json=order).raise_for_status().json()
    while client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("queued", "running"):
        time.sleep(0.2)
    client.post("/v1/transfer-sets", json={"name": "bare", "task": "talk", "retriever": "none"}).raise_for_status()
    token = client.get("/v1/transfer-sets/made/rows", params={"limit": 1}).json()["next_page_token"]
    pages = client.get("/v1/jobs", params={"limit": 1}).json()["next_page_token"]
    return {
        "indexes.name": SEEN,
        "tasks.name": ["talk"],
        "transfer-sets.name": ["made", "bare"],
        "runs.name": ["ran"],
        "runs.task": [{"name": "talk"}, {"name": "talk", "shots": 2}],
        "runs.transfer_set": [{"name": "made"}],
        "number": [0],
        "job_id": [job["id"]],
        "index": SEEN,
        "task": ["talk"],
        "size_of": ["made"],
        "retriever": ["lexical", "dense", "hybrid", "random", "none", "augmented"],
        "k": [1, 2, 5, 100, 101],
        "utterances": [["play some jazz"], [{"id": "\u0000", "text": "\u0000 \ufffd word1"}], ["word1"] * 64],
        "page_token": [token, pages, token[:-2], "AAAA", "bnVsbA", "WzEsMl0"],
        "split": ["train", "test"],
    }


def _fuzz_uploads(client: httpx.Client, options: argparse.Namespace) -> Outcome:
    outcome = Outcome()
    if not options.uploads:
        return outcome

    def send(number: int) -> None:
        if number % 500 == 499:
            _progress(f"{number + 1:,} of {options.uploads:,} uploads")
        _upload(client, hostile_upload(options.seed * 1_000_003 + number), number, outcome)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(send, range(options.uploads)))
    return outcome


def _upload(client: httpx.Client, upload: Upload, number: int, outcome: Outcome) -> None:
    """Send one; what was taken is looked at, and now and then built upon."""
    outcome.cases += 1
    kind = upload.kind.partition(",")[0]
    began = time.monotonic()
    try:
        response = client.post("/v1/tasks", content=upload.body, headers={"Content-Type": upload.content_type})
    except httpx.HTTPError as error:
        outcome.fault(f"{kind}: no answer ({type(error).__name__})", f"upload {number}")
        return
    spent = time.monotonic() - began
    outcome.took(spent, kind)
    outcome.statuses[f"POST /v1/tasks {response.status_code}"] += 1
    for fault in faults_of(response):
        outcome.fault(f"{kind}: {fault}", f"upload {number}: {response.text[:300]}")
    if spent > SLOW_UPLOAD:
        outcome.fault(f"{kind}: answered after more than {SLOW_UPLOAD:g} s", f"upload {number}: {spent:.1f} s")
    if response.status_code == 201:
        _use(client, response.json()["name"], number, kind, outcome)


def _use(client: httpx.Client, name: str, number: int, kind: str, outcome: Outcome) -> None:
    for path in (f"/v1/tasks/{name}", f"/v1/tasks/{name}/errors"):
        found = client.get(path)
        for fault in faults_of(found):
            outcome.fault(f"{kind}, then {path.rpartition('/')[2]}: {fault}", f"upload {number}: {found.text[:300]}")
        if found.status_code != 200:
            outcome.fault(f"{kind}: taken, then {found.status_code}", f"upload {number}: {found.text[:300]}")
    if number % 4 == 0:
        order = {"name": f"of-{name}", "index": ("web", "near")[number % 8 // 4], "task": name, "k": 2}
        order |= {"split": next(iter(client.get(f"/v1/tasks/{name}").json()["splits"])), "skip_bad_rows": True}
        answer = client.post("/v1/transfer-sets", json=order)
        for fault in faults_of(answer):
            outcome.fault(f"{kind}, then an order: {fault}", f"upload {number}: {answer.text[:300]}")
        if answer.status_code == 202:
            _await(client, answer.json()["id"], f"{kind}, then a job", outcome)


def _await(client: httpx.Client, job_id: str, whose: str, outcome: Outcome) -> None:
    end = time.monotonic() + HANG
    while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] in ("queued", "running"):
        if time.monotonic() > end:
            outcome.fault(f"{whose} that does not end", job_id)
            return
        time.sleep(0.1)
    outcome.statuses[f"jobs {job['state']}"] += 1
    if job["state"] == "failed" and job["error"]["status"] >= 500:
        outcome.fault(f"{whose} that failed inside", json.dumps(job["error"])[:300])


def _fuzz_manifests(client: httpx.Client, options: argparse.Namespace) -> Outcome:
    """Send artifacts as far as they are taken, and look at those that arrive."""
    outcome = Outcome()
    for number in range(options.manifests):
        for response in send_artifact(client, f"sent-{number}", options.seed * 1_000_003 + number):
            outcome.cases += 1
            outcome.took(response.elapsed.total_seconds(), "manifest")
            outcome.statuses[f"{response.request.method} {response.status_code}"] += 1
            for fault in faults_of(response):
                outcome.fault(f"manifests: {fault}", f"manifest {number}: {response.url} {response.text[:300]}")
    return outcome


def _settle(client: httpx.Client, outcome: Outcome) -> None:
    """Wait for the jobs the cases ordered, and see that none failed inside."""
    page: dict[str, Any] = {"next_page_token": None}
    while True:
        asked = {"page_token": page["next_page_token"]} if page["next_page_token"] else {}
        page = client.get("/v1/jobs", params=asked).json()
        for job in page["items"]:
            if job["kind"] == "run" and job["state"] == "queued":  # nobody distils here
                client.post(f"/v1/jobs/{job['id']}:cancel")
            _await(client, job["id"], "a job of the cases", outcome)
        if page["next_page_token"] is None:
            return


def _faults_afterwards(client: httpx.Client, running: house.House) -> list[str]:
    """What is wrong once all has been answered."""
    faults = [f"a log says: {line[:200]}" for line in running.failures()[:20]]
    if not running.is_whole:
        faults.append("the server or its worker has ended")
    elif client.get("/readyz").status_code != 200:
        faults.append("the server is not ready any more")
    left = [path.name for path in (running.artifacts / "tasks").glob(".*")]
    if left:
        faults.append(f"{len(left)} files left in the tasks folder: {left[:3]}")
    outside = sorted(path.name for path in running.artifacts.parent.iterdir())
    if outside != ["artifacts", "near.jsonl", "web.jsonl"]:
        faults.append(f"files outside of the artifacts: {outside}")
    faults += [
        f"the {name} took {running.peaks[name] // house.MIB:,} MiB, expected at most {limit:,}"
        for name, limit in PEAKS.items()
        if running.peaks[name] > limit * house.MIB
    ]
    return faults


def _show(outcomes: dict[str, Outcome], running: house.House, before: dict[str, int], seconds: float) -> None:
    print(f"{'':10} {'sent':>7} {'2xx':>7} {'4xx':>7} {'503, 507':>9} {'5xx else':>9} {'slowest':>9}")
    for name, outcome in outcomes.items():
        by: Counter[str] = Counter()
        for what, count in outcome.statuses.items():
            status = what.rpartition(" ")[2]
            by["full" if status in ("503", "507") else status[0]] += count
        print(
            f"{name:10} {outcome.cases:7,} {by['2']:7,} {by['4']:7,} {by['full']:9,} {by['5']:9,} "
            f"{outcome.slowest:7.2f} s  {outcome.slowest_of}"
        )
        for status in ("finished", "failed", "cancelled"):
            if outcome.statuses[f"jobs {status}"]:
                print(f"{'':10} jobs {status}: {outcome.statuses[f'jobs {status}']:,}")
    peaks = ", ".join(
        f"{name} {before.get(name, 0) // house.MIB:,} -> {peak // house.MIB:,} MiB"
        for name, peak in sorted(running.peaks.items())
    )
    print(f"peak memory, before -> at all: {peaks}; {seconds:,.0f} s in all")
    for name, outcome in outcomes.items():
        for fault, count in outcome.faults.most_common(60):
            print(f"FAULT {name}: {count:,} x {fault}")
            if "--examples" in sys.argv:
                print(f"      {outcome.examples[fault]}")


if __name__ == "__main__":
    sys.exit(main())
