"""Pages of a list: some items, and an opaque token that asks for the next ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from contract.manifest import Json
from jobs.problem import Refused

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=200, description="items on a page")]
PageToken = Annotated[str | None, Query(max_length=20_000, description="next_page_token of the page before")]


class Page(BaseModel, Generic[T]):
    """Some items of a list; ask for the next ones with `page_token`, until it is null."""

    items: list[T]
    next_page_token: str | None = None


def page_of(names: Sequence[str], limit: int, token: str | None, show: Callable[[str], T]) -> Page[T]:
    """A page of sorted names, each shown. The token names the last one seen: what comes or goes shifts nothing."""
    after = read_token(token, str) if token is not None else ""
    rest = [name for name in names if name > after]
    more = len(rest) > limit
    return Page(
        items=[show(name) for name in rest[:limit]], next_page_token=token_of(rest[limit - 1]) if more else None
    )


def token_of(place: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_token(token: str, form: type[T]) -> T:
    """The place a page token stands for; Refused for what is none of ours."""
    try:
        place = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, form):
        raise bad_token()
    return place


def bad_token() -> Refused:
    return Refused(
        "page_token is not one of ours; expected the next_page_token of an earlier answer, unchanged",
        field="page_token",
    )
