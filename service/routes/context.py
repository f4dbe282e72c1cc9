"""What every route works with: one Service a server, handed to it by FastAPI; and what routes say of errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from contract.artifact import open_artifact
from contract.errors import TransfersetError
from contract.manifest import MANIFEST, Kind, read_manifest
from contract.store import Store
from jobs.jobs import Jobs
from jobs.problem import Refused, within
from jobs.worker import Worker
from service.forms import ArtifactInfo, artifact_info
from service.indexes import OpenIndexes
from service.once import Once
from service.pages import Page, page_of
from service.problems import MEDIA_TYPE
from service.searches import Searches
from service.settings import Settings
from service.tasks import TaskFolder

# Job.error brings the schema into the document.
PROBLEM: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {**PROBLEM, "description": "The request could not be read"},
    401: {**PROBLEM, "description": "The service asks for an API key, and got none that holds"},
    403: {**PROBLEM, "description": "The key, or the page the request comes from, may not do this"},
    404: {**PROBLEM, "description": "Nothing of that name, or it is not finished"},
    408: {**PROBLEM, "description": "The body stopped coming"},
    413: {**PROBLEM, "description": "The body is too large; `limit` says what is not"},
    415: {**PROBLEM, "description": "The body is not said to be JSON"},
    421: {**PROBLEM, "description": "Called by a name that is not of this machine, without a key"},
    422: {**PROBLEM, "description": "A field is not as expected; `field` and `row` name it, `limit` what it is beyond"},
    429: {**PROBLEM, "description": "Too much at once; `Retry-After` says when to come again"},
    500: {**PROBLEM, "description": "A file is damaged, or the server failed inside"},
    503: {**PROBLEM, "description": "The jobs' database does not answer now"},
}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {**PROBLEM, "description": "Something is in the way; says what. With `Retry-After` it soon is not"}
}
FULL: dict[int | str, dict[str, Any]] = {507: {**PROBLEM, "description": "The disk has too little room left"}}


@dataclass
class Service:
    """What the routes work with. Everything here but `searches` and `streams` is used from threads."""

    settings: Settings
    store: Store
    indexes: OpenIndexes
    tasks: TaskFolder
    jobs: Jobs
    worker: Worker | None
    searches: Searches
    streams: set[object] = field(default_factory=set)  # event streams open now
    once: Once = field(default_factory=Once)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]


async def _known_parameters(request: Request) -> None:
    """A query parameter that no one reads is a mistake nobody would notice: refused, as is one given twice."""
    route = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params}
    for name in sorted({*request.query_params}):
        values = request.query_params.getlist(name)
        if name not in known:
            there = f"; there are: {', '.join(sorted(known))}" if known else "; this address takes none"
            raise Refused(f"There is no query parameter {name[:60]!r} here{there}", field=name[:60])
        if len(values) > 1:
            raise Refused(f"{name}: expected one value, found {len(values)}", field=name, limit=1, found=len(values))


# Dependencies that are no coroutines would each cost a request a trip to a thread.
# Keys are looked at by the admission, before any route; this puts them into the OpenAPI document.
_bearer = HTTPBearer(auto_error=False, description="An API key, where the service asks for one: `tset_…`")
EVERYWHERE = [Depends(_known_parameters), Depends(_bearer)]


def info(store: Store, kind: Kind, name: str) -> ArtifactInfo:
    """A finished artifact by its manifest, whatever version made it; of a plain name the newest."""
    directory = store.find(kind, name)
    if not (directory / MANIFEST).is_file():
        open_artifact(directory, kind, version=0)  # says in a sentence whether it is not there or not finished
    return artifact_info(store, kind, name, read_manifest(directory))


def infos(store: Store, kind: Kind, limit: int, token: str | None) -> Page[ArtifactInfo]:
    """A page of the artifacts of a kind. A broken one shall not hide the others: it says what is wrong with it."""

    def listed(name: str) -> ArtifactInfo:
        try:
            return info(store, kind, name)
        except TransfersetError as error:
            return ArtifactInfo(name=name, id=None, kind=kind, fault=within(error.message, store.root))

    return page_of(store.names(kind), limit, token, listed)
