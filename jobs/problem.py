"""The problem: an error as a document (RFC 9457), as HTTP answers it and as a job keeps it.

No traceback and no text of a user goes into one.
"""

from __future__ import annotations

import math
import traceback
from http import HTTPStatus
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from contract.errors import TransfersetError
from contract.manifest import Json

_TYPES = "urn:transferset:"
_MOST_SAID = 2000  # characters of a sentence: the names it repeats are of a client's choice, and of any length
_FIELDS = {"--skip-bad-rows": "skip_bad_rows", "--restart": "restart", "--map ": "columns, as "}


class Fault(BaseModel):
    """One field that is not as expected: its place in the request, and a sentence."""

    field: str
    detail: str


class Problem(BaseModel):
    """A problem document. `field` and `row` say where in the request, `limit` and `found` what was beyond what."""

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
    row: int | None = None
    limit: int | float | None = None
    found: Json = None
    errors: list[Fault] | None = None


class Refused(TransfersetError):
    """A request beyond a limit, or one this server will not take; what it says besides goes into the document."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 422,
        kind: str | None = None,
        field: str | None = None,
        row: int | None = None,
        limit: float | None = None,
        found: Json = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.field = field
        self.row = row
        self.limit = limit
        self.found = found
        self.retry_after = retry_after  # seconds

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


def problem_of(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    instance: str | None = None,
    field: str | None = None,
    row: int | None = None,
    limit: float | None = None,
    found: Json = None,
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
        row=row,
        limit=limit,
        found=found,
        errors=errors,
    )


def within(message: str, artifacts: Path) -> str:
    """A library's message as HTTP says it: paths from the artifacts folder on, fields in place of options."""
    for root in (str(artifacts.absolute()), str(artifacts)):
        message = message.replace(f"{root}/", "")
    for option, field in _FIELDS.items():
        message = message.replace(option, field)
    return message if len(message) <= _MOST_SAID else f"{message[:_MOST_SAID]}…"


def place_of(error: BaseException) -> str:
    """The kind of an error and the line of code it came from, without its message, which may quote a user's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


def kind_of(error: TransfersetError) -> str:
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
