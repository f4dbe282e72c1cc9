"""The archive: a folder's files as one zip that is nowhere written, so that any part of it can be sent.

Files are stored, not squeezed (weights do not squeeze), in the order of their names, with one date: the same files
give the same bytes, and where each stands is known before one is read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipInfo

from jobs.problem import Refused

CHUNK = 1 << 20
LARGEST = 2**32 - 1  # of a zip without the extension that not every reader knows
DATE = (1980, 1, 1, 0, 0, 0)  # the first a zip can say
_CENTRAL, _END = "<4s4B4HL2L5H2L", "<4s4H2LH"  # PKWARE's APPNOTE, 4.3.12 and 4.3.16


@dataclass(frozen=True)
class Member:
    """A file, the name it has in the zip, and its size and CRC-32."""

    path: Path
    name: str
    bytes: int
    crc: int

    @property
    def info(self) -> ZipInfo:
        info = ZipInfo(self.name, DATE)
        info.file_size = info.compress_size = self.bytes
        info.CRC = self.crc
        info.external_attr = 0o644 << 16
        info.create_system = 3  # Unix, whatever we run on
        return info


class Archive:
    """The zip of some files."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._parts: list[bytes | Member] = []
        directory, place = b"", 0
        for member in members:
            header = member.info.FileHeader(zip64=False)
            directory += _central(member.info, place)
            self._parts += [header, member]
            place += len(header) + member.bytes
        end = struct.pack(_END, b"PK\5\6", 0, 0, len(members), len(members), len(directory), place, 0)
        self._parts.append(directory + end)
        self.bytes = place + len(directory) + len(end)
        if self.bytes > LARGEST:
            raise Refused(
                f"The model has {place:,} bytes, more than a zip holds; fetch its files one by one",
                status=413,
                limit=LARGEST,
                found=self.bytes,
            )

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Its bytes [start, stop), in pieces."""
        place = 0
        for part in self._parts:
            size = part.bytes if isinstance(part, Member) else len(part)
            first, last = max(start - place, 0), min(stop - place, size)
            if first < last:
                yield from _of_file(part.path, first, last) if isinstance(part, Member) else (part[first:last],)
            place += size


def member(path: Path, name: str) -> Member:
    """A file as it stands on the disk, read once for its CRC."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return Member(path, name, size, crc)


def _of_file(path: Path, first: int, last: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while first < last:
            chunk = file.read(min(CHUNK, last - first))
            if not chunk:
                raise OSError(f"{path.name} became shorter while it was sent")
            yield chunk
            first += len(chunk)


def _central(info: ZipInfo, place: int) -> bytes:
    """A file's entry in the directory at the end; its flags and versions are those of its header."""
    header = info.FileHeader(zip64=False)
    version, flags, method, time, date = struct.unpack_from("<5H", header, 4)
    name = header[30:]
    return (
        struct.pack(
            _CENTRAL,
            b"PK\1\2",
            info.create_version,
            info.create_system,
            version & 0xFF,
            version >> 8,
            flags,
            method,
            time,
            date,
            info.CRC,
            info.compress_size,
            info.file_size,
            len(name),
            0,
            0,
            0,
            0,
            info.external_attr,
            place,
        )
        + name
    )
