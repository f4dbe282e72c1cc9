"""The arrival: an artifact that comes from elsewhere, file by file, and is put in its place when it is whole.

Its files are gathered in `root/.arrivals/`, in a folder of their own for every manifest: two senders of one artifact
never mix, one that broke off goes on where it was, and the place itself has a finished artifact or none (law 1).
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from contract.artifact import Artifact
from contract.draft import discard, locked, planned
from contract.errors import BadInput, CorruptArtifact, NameTaken, NotFound
from contract.manifest import (
    MANIFEST,
    FileEntry,
    Kind,
    Manifest,
    hash_file,
    move_into_place,
    parse_manifest,
    read_manifest,
    write_whole,
)
from contract.store import FOLDERS, Store

FOLDER = ".arrivals"
_BEGUN = f".{MANIFEST}"  # where nobody takes it for the mark of a finished artifact
MOST_FILES, LONGEST_NAME = 20_000, 200
FORGET_AFTER_S = 7 * 86_400.0  # an arrival nobody went on with
# What our artifacts hold. No form among them runs when it is read; pages are shown with a policy that lets nothing run.
ENDINGS = (".parquet", ".safetensors", ".json", ".jsonl", ".txt", ".model", ".html", ".md")


class Arrival:
    """One artifact on its way to `store`. BadInput, CorruptArtifact when its manifest is not to be trusted."""

    def __init__(self, store: Store, kind: Kind, name: str, manifest: bytes, *, most_bytes: int | None = None) -> None:
        self.place = store.path(kind, name)
        self.content = manifest
        self.manifest = parse_manifest(manifest, f"The manifest of {kind} {name}")
        self.id = hashlib.sha256(manifest).hexdigest()[:16]
        self.folder = _folder(store, kind, name, self.id)
        if self.manifest.kind != kind:
            raise BadInput(f"The manifest is of kind {str(self.manifest.kind)[:40]!r}, expected {kind!r}")
        _check_form(self.manifest)
        _check_entries(self.entries, most_bytes)

    @classmethod
    def begun(cls, store: Store, kind: Kind, name: str, arrival_id: str) -> Arrival:
        """One that was begun, by its id; NotFound when it was not, or is over."""
        store.path(kind, name)  # a plain name, or an error
        is_id = len(arrival_id) == 16 and set(arrival_id) <= set("0123456789abcdef")
        path = _folder(store, kind, name, arrival_id) / _BEGUN
        if not (is_id and path.is_file()):
            raise NotFound(f"No {kind} {name} is on its way under this id; begin it with its manifest")
        return cls(store, kind, name, path.read_bytes())

    def begin(self) -> None:
        """Make room for its files; what nobody went on with for a week is swept out."""
        forget_old(self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{_BEGUN}.{secrets.token_hex(6)}.partial"
        with self.going_on():
            write_whole(self.folder / _BEGUN, self.content, partial)

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        return (*self.manifest.files, *self.manifest.attachments)

    @property
    def is_there(self) -> bool:
        """Whether the artifact is in its place already; NameTaken when another is."""
        if not (self.place / MANIFEST).is_file():
            return False
        if read_manifest(self.place).id != self.manifest.id:
            raise NameTaken(f"{self.place} is finished, and is another artifact; choose another name, or remove it")
        return True

    def missing(self) -> list[FileEntry]:
        """What has not come yet. What is there was compared with its hash when it came."""
        return [entry for entry in self.entries if not (self.folder / entry.name).is_file()]

    def partial(self, entry: FileEntry, *, shared: bool = True) -> Path:
        """Where to write a file as it comes; one that is not `shared` has a name of its own."""
        path = self.folder / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        own = "" if shared else f".{secrets.token_hex(6)}"
        return path.with_name(f".{path.name}{own}.partial")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Around what is done for it: NotFound when another sender of the same has finished meanwhile."""
        try:
            yield
        except FileNotFoundError:
            if not (self.place / MANIFEST).is_file():
                raise
            raise NotFound("Another sender has finished this artifact; begin again with the manifest") from None

    def take(self, entry: FileEntry, partial: Path) -> None:
        """A file has come; CorruptArtifact, and it is gone, when it is not what the manifest promises."""
        if partial.stat().st_size != entry.bytes or hash_file(partial) != entry.sha256:
            partial.unlink()
            raise CorruptArtifact(f"{entry.name} is not what its manifest promises (sha256); send it again")
        move_into_place(partial, self.folder / entry.name)

    def finish(self) -> Artifact:
        """Put it in its place; twice is as once. Busy while somebody builds there, BadInput when it is not whole."""
        with locked(self.place):
            if not self.is_there:
                missing = self.missing()
                if missing:
                    raise BadInput(f"{len(missing)} files have not come yet, as {missing[0].name}; send them first")
                self._make_room()
                self.folder.mkdir(parents=True, exist_ok=True)
                write_whole(self.folder / MANIFEST, self.content)
                (self.folder / _BEGUN).unlink(missing_ok=True)
                self.folder.rename(self.place)
                for path in [*self.place.rglob(".*.partial")]:  # of senders that broke off, or are at it still
                    path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Artifact(self.place, read_manifest(self.place))

    def _make_room(self) -> None:
        """Remove what is half built there; nobody is at it, since its lock is ours."""
        if self.place.exists() and planned(self.place) is None and any(self.place.iterdir()):
            raise NameTaken(f"{self.place} holds files that are not an artifact; choose another name, or remove them")
        discard(self.place)


def forget_old(folder: Path, now: float | None = None) -> None:
    before = (time.time() if now is None else now) - FORGET_AFTER_S
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another one finished it, or swept
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)


def _folder(store: Store, kind: Kind, name: str, arrival_id: str) -> Path:
    return store.root / FOLDER / f"{FOLDERS[kind]}.{name}.{arrival_id}"


def _check_form(manifest: Manifest) -> None:
    """What Python's reader leaves unchecked, and who shows a manifest relies on."""
    named = (manifest.inputs, manifest.made)
    is_well = isinstance(manifest.version, int) and all(
        isinstance(found, dict) for found in (manifest.params, manifest.facts, *named)
    )
    if not (is_well and all(isinstance(value, str) for found in named for value in found.values())):
        raise BadInput("The manifest has another form than those of this version")


def _check_entries(entries: Sequence[FileEntry], most_bytes: int | None) -> None:
    names = [entry.name for entry in entries]
    for entry in entries:
        path = PurePosixPath(entry.name)
        is_plain = str(path) == entry.name and "\\" not in entry.name and entry.name.isprintable()
        if not is_plain or any(part.startswith(".") for part in path.parts) or entry.name == MANIFEST:
            raise BadInput(f"The manifest names a file {entry.name[:60]!r}, which no artifact of ours has")
        if path.suffix not in ENDINGS or len(entry.name) > LONGEST_NAME:
            raise BadInput(
                f"{entry.name[:60]}: expected a name of at most {LONGEST_NAME} characters that ends in "
                f"{', '.join(ENDINGS)}"
            )
        sizes = (entry.bytes, entry.rows)
        if not (all(type(size) is int and size >= 0 for size in sizes) and isinstance(entry.sha256, str)):
            raise BadInput(f"The manifest does not say the rows, bytes and sha256 of {entry.name[:60]!r}")
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if len(set(names)) < len(names) or folders & set(names) or len(names) > MOST_FILES:
        raise BadInput(f"The manifest names a file twice, a file as a folder, or more than {MOST_FILES:,} files")
    if most_bytes is not None and (total := sum(entry.bytes for entry in entries)) > most_bytes:
        raise BadInput(f"The artifact has {total:,} bytes, expected at most {most_bytes:,}")
