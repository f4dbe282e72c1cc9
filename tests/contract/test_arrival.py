"""The arrival: files come in any order, from several senders, and the artifact is there whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contract.arrival import FOLDER, FORGET_AFTER_S, Arrival, forget_old
from contract.artifact import Artifact, open_artifact
from contract.draft import Plan, drafting
from contract.errors import BadInput, Busy, CorruptArtifact, NameTaken, NotFound, TransfersetError
from contract.manifest import MANIFEST, Count, FileEntry, Manifest
from contract.store import Store

FILES = {"a.json": b"{}", "student/weights.safetensors": b"weights" * 100, "empty.txt": b""}


def make(store: Store, name: str = "r", seed: int = 0, note: bytes = b"times") -> Artifact:
    with drafting(store.path("run", name), Plan("run", 1, {"seed": seed})) as draft:
        for file, content in {**FILES, "report.json": note}.items():
            draft.partial(file).write_bytes(content)
        draft.keep("all", dict.fromkeys([*FILES, "report.json"], 0))
        draft.finish(attachments=["report.json"])
    return open_artifact(store.path("run", name), "run", version=1)


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    return make(Store(tmp_path / "there"))


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


def arrival_of(made: Artifact, here: Store, name: str = "r") -> Arrival:
    return Arrival(here, "run", name, (made.directory / MANIFEST).read_bytes())


def come(arrival: Arrival, made: Artifact, count: int = 99) -> None:
    arrival.begin()
    for entry in arrival.missing()[:count]:
        partial = arrival.partial(entry, shared=False)
        shutil.copyfile(made.directory / entry.name, partial)
        arrival.take(entry, partial)


def test_what_has_come_whole_is_the_artifact(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    come(arrival, made)
    assert not arrival.place.exists()
    found = arrival.finish()
    assert (found.id, found.verify()) == (made.id, [])
    assert sorted(p.name for p in found.directory.iterdir()) == sorted(p.name for p in made.directory.iterdir())
    assert not arrival.folder.exists()
    assert arrival.finish().id == made.id, "twice is as once"


def test_what_is_not_whole_is_not_there_and_goes_on(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    come(arrival, made, 2)
    with pytest.raises(BadInput, match="2 files have not come yet"):
        arrival.finish()
    assert not (arrival.place / MANIFEST).exists()
    again = Arrival.begun(here, "run", "r", arrival.id)
    assert len(again.missing()) == 2
    come(again, made)
    assert again.finish().verify() == []
    with pytest.raises(NotFound):
        Arrival.begun(here, "run", "r", arrival.id)


def test_wrong_bytes_are_refused_and_gone(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    arrival.begin()
    entry = arrival.missing()[0]
    partial = arrival.partial(entry)
    partial.write_bytes(b"x" * entry.bytes)
    with pytest.raises(CorruptArtifact, match="sha256"):
        arrival.take(entry, partial)
    assert not partial.exists()
    assert entry in arrival.missing()


def test_another_artifact_of_that_name_keeps_its_place(made: Artifact, here: Store) -> None:
    make(here, seed=1)
    arrival = arrival_of(made, here)
    come(arrival, made)
    with pytest.raises(NameTaken, match="another artifact"):
        arrival.finish()


def test_the_same_artifact_with_other_times_is_there_already(made: Artifact, here: Store) -> None:
    other = make(here, note=b"other times")
    assert arrival_of(made, here).is_there
    assert other.verify() == []


def test_what_is_half_built_gives_way_unless_somebody_builds(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    come(arrival, made)
    with drafting(here.path("run", "r"), Plan("run", 1, {"seed": 5})), pytest.raises(Busy):
        arrival.finish()
    assert arrival.finish().id == made.id


def test_a_strangers_files_are_not_removed(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    come(arrival, made)
    arrival.place.mkdir(parents=True)
    (arrival.place / "notes.txt").write_text("mine")
    with pytest.raises(NameTaken, match="not an artifact"):
        arrival.finish()
    assert (arrival.place / "notes.txt").read_text() == "mine"


def with_changed(artifact: Artifact, changes: dict[str, Any]) -> bytes:
    """A manifest with its first file changed, and the id that goes with it."""
    raw = json.loads((artifact.directory / MANIFEST).read_bytes())
    for key, value in changes.items():
        if key in raw["files"][0]:
            raw["files"][0][key] = value
        else:
            raw[key] = value
    files = tuple(FileEntry(**entry) for entry in raw["files"])
    attached = tuple(FileEntry(**entry) for entry in raw["attachments"])
    counts = {unit: Count(**count) for unit, count in raw["counts"].items()}
    return (
        Manifest(
            **{**{k: v for k, v in raw.items() if k != "id"}, "files": files, "attachments": attached, "counts": counts}
        )
        .to_json()
        .encode()
    )


@pytest.mark.parametrize(
    "name",
    ["../../keys.json", "/etc/passwd.txt", ".draft/plan.json", "a/.hidden.json", "manifest.json", "model.bin", "run.py",
     "model.pkl", "a//b.json", "student", "x" * 300 + ".json", "a\\b.json", "a\x00.json", "report.json/x.json", ""],
)  # fmt: skip
def test_no_file_comes_anywhere_but_below_its_folder(made: Artifact, here: Store, name: str) -> None:
    with pytest.raises(TransfersetError):
        Arrival(here, "run", "r", with_changed(made, {"name": name}))
    assert not (here.root / FOLDER).exists()


@pytest.mark.parametrize(
    "changes",
    [{"bytes": -1}, {"bytes": "9"}, {"bytes": True}, {"sha256": 5}, {"kind": "teacher"}, {"params": []},
     {"version": "1"}, {"made": {"at": 3}}, {"inputs": {"task": 1}}],
)  # fmt: skip
def test_a_manifest_of_another_form_is_refused(made: Artifact, here: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(TransfersetError):
        Arrival(here, "run", "r", with_changed(made, changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'"x"', b"null", b"{" * 10_000])
def test_what_is_no_manifest_is_refused(here: Store, content: bytes) -> None:
    with pytest.raises(TransfersetError):
        Arrival(here, "run", "r", content)


def test_an_artifact_beyond_its_limit_is_refused(made: Artifact, here: Store) -> None:
    with pytest.raises(BadInput, match="at most 10"):
        Arrival(here, "run", "r", (made.directory / MANIFEST).read_bytes(), most_bytes=10)


@pytest.mark.parametrize("arrival_id", ["", "../..", "0" * 15, "g" * 16, "0" * 16])
def test_an_id_that_is_none_finds_nothing(here: Store, arrival_id: str) -> None:
    with pytest.raises(NotFound):
        Arrival.begun(here, "run", "r", arrival_id)


def test_what_nobody_went_on_with_is_swept(made: Artifact, here: Store) -> None:
    arrival = arrival_of(made, here)
    come(arrival, made, 1)
    forget_old(arrival.folder.parent)
    assert arrival.folder.exists()
    forget_old(arrival.folder.parent, arrival.folder.stat().st_mtime + FORGET_AFTER_S + 1)
    assert not arrival.folder.exists()
