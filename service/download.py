"""The download: a transfer set fetched shard by shard into a folder, taken up where it broke off, whole or not there.

The folder becomes an artifact like any other: each shard is compared with its hash, and the manifest comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact, NameTaken
from contract.manifest import MANIFEST, hash_file, move_into_place, read_manifest, write_whole

OnBytes = Callable[[int, int], None]  # done, total
TRIES = 5


def download(
    http: httpx.Client, manifest: bytes, shards: Sequence[Mapping[str, Any]], folder: Path, on_bytes: OnBytes
) -> Artifact:
    """Fetch what is missing. NameTaken when the folder holds another artifact, CorruptArtifact when bytes are wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        return _already_there(folder, manifest)
    done, total = 0, sum(shard["bytes"] for shard in shards)
    for shard in shards:
        if "/" in shard["name"] or shard["name"].startswith("."):
            raise BadInput("The service names a shard that is no file name; do not use this service")
        path = folder / shard["name"]
        if not (path.exists() and hash_file(path) == shard["sha256"]):
            _fetch(http, shard, path, lambda got, done=done: on_bytes(done + got, total))  # type: ignore[misc]
        done += shard["bytes"]
        on_bytes(done, total)
    write_whole(folder / MANIFEST, manifest)
    return Artifact(folder, read_manifest(folder))


def _already_there(folder: Path, manifest: bytes) -> Artifact:
    if (folder / MANIFEST).read_bytes() != manifest:
        raise NameTaken(f"{folder} holds another artifact; choose another folder, or remove it")
    return Artifact(folder, read_manifest(folder))


def _fetch(http: httpx.Client, shard: Mapping[str, Any], path: Path, on_bytes: Callable[[int], None]) -> None:
    """One shard: what of it is there already is kept, when it is of the same file; wrong bytes are fetched anew."""
    partial = path.with_name(f".{path.name}.partial")
    for tries_left in reversed(range(TRIES)):
        try:
            _append(http, shard, partial, on_bytes)
        except httpx.TransportError:
            if not tries_left:
                raise
            continue
        if partial.stat().st_size < shard["bytes"]:
            continue
        if hash_file(partial) == shard["sha256"]:
            move_into_place(partial, path)
            return
        partial.unlink()
    raise CorruptArtifact(f"{path.name} does not match its sha256 as the service sends it; have it looked at there")


def _append(http: httpx.Client, shard: Mapping[str, Any], partial: Path, on_bytes: Callable[[int], None]) -> None:
    has = partial.stat().st_size if partial.exists() else 0
    if has >= shard["bytes"]:
        return
    headers = {"Range": f"bytes={has}-", "If-Range": f'"{shard["sha256"]}"'} if has else {}
    with http.stream("GET", shard["href"], headers=headers) as response:
        if response.is_error:
            response.read()
            raise CorruptArtifact(f"{shard['name']} cannot be fetched: the service answered {response.status_code}")
        goes_on = response.status_code == 206
        got = has if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as file:
            for chunk in response.iter_bytes(1 << 20):
                file.write(chunk)
                got += len(chunk)
                on_bytes(got)
