"""Problem documents (RFC 9457): how HTTP says what was expected, what was found, where, and what to do.

Every error leaves as `application/problem+json`; no traceback and no text of a user goes into one, or into the log.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.errors import TransfersetError

_TYPES = "urn:transferset:"
_FIELDS = {"--skip-bad-rows": "skip_bad_rows", "--restart": "restart", "--map ": "columns, as "}
_PROBES = ("/livez", "/readyz")  # asked every few seconds: worth a line only when something is wrong
MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("transferset.http")


class Fault(BaseModel):
    """One field that is not as expected: its place in the request, and a sentence."""

    field: str
    detail: str


class Problem(BaseModel):
    """A problem document. `field` and `limit` say which part of the request, and which limit, where one did it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:transferset:not-found",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no index at indexes/news; there are: web",
                "instance": "/v1/neighbours",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    field: str | None = None
    limit: int | None = None
    errors: list[Fault] | None = None


class Refused(TransfersetError):
    """A request beyond a limit, or one this server will not take; `field` and `limit` go into the document."""

    def __init__(self, message: str, *, status: int = 422, field: str | None = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.limit = limit


class TooLarge(HTTPException):
    """A body beyond its limit. An HTTPException, since FastAPI turns any other error while it reads a body into 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body is larger than the {limit:,} bytes this server takes; send less at a time")
        self.limit = limit


def problem_of(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    instance: str | None = None,
    field: str | None = None,
    limit: int | None = None,
    errors: list[Fault] | None = None,
) -> Problem:
    """A problem whose type says the same as its status, or `kind`, where that is more exact."""
    title = HTTPStatus(status).phrase
    slug = kind or ("beyond-limit" if limit is not None else title.lower().replace(" ", "-"))
    return Problem(
        type=f"{_TYPES}{slug}",
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        field=field,
        limit=limit,
        errors=errors,
    )


def answer_with_problems(app: FastAPI, artifacts: Path) -> None:
    """Make `app` answer every error as a problem document. Paths are given from the artifacts folder on."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, TransfersetError)
        detail, instance = within(error.message, artifacts), request.url.path
        if isinstance(error, Refused):
            field, limit = error.field, error.limit
            return answer(problem_of(error.status, detail, instance=instance, field=field, limit=limit))
        return answer(problem_of(error.status, detail, kind=_kind(error), instance=instance))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(_problem_of_invalid(error.errors(), request.url.path))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        limit = error.limit if isinstance(error, TooLarge) else None
        detail = _SENTENCES.get(error.status_code, str(error.detail))
        return answer(problem_of(error.status_code, detail, instance=request.url.path, limit=limit), error.headers)

    async def database(request: Request, error: Exception) -> Response:
        log.error("the jobs' database does not answer: %s", place_of(error))
        detail = "The jobs' database does not answer now; try again in a while"
        return answer(problem_of(503, detail, instance=request.url.path), {"Retry-After": "5"})

    app.add_exception_handler(SQLAlchemyError, database)
    app.add_exception_handler(TransfersetError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The document as a response. Escaped ASCII, so that no odd character of a request can break it."""
    content = json.dumps(problem.model_dump(exclude_none=True)).encode()
    return Response(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def within(message: str, artifacts: Path) -> str:
    """A library's message as HTTP says it: paths from the artifacts folder on, fields in place of options."""
    for root in (str(artifacts.absolute()), str(artifacts)):
        message = message.replace(f"{root}/", "")
    for option, field in _FIELDS.items():
        message = message.replace(option, field)
    return message


def place_of(error: BaseException) -> str:
    """The kind of an error and the line of code it came from, without its message, which may quote a user's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


class ProblemGuard:
    """The outermost layer: bounds bodies, answers what nobody foresaw as 500, logs one line a request."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_upload_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        reply = _Reply(scope, send)
        limit = self.max_upload_bytes if scope["path"] == "/v1/tasks" else self.max_body_bytes
        try:
            if _announced_bytes(scope) > limit:
                raise TooLarge(limit)
            await self.app(scope, _bounded(receive, limit), reply.send)
        except TooLarge as error:
            await reply.problem(problem_of(413, error.detail, instance=scope["path"], limit=limit))
        except Exception as error:
            log.error("%s failed inside: %s", _route(scope), place_of(error))
            detail = "The server failed inside; its log has the place. The same request may work again later."
            await reply.problem(problem_of(500, detail, instance=scope["path"]))
        finally:
            spent = (time.perf_counter() - began) * 1000
            level = logging.DEBUG if scope["path"] in _PROBES and reply.status == 200 else logging.INFO
            log.log(level, "%s %s %s %.0f ms", scope["method"], _route(scope), reply.status, spent)


class _Reply:
    """What goes back: counts as begun once its head is sent; a plain-text error is turned into a problem document."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.status = 0
        self._replaced = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = Headers(raw=message["headers"])
            if self.status >= 400 and not headers.get("content-type", "").startswith("application/"):
                self._replaced = True
                kept = {k: v for k, v in headers.items() if k not in ("content-type", "content-length")}
                await self._problem(problem_of(self.status, _SENTENCES.get(self.status, "")), kept)
                return
        if not self._replaced:
            await self._send(message)

    async def problem(self, problem: Problem) -> None:
        """Answer with `problem`, unless an answer has begun: then the connection is all that can be broken."""
        if self.status:
            raise ConnectionError("the answer broke off")
        self.status = problem.status
        # The rest of a refused body is not read: the connection cannot be used again.
        await self._problem(problem, {"connection": "close"} if problem.status == 413 else {})

    async def _problem(self, problem: Problem, headers: Mapping[str, str]) -> None:
        problem.instance = self._scope["path"]
        await answer(problem, headers)(self._scope, _nothing, self._send)


# Our sentences for what Starlette says in a word.
_SENTENCES = {
    400: "The request could not be read: its headers or its body are not what HTTP, or the content type, has them be.",
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take that method; Allow has those it takes.",
    416: "The range lies outside the file; Content-Range has its size.",
}


def _problem_of_invalid(errors: Sequence[Any], instance: str) -> Problem:
    if any(error["type"] == "json_invalid" for error in errors):
        return problem_of(400, "The body is not JSON; expected one JSON object", kind="invalid-json", instance=instance)
    faults = [Fault(field=_field(error["loc"]), detail=_message(error)) for error in errors[:20]]
    detail = "; ".join(f"{fault.field}: {fault.detail}" for fault in faults[:3])
    return problem_of(422, detail, kind="invalid-request", instance=instance, field=faults[0].field, errors=faults)


def _message(error: Mapping[str, Any]) -> str:
    """pydantic's sentence, which quotes no input; of our own validators the sentence alone."""
    return str(error["msg"]).removeprefix("Value error, ")[:300]


def _field(location: Sequence[str | int]) -> str:
    """('body', 'utterances', 3, 'text') -> utterances.3.text; names a client made up are cut short."""
    return ".".join(str(part)[:60] for part in location[1:]) or str(location[0])


def _kind(error: TransfersetError) -> str:
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _route(scope: Scope) -> str:
    """The route's template, never the path itself, which holds names of a client's choice."""
    return getattr(scope.get("route"), "path", "no route")


def _announced_bytes(scope: Scope) -> int:
    announced = Headers(scope=scope).get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0  # 20 digits are beyond any limit already


def _bounded(receive: Receive, limit: int) -> Receive:
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise TooLarge(limit)
        return message

    return bounded


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
