"""The download: what the service has finished, fetched into a folder, taken up where it broke off, whole or not there.

A transfer set becomes an artifact like any other: each shard is compared with its hash, and the manifest comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from contract.artifact import Artifact
from contract.errors import BadInput, CorruptArtifact, NameTaken
from contract.fetch import CHUNK, OnBytes, Opened, fetch_files
from contract.manifest import MANIFEST, FileEntry, read_manifest, stays_inside, write_whole


def download(
    http: httpx.Client, manifest: bytes, shards: Sequence[Mapping[str, Any]], folder: Path, on_bytes: OnBytes
) -> Artifact:
    """Fetch what is missing. NameTaken when the folder holds another artifact, CorruptArtifact when bytes are wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        return _already_there(folder, manifest)
    download_files(http, shards, folder, on_bytes)
    write_whole(folder / MANIFEST, manifest)
    return Artifact(folder, read_manifest(folder))


def download_files(http: httpx.Client, files: Sequence[Mapping[str, Any]], folder: Path, on_bytes: OnBytes) -> None:
    """Fetch files, each with its name, bytes, sha256 and `href`."""
    entries = [FileEntry(file["name"], 0, file["bytes"], file["sha256"]) for file in files]
    if not all(stays_inside(entry.name) and not entry.name.startswith(".") for entry in entries):
        raise BadInput("The service names a file that is no file name; do not use this service")
    fetch_files(_Served(http, {file["name"]: file["href"] for file in files}), entries, folder, on_bytes)


def _already_there(folder: Path, manifest: bytes) -> Artifact:
    if (folder / MANIFEST).read_bytes() != manifest:
        raise NameTaken(f"{folder} holds another artifact; choose another folder, or remove it")
    return Artifact(folder, read_manifest(folder))


class _Served:
    """The files of a service, by their addresses."""

    def __init__(self, http: httpx.Client, hrefs: Mapping[str, str]) -> None:
        self._http = http
        self._hrefs = hrefs

    @contextmanager
    def open(self, entry: FileEntry, start: int) -> Iterator[Opened]:
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{entry.sha256}"'} if start else {}
        try:
            with self._http.stream("GET", self._hrefs[entry.name], headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise CorruptArtifact(
                        f"{entry.name} cannot be fetched: the service answered {response.status_code}"
                    )
                yield Opened(start if response.status_code == 206 else 0, response.iter_bytes(CHUNK))
        except httpx.TransportError as error:
            raise ConnectionError(type(error).__name__) from error
