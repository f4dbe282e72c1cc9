"""Problem documents (RFC 9457): how HTTP says what was expected, what was found, where, and what to do.

Every error leaves as `application/problem+json`; no traceback and no text of a user goes into one, or into the log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from contract.errors import TransfersetError
from contract.manifest import Json
from jobs.problem import Fault, Problem, Refused, kind_of, place_of, problem_of, within
from service.reader import Unreadable

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("transferset.http")


class TooLarge(HTTPException):
    """A body beyond its limit. An HTTPException, since FastAPI turns any other error while it reads a body into 400."""

    def __init__(self, limit: int, found: int) -> None:
        super().__init__(
            413,
            f"The body is too large: expected at most {limit:,} bytes, found {found:,} or more; send less at a time",
        )
        self.limit = limit
        self.found = found


def problem_of_error(error: TransfersetError, artifacts: Path, instance: str | None = None) -> Problem:
    """What an error of ours is over HTTP. Paths are given from the artifacts folder on."""
    detail = within(error.message, artifacts)
    if isinstance(error, Refused | Unreadable):
        return problem_of(
            error.status,
            detail,
            kind=getattr(error, "kind", None),
            instance=instance,
            field=error.field,
            row=error.row,
            limit=error.limit,
            found=error.found,
        )
    return problem_of(error.status, detail, kind=kind_of(error), instance=instance)


def answer_with_problems(app: FastAPI, artifacts: Path) -> None:
    """Make `app` answer every error as a problem document. Paths are given from the artifacts folder on."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, TransfersetError)
        headers = error.headers if isinstance(error, Refused) else None
        return answer(problem_of_error(error, artifacts, request.scope["path"]), headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(_problem_of_invalid(error.errors(), request.scope["path"]))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, TooLarge):
            return answer(problem_of_size(error, request.scope["path"]))
        detail = SENTENCES.get(error.status_code, str(error.detail))
        return answer(problem_of(error.status_code, detail, instance=request.scope["path"]), error.headers)

    async def database(request: Request, error: Exception) -> Response:
        log.error("the jobs' database does not answer: %s", place_of(error))
        detail = "The jobs' database does not answer now; try again in a while"
        return answer(problem_of(503, detail, instance=request.scope["path"]), {"Retry-After": "5"})

    app.add_exception_handler(SQLAlchemyError, database)
    app.add_exception_handler(TransfersetError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)


def problem_of_size(error: TooLarge, instance: str) -> Problem:
    return problem_of(413, error.detail, instance=instance, field="body", limit=error.limit, found=error.found)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The document as a response. Escaped ASCII, so that no odd character of a request can break it."""
    content = json.dumps(problem.model_dump(exclude_none=True)).encode()
    return Response(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


# Our sentences for what Starlette says in a word.
SENTENCES = {
    400: "The request could not be read: its headers or its body are not what HTTP, or the content type, has them be.",
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take that method; Allow has those it takes.",
    416: "The range lies outside the file; Content-Range has its size.",
}


def _problem_of_invalid(errors: Sequence[Any], instance: str) -> Problem:
    if (broken := next((error for error in errors if error["type"] == "json_invalid"), None)) is not None:
        detail = f"The body is not JSON ({broken['ctx']['error']}); expected one JSON object"
        return problem_of(400, detail, kind="invalid-json", instance=instance)
    if any(error["loc"] == ("body",) and isinstance(error.get("input"), bytes) for error in errors):
        detail = "The body is not said to be JSON; expected the header Content-Type: application/json"
        return problem_of(415, detail, instance=instance)
    faults = [Fault(field=_field(error["loc"]), detail=_message(error)) for error in errors[:20]]
    detail = "; ".join(f"{fault.field}: {fault.detail}" for fault in faults[:3])
    first = errors[0]
    return problem_of(
        422,
        detail,
        kind="invalid-request",
        instance=instance,
        field=faults[0].field,
        row=next((part for part in first["loc"] if isinstance(part, int)), None),
        limit=_limit(first),
        found=_found(first),
        errors=faults,
    )


def _message(error: Mapping[str, Any]) -> str:
    """pydantic's sentence and what was found, which is described where it could be a user's text."""
    said = str(error["msg"]).removeprefix("Value error, ")[:300]
    if "UploadFile" in said:
        said = "expected a file, with a file name"
    found = _found(error)
    return said if found is None or "found" in said else f"{said}, found {found}"


def _found(error: Mapping[str, Any]) -> Json:
    """What stood in a field: a number as it is, anything else by its kind and size."""
    if error["type"] == "missing":
        return "nothing"
    match error.get("input"):
        case None:
            return "null"
        case bool(value):
            return value
        case int(value) | float(value) if abs(value) < 1e15:
            return value
        case int() | float():
            return "a number beyond all bounds"
        case str(text) if error["loc"][0] in ("query", "path") and re.fullmatch(r"-?[0-9]{1,15}", text):
            return int(text)
        case str(text):
            return f"a text of {len(text):,} characters"
        case list(items):
            return f"a list of {len(items):,}"
        case dict():
            return "an object"
    return "something else"


def _limit(error: Mapping[str, Any]) -> float | None:
    """The limit of a field whose number, length or size is beyond one."""
    given: Mapping[str, Any] = error.get("ctx", {})
    names = ("le", "lt", "ge", "gt", "max_length", "min_length")
    limit = next((given[name] for name in names if name in given), None)
    return limit if isinstance(limit, int | float) else None


def _field(location: Sequence[str | int]) -> str:
    """('body', 'utterances', 3, 'text') -> utterances.3.text; names a client made up are cut short."""
    return ".".join(str(part)[:60] for part in location[1:]) or str(location[0])
