"""Logs: lines for people, or JSON objects for machines; each with the id of the request it belongs to.

Ids, routes, counts and places in our code: never text of a user, never a key.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar
from typing import Literal

# The request being answered, or the one that ordered the job being built.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

FIELDS = ("method", "route", "status", "ms", "key", "job")  # that a line may carry besides
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def id_from(header: str | None) -> str:
    """The id a client gave its request, when it is one that is safe to write everywhere; else a new one."""
    return header if header is not None and _ID.fullmatch(header) else uuid.uuid4().hex


def log_to_stderr(form: Literal["text", "json"]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("uvicorn", "httpx"):  # httpx tells the addresses it asks, which hold names
        logging.getLogger(library).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """2026-11-20 09:00:00,123 INFO transferset.http POST /v1/neighbours 200 12 ms [6f1c9a5f]."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        asked = request_id.get()
        return super().format(record) + (f" [{asked}]" if asked else "")


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "at": f"{made}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            **{field: getattr(record, field) for field in FIELDS if hasattr(record, field)},
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__  # without its message, which may quote a user's text
        return json.dumps({key: value for key, value in line.items() if value is not None})
