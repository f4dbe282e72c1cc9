"""Bodies of JSON that mean one thing: no key twice, no number JSON has not, nothing nested without end.

Python's reader takes the last of two equal keys and knows NaN; another reader on the way may take the first, or fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from contract.manifest import Json


class StrictRoute(APIRoute):
    """A route that reads JSON strictly; a body that is none gets a sentence (`service.problems`)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_Strict(request.scope, request.receive))

        return handle_strictly


class _Strict(Request):
    async def json(self) -> Json:
        return read_json(await self.body())


def read_json(body: bytes | str) -> Json:
    """The value; json.JSONDecodeError says what is wrong, without the text around it."""
    try:
        value: Json = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_constant)
        return value
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(f"{error.msg} at character {error.pos:,}", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except UnicodeDecodeError:
        raise json.JSONDecodeError("not UTF-8", "", 0) from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise json.JSONDecodeError("a number has too many digits", "", 0) from None


def _object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise json.JSONDecodeError(f"the key {twice[:60]!r} stands twice in one object", "", 0)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"JSON has no number {name}", "", 0)
