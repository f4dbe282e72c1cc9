"""The answers of the service as the client gives them: plain values, and what can be done with them next."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.artifact import Artifact
from contract.errors import TransfersetError
from contract.manifest import Json
from contract.schemas import NEIGHBOUR

if TYPE_CHECKING:
    from service.client import Client

ENDED = ("finished", "failed", "cancelled")


class ServiceError(TransfersetError):
    """What the service refused, in its own sentence; `field`, `row`, `limit` and `found` where it names them."""

    def __init__(self, message: str, *, status: int = 0, problem: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})
        self.field: str | None = self.problem.get("field")
        self.row: int | None = self.problem.get("row")
        self.limit: float | None = self.problem.get("limit")
        self.found: Json = self.problem.get("found")

    @staticmethod
    def unreachable(url: str, why: str) -> ServiceError:
        return ServiceError(f"There is no service at {url} ({why}); start it with `transferset serve`, or mend the URL")


class JobFailed(ServiceError):
    """A job that ended without what it was to build."""

    def __init__(self, job: Job) -> None:
        said = (job.error or {}).get("detail", "it was cancelled; the same order goes on from where it was")
        super().__init__(f"Job {job.id} is {job.state}: {said}", status=409, problem=job.error)
        self.job = job


def error_of(status: int, content: bytes, request_id: str | None) -> ServiceError:
    """A refusal out of its problem document, or out of whatever stood in the way."""
    try:
        problem = json.loads(content)
        said = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, said = {}, f"The service, or what stands before it, answered {status}"
    if status >= 500 and request_id:
        said += f" (request {request_id})"
    return ServiceError(said, status=status, problem=problem)


@dataclass(frozen=True)
class Neighbour:
    """A passage nearest to an utterance; rank 0 and the highest score are nearest."""

    passage_id: str
    text: str
    source: str
    lang: str | None
    retriever: str
    rank: int
    score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    dense_rank: int | None
    dense_score: float | None

    def __str__(self) -> str:
        score = "" if self.score is None else f"{self.score:.3f}"
        return f"{self.rank:>4}  {score:>8}  {self.text}"


@dataclass(frozen=True)
class Utterance:
    """An utterance with its neighbours, best first."""

    id: str
    text: str
    neighbours: tuple[Neighbour, ...]

    @staticmethod
    def of(item: Mapping[str, Any], first: int) -> Utterance:
        """The service numbers the utterances of a request; the client those of all requests."""
        found = tuple(Neighbour(**neighbour) for neighbour in item["neighbours"])
        return Utterance(str(first + int(item["id"])), item["text"], found)

    def __str__(self) -> str:
        return "\n".join([self.text, *map(str, self.neighbours)])


@dataclass(frozen=True)
class Neighbours:
    """The utterances that were asked, in their order, each with its neighbours."""

    index: str
    retriever: str
    k: int
    utterances: tuple[Utterance, ...]

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __getitem__(self, place: int) -> Utterance:
        return self.utterances[place]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.utterances))

    def table(self) -> pa.Table:
        """One row a neighbour, with its utterance."""
        rows = [
            {"utterance_id": utterance.id, "utterance": utterance.text, **vars(neighbour)}
            for utterance in self.utterances
            for neighbour in utterance.neighbours
        ]
        asked = [pa.field("utterance_id", pa.string()), pa.field("utterance", pa.string())]
        return pa.Table.from_pylist(rows, pa.schema([*asked, *NEIGHBOUR]))

    def _repr_html_(self) -> str:
        """How a notebook shows it; texts are text, whatever stands in them."""
        return "".join(_html_of(utterance) for utterance in self.utterances)


@dataclass(frozen=True)
class Index:
    """An index: what can search it, in which versions it is there, and what is wrong with it, if anything."""

    name: str
    version: int
    versions: tuple[int, ...]
    id: str | None
    retrievers: tuple[str, ...]
    facts: Mapping[str, Json] = field(default_factory=dict, repr=False)
    fault: str | None = None

    @staticmethod
    def of(item: Mapping[str, Any]) -> Index:
        retrievers = tuple(item["params"].get("retrievers", ()))
        versions = tuple(item["versions"])
        return Index(item["name"], item["version"], versions, item["id"], retrievers, item["facts"], item["fault"])


@dataclass(frozen=True)
class Task:
    """A task the service has: its rows in each split, and the columns to predict that have values."""

    name: str
    id: str
    rows: int
    splits: Mapping[str, int]
    targets: tuple[str, ...]
    columns: Mapping[str, str]
    bad_rows: int

    @staticmethod
    def of(item: Mapping[str, Any]) -> Task:
        return Task(**{**_known(Task, item), "targets": tuple(item["targets"])})


@dataclass(frozen=True)
class Counts:
    """How far a job is in its stage; at its end, of the utterances how many stayed and how many were dropped."""

    done: int | None = None
    total: int | None = None
    dropped: int | None = None


@dataclass(frozen=True)
class Job:
    """A job as it was when it was asked for; `refresh` asks again. Times are Unix seconds."""

    id: str
    kind: str
    name: str
    state: str
    stage: str | None
    counts: Counts
    queued_at: int
    started_at: int | None
    finished_at: int | None
    failed_at: int | None
    cancelled_at: int | None
    index: str | None
    request: Mapping[str, Json] = field(repr=False)
    error: Mapping[str, Json] | None
    result: Mapping[str, Json] | None = field(repr=False)
    _client: Client = field(repr=False, compare=False)

    @staticmethod
    def of(item: Mapping[str, Any], client: Client) -> Job:
        return Job(**{**_known(Job, item), "counts": Counts(**_known(Counts, item["counts"]))}, _client=client)

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def refresh(self) -> Job:
        return self._client.job(self.id)

    def wait(self, *, seconds: float | None = None) -> Any:
        """What it builds, a TransferSet or a Run, once it is there."""
        return self._client.wait(self.id, seconds=seconds)

    def cancel(self) -> Job:
        return self._client.cancel(self.id)


@dataclass(frozen=True)
class TransferSet:
    """A finished transfer set: its id, counts and settings; its rows stay with the service until they are asked for."""

    name: str
    id: str
    counts: Mapping[str, Mapping[str, Json]]
    facts: Mapping[str, Json] = field(repr=False)
    params: Mapping[str, Json] = field(repr=False)
    inputs: Mapping[str, str] = field(repr=False)
    _client: Client = field(repr=False, compare=False)

    @staticmethod
    def of(item: Mapping[str, Any], client: Client) -> TransferSet:
        return TransferSet(**_known(TransferSet, item), _client=client)

    def rows(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        return self._client.rows(self.name, limit)

    def report(self) -> dict[str, Any]:
        return self._client.report(self.name)

    def download(self, folder: Path | str) -> Artifact:
        """Fetch it into a folder: a finished artifact, as every program of this project opens it."""
        return self._client.download(self.name, folder)

    def table(self, folder: Path | str) -> pa.Table:
        return self._client.table(self.name, folder)


@dataclass(frozen=True)
class Run:
    """A finished run: a student that was distilled, how good it is, and where to get it."""

    name: str
    id: str
    params: Mapping[str, Json] = field(repr=False)
    inputs: Mapping[str, str] = field(repr=False)
    files: Sequence[Mapping[str, Json]] = field(repr=False)
    _client: Client = field(repr=False, compare=False)

    @staticmethod
    def of(item: Mapping[str, Any], client: Client) -> Run:
        return Run(**_known(Run, item), _client=client)

    @cached_property
    def report(self) -> dict[str, Any]:
        """Everything that was measured, as `transferset distill` writes it."""
        return self._client.run_report(self.name)

    @property
    def metrics(self) -> dict[str, float]:
        """The student's scores on the test split."""
        return dict(self.report["metrics"]["finetuned"])

    @property
    def teacher_metrics(self) -> dict[str, float]:
        return dict(self.report["teacher"]["metrics"])

    def download_model(self, folder: Path | str) -> Path:
        """Fetch the student into a folder that transformers opens; what is there already is not fetched again."""
        return self._client.download_model(self, folder)

    def __str__(self) -> str:
        report = self.report
        sizes = f"{report['student']['parameters']:,} parameters, the teacher {report['teacher']['parameters']:,}"
        scores = [
            f"{name:>12}  {value:.4f}"
            + (f"  teacher {self.teacher_metrics[name]:.4f}" if name in self.teacher_metrics else "")
            for name, value in self.metrics.items()
        ]
        return "\n".join([f"{self.name}: {sizes}", *scores])

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        teacher = self.teacher_metrics
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td><td>{value:.4f}</td>"
            f"<td>{f'{teacher[name]:.4f}' if name in teacher else ''}</td></tr>"
            for name, value in self.metrics.items()
        )
        sizes = (self.report[who]["parameters"] for who in ("student", "teacher"))
        rows += "<tr><td style='text-align:left'>parameters</td>" + "".join(f"<td>{n:,}</td>" for n in sizes) + "</tr>"
        head = "<tr><th></th><th>student</th><th>teacher</th></tr>"
        return f"<p><b>{html.escape(self.name)}</b></p><table>{head}{rows}</table>"


def _known(kind: type, item: Mapping[str, Any]) -> dict[str, Any]:
    """What this client knows of an answer: a newer service may say more."""
    return {each.name: item.get(each.name) for each in fields(kind) if not each.name.startswith("_")}


def _html_of(utterance: Utterance) -> str:
    rows = "".join(
        f"<tr><td>{n.rank}</td><td>{'' if n.score is None else f'{n.score:.3f}'}</td>"
        f"<td style='text-align:left'>{html.escape(n.text)}</td><td>{html.escape(n.source)}</td></tr>"
        for n in utterance.neighbours
    )
    return f"<p><b>{html.escape(utterance.text)}</b></p><table>{rows}</table>"
