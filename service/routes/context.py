"""What every route works with: one Service a server, handed to it by FastAPI; and what routes say of errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import anyio
from fastapi import Depends, Request

from contract.artifact import open_artifact
from contract.errors import TransfersetError
from contract.manifest import MANIFEST, Kind, read_manifest
from contract.store import Store
from service.forms import ArtifactInfo, artifact_info
from service.indexes import OpenIndexes
from service.jobs import Jobs
from service.pages import Page, page_of
from service.problems import MEDIA_TYPE, within
from service.settings import Settings
from service.tasks import TaskFolder
from service.worker import Worker

# Job.error brings the schema into the document.
PROBLEM: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {**PROBLEM, "description": "The request could not be read"},
    404: {**PROBLEM, "description": "Nothing of that name, or it is not finished"},
    413: {**PROBLEM, "description": "The body is too large; `limit` says what is not"},
    422: {**PROBLEM, "description": "A field is not as expected; `field` names it, `limit` the limit it is beyond"},
    500: {**PROBLEM, "description": "A file is damaged, or the server failed inside"},
}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {**PROBLEM, "description": "Something is in the way; says what"}}


@dataclass
class Service:
    """What the routes work with. Everything here but `settings` and `searching` is used from threads."""

    settings: Settings
    store: Store
    indexes: OpenIndexes
    tasks: TaskFolder
    jobs: Jobs
    worker: Worker | None
    searching: anyio.CapacityLimiter


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]


def info(store: Store, kind: Kind, name: str) -> ArtifactInfo:
    """A finished artifact by its manifest, whatever version made it."""
    directory = store.path(kind, name)
    if not (directory / MANIFEST).is_file():
        open_artifact(directory, kind, version=0)  # says in a sentence whether it is not there or not finished
    return artifact_info(name, read_manifest(directory))


def infos(store: Store, kind: Kind, limit: int, token: str | None) -> Page[ArtifactInfo]:
    """A page of the artifacts of a kind. A broken one shall not hide the others: it says what is wrong with it."""

    def listed(name: str) -> ArtifactInfo:
        try:
            return info(store, kind, name)
        except TransfersetError as error:
            return ArtifactInfo(name=name, id=None, kind=kind, fault=within(error.message, store.root))

    return page_of(store.names(kind), limit, token, listed)
