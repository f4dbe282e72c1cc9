"""/: the console, a page for people: its files as they lie in service/console/, and what a browser may do with them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from contract.errors import NotFound

router = APIRouter(include_in_schema=False)

# Only our own scripts and styles run, none in the page itself; text cannot become HTML or a script by any way there is.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


@router.get("/")
@router.head("/")
def show_console(request: Request) -> Response:
    return _answer(request, "index.html")


@router.get("/console/{name}")
@router.head("/console/{name}")
def fetch_part(request: Request, name: str) -> Response:
    if name not in _names():
        raise NotFound("There is nothing at this address; / is the console")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    """The file; a browser keeps it, and asks each time whether it changed: an upgrade is seen at once."""
    content, etag = _read_once(name)
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=TYPES[name[name.rindex(".") :]], headers=headers)


@lru_cache(maxsize=128)
def _read_once(name: str) -> tuple[bytes, str]:
    content = _folder().joinpath(name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(file.name for file in _folder().iterdir() if file.name.endswith(tuple(TYPES)))


def _folder() -> Traversable:
    return files("service") / "console"
