"""The client: this service from a notebook or a program. Needs httpx, and none of the libraries of the service itself.

client = Client("http://127.0.0.1:8000")
client.neighbours(["play some jazz"], index="web", k=5)
client.upload_task("clinc150.jsonl")
transfer_set = client.build_transfer_set("clinc", task="clinc150", index="web", k=20).wait()
table = transfer_set.table("clinc")  # fetches the shards into that folder, unless they lie there
run = client.distil("clinc-small", task="clinc150", transfer_set="clinc", student={"layers": 2, "width": 128}).wait()
run.metrics["accuracy"], run.download_model("clinc-small")  # a folder that transformers opens
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from os import environ
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
import pyarrow as pa

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.manifest import Json
from contract.run import STUDENT
from service.answers import (
    Counts,
    Index,
    Job,
    JobFailed,
    Neighbours,
    Run,
    ServiceError,
    Task,
    TransferSet,
    Utterance,
    error_of,
)
from service.download import download, download_files

T = TypeVar("T")
AT_ONCE = 256  # utterances in one request
LOOK_EVERY_S = 0.4
AGAIN = (429, 503)  # answers that ask to come again
TRIES = 6


class Client:
    """A connection to one service, to be used as a context manager or closed.

    `key` is an API key, by default $TRANSFERSET_API_KEY. Every method raises ServiceError, in the service's own words.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 60,
        progress: bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        key = key or environ.get("TRANSFERSET_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.progress = progress
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def indexes(self) -> list[Index]:
        """What can be searched."""
        return [Index.of(item) for item in self._items("/v1/indexes")]

    def neighbours(
        self,
        utterances: Sequence[str],
        *,
        index: str,
        k: int = 10,
        retriever: str | None = None,
        seed: int = 0,
    ) -> Neighbours:
        """The nearest passages of every utterance, best first. Many utterances go in several requests."""
        if isinstance(utterances, str):
            raise BadInput("utterances: expected a list of texts, found one text; put it into a list")
        asked = {"index": index, "k": k, "seed": seed} | ({"retriever": retriever} if retriever else {})
        found: list[Utterance] = []
        answer: dict[str, Any] = {}
        starts = range(0, len(utterances), AT_ONCE)
        for first in self._shown(starts, "searching"):
            texts = list(utterances[first : first + AT_ONCE])
            answer = self._post("/v1/neighbours", asked | {"utterances": texts})
            found += [Utterance.of(item, first) for item in answer["utterances"]]
        return Neighbours(answer.get("index", index), answer.get("retriever", retriever or ""), k, tuple(found))

    def tasks(self) -> list[str]:
        """The names of the tasks there are."""
        return [item["name"] for item in self._items("/v1/tasks")]

    def task(self, name: str) -> Task:
        """One task: its rows, splits and columns to predict."""
        return Task.of(self._get(f"/v1/tasks/{name}"))

    def upload_task(
        self,
        file: Path | str,
        name: str | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        skip_bad_rows: bool = False,
    ) -> Task:
        """Upload a task file, by default under its own name. The same file again is no new task."""
        path = Path(file)
        form = {
            "name": name or path.name.partition(".")[0],
            "columns": json.dumps(dict(columns or {})),
            "skip_bad_rows": json.dumps(skip_bad_rows),
        }

        def send() -> httpx.Response:
            with path.open("rb") as content:
                return self._http.post("/v1/tasks", data=form, files={"file": (path.name, content)})

        return Task.of(self._answered(send).json())

    def build_transfer_set(self, name: str, *, task: str, index: str | None = None, **settings: Json) -> Job:
        """Order a transfer set -> the job that builds it; `wait` for it.

        `settings` are those of `POST /v1/transfer-sets`: retriever, k, rounds, shots, split, seed, restart, policy …,
        the last an object: {"diversity": 0.5, "pool": 60, "per_class": True}.
        """
        order = {"name": name, "task": task, **({"index": index} if index else {}), **settings}
        # A connection may break after the order was taken: with a key of its own it is the same job when sent again.
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return Job.of(self._post("/v1/transfer-sets", order, headers), self)

    def distil(
        self, name: str, *, task: str | Mapping[str, Json], transfer_set: str | None = None, **settings: Json
    ) -> Job:
        """Order a run -> the job that distils a student; `wait` for it. Without a transfer set it learns from labels.

        `task` is a task's name, or an object with that and its settings: {"name": "clinc150", "shots": 10}. `settings`
        are those of `POST /v1/runs`: teacher, student, objective, distill, finetune, seed, restart …
        """
        asked = {"name": task} if isinstance(task, str) else dict(task)
        order = {"name": name, "task": asked, **settings}
        if transfer_set is not None:
            order["transfer_set"] = {"name": transfer_set}
        return Job.of(self._post("/v1/runs", order, {"Idempotency-Key": uuid.uuid4().hex}), self)

    def runs(self) -> list[Run]:
        """The finished runs; those that are broken are left out."""
        return [Run.of(item, self) for item in self._items("/v1/runs") if item["id"] is not None]

    def run(self, name: str) -> Run:
        return Run.of(self._get(f"/v1/runs/{name}"), self)

    def run_report(self, name: str) -> dict[str, Any]:
        """What was measured of a run."""
        return self._get(f"/v1/runs/{name}/report")

    def download_model(self, run: str | Run, folder: Path | str) -> Path:
        """Fetch the student of a run into a folder, or go on where an earlier fetching broke off -> the folder."""
        run = self.run(run) if isinstance(run, str) else run
        files = [
            {**file, "name": file["name"].removeprefix(STUDENT), "href": f"/v1/runs/{run.name}/files/{file['name']}"}
            for file in run.files
            if file["name"].startswith(STUDENT)
        ]
        with _Bar(self.progress) as bar:
            download_files(self._http, files, Path(folder), lambda done, total: bar.bytes(run.name, done, total))
        return Path(folder)

    def jobs(self, limit: int = 20) -> list[Job]:
        """The newest jobs."""
        page = self._get("/v1/jobs", limit=min(limit, 200))
        return [Job.of(item, self) for item in page["items"]]

    def job(self, job_id: str) -> Job:
        return Job.of(self._get(f"/v1/jobs/{job_id}"), self)

    def cancel(self, job_id: str) -> Job:
        """End a job; what it has built stays, and the same order goes on from there."""
        return Job.of(self._post(f"/v1/jobs/{job_id}:cancel", None), self)

    def wait(self, job_id: str, *, seconds: float | None = None) -> TransferSet | Run:
        """What a job builds, once it is there, with a bar meanwhile. Raises JobFailed or TimeoutError."""
        until = None if seconds is None else time.monotonic() + seconds
        with _Bar(self.progress) as bar:
            while not (job := self.job(job_id)).has_ended:
                bar.show(f"{job.name}: {job.stage or job.state}", job.counts)
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(
                        f"Job {job_id} is still {job.state} after {seconds:g} seconds; wait for it again"
                    )
                time.sleep(LOOK_EVERY_S)
            bar.show(f"{job.name}: {job.state}", job.counts)
        if job.state != "finished":
            raise JobFailed(job)
        return self.run(job.name) if job.kind == "run" else self.transfer_set(job.name)

    def transfer_sets(self) -> list[TransferSet]:
        """The finished transfer sets; those that are broken are left out."""
        return [TransferSet.of(item, self) for item in self._items("/v1/transfer-sets") if item["id"] is not None]

    def transfer_set(self, name: str) -> TransferSet:
        return TransferSet.of(self._get(f"/v1/transfer-sets/{name}"), self)

    def report(self, name: str) -> dict[str, Any]:
        """What is in a transfer set: sizes, sources, ranks, scores, drops."""
        return self._get(f"/v1/transfer-sets/{name}/report")

    def rows(self, name: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows of a transfer set, page by page, as they are asked for."""
        for number, row in enumerate(self._items(f"/v1/transfer-sets/{name}/rows")):
            if number == limit:
                return
            yield row

    def download(self, name: str, folder: Path | str) -> Artifact:
        """Fetch a transfer set into a folder, or go on where an earlier fetching broke off -> the artifact there."""
        manifest = self._answered(lambda: self._http.get(f"/v1/transfer-sets/{name}/manifest")).content
        shards = self._get(f"/v1/transfer-sets/{name}/shards")["items"]
        with _Bar(self.progress) as bar:
            return download(
                self._http, manifest, shards, Path(folder), lambda done, total: bar.bytes(name, done, total)
            )

    def table(self, name: str, folder: Path | str) -> pa.Table:
        """A transfer set as one Arrow table, out of a folder into which it is fetched if it is not there yet."""
        from contract.schemas import TRANSFER_SET

        return pa.Table.from_batches(self.download(name, folder).batches(), TRANSFER_SET)

    def _items(self, path: str) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            page = self._get(path, **({"page_token": token} if token else {}))
            yield from page["items"]
            token = page.get("next_page_token")
            if token is None:
                return

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._answered(lambda: self._http.get(path, params=query)).json()
        return found

    def _post(self, path: str, body: Json, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self._answered(lambda: self._http.post(path, json=body, headers=headers)).json()
        return found

    def _answered(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer; asks again when it is told to, or when the connection breaks. Every request of ours may be."""
        for left in reversed(range(TRIES)):
            try:
                response = send()
            except httpx.TransportError as error:
                if not left:
                    raise ServiceError.unreachable(str(self._http.base_url), type(error).__name__) from error
                time.sleep(min(0.2 * 2 ** (TRIES - left), 5))
                continue
            # A 409 with Retry-After: the same order, sent before the connection broke, is still being answered.
            again = response.status_code in AGAIN or (response.status_code == 409 and "retry-after" in response.headers)
            if not again or not left:
                break
            time.sleep(_asked_to_wait(response))
        if response.is_error:
            raise error_of(response.status_code, response.content, response.headers.get("x-request-id"))
        return response

    def _shown(self, steps: Sequence[T], what: str) -> Iterable[T]:
        if len(steps) < 2:
            return steps
        return _with_bar(steps, what, self.progress)


def _asked_to_wait(response: httpx.Response) -> float:
    with suppress(ValueError):
        return min(float(response.headers.get("retry-after", "1")), 30.0)
    return 1.0


def _with_bar(steps: Sequence[T], what: str, wanted: bool) -> Iterator[T]:
    with _Bar(wanted) as bar:
        for number, step in enumerate(steps):
            bar.show(what, Counts(number, len(steps)))
            yield step


class _Bar:
    """A progress bar where there is somebody to see it: on a terminal or in a notebook."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
        )
        seen = self._wanted and (console.is_terminal or console.is_jupyter)
        self._bars = Progress(*columns, console=console, disable=not seen)
        self._bars.start()
        self._task = self._bars.add_task("", total=None, said="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, what: str, counts: Counts) -> None:
        said = "" if counts.done is None else f"{counts.done:,}" + (f" of {counts.total:,}" if counts.total else "")
        self._bars.update(self._task, description=what, completed=counts.done or 0, total=counts.total, said=said)

    def bytes(self, what: str, done: int, total: int) -> None:
        said = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
        self._bars.update(self._task, description=what, completed=done, total=total, said=said)
