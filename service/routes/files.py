"""Finished files over HTTP: what a client has already is not sent again, and what is missing can be asked for alone."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from contract.artifact import Artifact
from contract.manifest import read_manifest


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has what `etag` (in quotes) names, by its If-None-Match."""
    named = request.headers.get("if-none-match", "")
    return named.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in named.split(",")]


def send_file(request: Request, path: Path, *, filename: str, media_type: str, sha256: str) -> Response:
    """The file, the part of it that `Range` asks for, or 304 when the client has it. Its hash is its ETag."""
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "no-cache"}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    _forget_odd_ranges(request)
    return FileResponse(path, filename=filename, media_type=media_type, headers=headers)


def checked_path(artifact: Artifact, file: str) -> Path:
    """A file whose hash is the manifest's: compared once, then again when the file was touched."""
    try:
        found = (artifact.directory / file).stat()
    except FileNotFoundError:
        return artifact.path(file)  # says that it is missing
    return _checked_once(artifact.directory, artifact.id, file, (found.st_mtime_ns, found.st_ino, found.st_size))


@lru_cache(maxsize=4096)
def _checked_once(directory: Path, _artifact_id: str, file: str, _stamp: tuple[int, int, int]) -> Path:
    return Artifact(directory, read_manifest(directory)).path(file)


def _forget_odd_ranges(request: Request) -> None:
    """A range in a unit other than bytes is as none at all (RFC 9110, 14.2); Starlette would answer 400."""
    kept = [
        (name, value)
        for name, value in request.scope["headers"]
        if name != b"range" or value.strip().lower().startswith(b"bytes=")
    ]
    request.scope["headers"] = kept


def range_of(request: Request, size: int, etag: str) -> tuple[int, int]:
    """The bytes [start, stop) that a request asks for: one range, or all (RFC 9110, 14). Refused outside of `size`."""
    asked = request.headers.get("range", "").strip()
    condition = request.headers.get("if-range")
    found = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", asked, re.IGNORECASE)
    if found is None or (condition is not None and condition != etag):
        return 0, size
    first, last = found[1], found[2]
    if not (first or last):
        return 0, size
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < start:
        return 0, size  # no range at all
    if start >= size:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{size}"})
    return start, stop
