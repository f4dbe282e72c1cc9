"""The forms of the HTTP API: the bodies it takes and what it answers. Names in them are names, never paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.manifest import Count, FileEntry, Json, Kind, Manifest
from contract.rows import BadRow
from contract.store import Store, check_name, split_version
from service.neighbours import MAX_K, Searching
from service.reader import TaskFacts
from service.request import TransferSetRequest

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # as contract.store has it
VERSIONED_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[1-9][0-9]{0,8})?$"


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("expected text, found nothing")
    return text


def _is_unicode(text: str) -> str:
    """Halves of characters can be written in JSON's escapes, but in no file."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("expected Unicode text, found half a surrogate pair")
    return text


def _is_name(name: str) -> str:
    try:
        return check_name("task or artifact", name)
    except BadInput as error:
        raise ValueError(error.message) from None


def _is_versioned(name: str) -> str:
    _is_name(split_version(name)[0])
    return name


Unicode = Annotated[str, AfterValidator(_is_unicode)]
Text = Annotated[Unicode, AfterValidator(_says_something)]
Name = Annotated[str, AfterValidator(_is_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
# web, its newest version, or web@2, that one
IndexName = Annotated[
    str, AfterValidator(_is_versioned), WithJsonSchema({"type": "string", "pattern": VERSIONED_PATTERN})
]


class Utterance(BaseModel):
    """One utterance. Its id comes back as it was given; without one it is its position, from 0."""

    model_config = ConfigDict(extra="forbid")

    id: Unicode | None = Field(default=None, max_length=200)
    text: Text


def _as_utterance(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


def _or_text(schema: JsonSchemaValue) -> None:
    """In OpenAPI too an utterance is a text or an object."""
    schema["items"] = {"anyOf": [{"type": "string"}, schema["items"]]}


class NeighboursRequest(BaseModel):
    """Utterances, and the index whose nearest passages are wanted for each."""

    model_config = ConfigDict(extra="forbid")

    index: IndexName = Field(description="an index of GET /v1/indexes: web, its newest version, or web@2, that one")
    utterances: list[Annotated[Utterance, BeforeValidator(_as_utterance)]] = Field(
        min_length=1, description="texts, or objects with an id and a text", json_schema_extra=_or_text
    )
    k: int = Field(10, ge=1, strict=True, description="neighbours for each utterance")
    retriever: Searching | None = Field(None, description="default: hybrid where the index has both, else what it has")
    seed: int = Field(0, ge=0, le=2**32 - 1, strict=True, description="of the random retriever")


class Neighbour(BaseModel):
    """A passage returned for an utterance; rank 0 and the highest score are nearest."""

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


class UtteranceWithNeighbours(BaseModel):
    id: str
    text: str
    neighbours: list[Neighbour]


class Neighbours(BaseModel):
    """The same utterances in the same order, each with min(k, rows of the index) neighbours, best first."""

    index: str
    index_id: str
    retriever: Searching
    k: int
    utterances: list[UtteranceWithNeighbours]


class Example(BaseModel):
    """One row of a transfer set: an utterance with its neighbours."""

    utterance_id: str
    text: str
    text_pair: str | None
    label: str | None
    intent: str | None
    domain: str | None
    tokens: list[str | None] | None
    slots: list[str | None] | None
    lang: str | None
    include_utterance: bool = Field(description="whether the utterance's own text is part of the set")
    neighbours: list[Neighbour]


class TransferSetOrder(TransferSetRequest):
    """A transfer set to build: what `transferset build` takes, with the name of a task in place of a path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="the name of the transfer set")
    index: IndexName | None = Field(
        default=None, description="an index, as web or web@2; augmented and none need none; the job keeps its version"
    )
    k: int = Field(default=20, ge=1, le=MAX_K, strict=True, description="neighbours searched for each utterance")
    size_of: Name | None = Field(default=None, description="a transfer set: as many generic texts as it has")
    task: Name = Field(description="name of a task, one of GET /v1/tasks")  # type: ignore[assignment]  # not a path here
    restart: bool = Field(False, description="discard a half-built transfer set of that name")


class FileInfo(BaseModel):
    name: str
    rows: int
    bytes: int
    sha256: str


class CountInfo(BaseModel):
    """rows_in = rows_out + all that was dropped, by reason."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int]


class ArtifactInfo(BaseModel):
    """An artifact by its manifest: every setting that made it, what it was made from, and what was measured of it."""

    name: str
    version: int = 1
    versions: list[int] = Field(default=[1], description="the finished versions; a plain name is the newest")
    id: str | None = Field(description="the content id; null when the artifact is broken")
    kind: str
    params: dict[str, Json] = {}
    inputs: dict[str, str] = {}
    counts: dict[str, CountInfo] = {}
    facts: dict[str, Json] = {}
    files: list[FileInfo] = []
    made: dict[str, str] = {}
    fault: str | None = Field(default=None, description="why the artifact cannot be used")


class ShardInfo(FileInfo):
    number: int
    href: str


class TaskInfo(BaseModel):
    """A task: its rows in each split, and the id that goes into every transfer set made for it."""

    name: str
    id: str
    rows: int
    splits: dict[str, int]
    targets: list[str] = Field(description="the columns to predict that have values")
    columns: dict[str, str] = Field(description="our column names -> the file's, where they differ")
    bad_rows: int = Field(default=0, description="rows that cannot be used; a transfer set needs skip_bad_rows then")


class BadRowInfo(BaseModel):
    """A row that cannot be used: where it stands (from 1), and what is wrong with it."""

    file: str
    row: int
    column: str
    reason: str


class TaskName(BaseModel):
    name: str
    href: str


class Health(BaseModel):
    status: str


def artifact_info(store: Store, kind: Kind, name: str, manifest: Manifest) -> ArtifactInfo:
    plain, version = split_version(name)
    versions = store.versions(kind, plain)
    return ArtifactInfo(
        name=name,
        version=version or max(versions, default=1),
        versions=versions,
        id=manifest.id,
        kind=manifest.kind,
        params=dict(manifest.params),
        inputs=dict(manifest.inputs),
        counts={unit: _count_info(count) for unit, count in manifest.counts.items()},
        facts=dict(manifest.facts),
        files=[_file_info(entry) for entry in manifest.files],
        made=dict(manifest.made),
    )


def shard_infos(name: str, artifact: Artifact) -> list[ShardInfo]:
    return [
        ShardInfo(**_file_info(entry).model_dump(), number=number, href=f"/v1/transfer-sets/{name}/shards/{number}")
        for number, entry in enumerate(artifact.shards)
    ]


def task_info(name: str, found: TaskFacts, columns: Mapping[str, str]) -> TaskInfo:
    return TaskInfo(
        name=name,
        id=found.id,
        rows=found.rows,
        splits=dict(found.splits),
        targets=list(found.targets),
        columns=dict(columns),
        bad_rows=found.bad_rows,
    )


def bad_row_infos(rows: Sequence[BadRow]) -> list[BadRowInfo]:
    return [BadRowInfo(**asdict(row)) for row in rows]


def _count_info(count: Count) -> CountInfo:
    return CountInfo(rows_in=count.rows_in, rows_out=count.rows_out, dropped=dict(count.dropped))


def _file_info(entry: FileEntry) -> FileInfo:
    return FileInfo(name=entry.name, rows=entry.rows, bytes=entry.bytes, sha256=entry.sha256)
