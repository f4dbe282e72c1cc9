"""Claims about an opened artifact: every change is found, and workers share the rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.artifact import Artifact, open_artifact
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import MANIFEST
from tests.contract.making import PLAN, make_artifact

SHARD = "part-00001.parquet"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", [SHARD, "timings.json"])
@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (flip, "does not match the sha256 in its manifest; copy it again, or remove the directory and run"),
        (truncate, "does not match the sha256"),
        (grow, "does not match the sha256"),
        (replace_by_folder, "does not match the sha256|cannot be read"),
        (Path.unlink, "is missing; copy it again, or remove the directory and run"),
    ],
)
def test_every_harm_to_a_file_is_found_with_a_sentence(
    tmp_path: Path, harm: Callable[[Path], None], sentence: str, name: str
) -> None:
    artifact = make_artifact(tmp_path / "x")
    assert artifact.verify() == []
    harm(artifact.directory / name)
    assert len(artifact.verify()) == 1
    with pytest.raises(CorruptArtifact, match=f"{name} ({sentence})"):
        artifact.path(name)


def test_reading_harmed_rows_raises_before_a_row_of_them_is_seen(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "x", [2, 3])
    flip(artifact.directory / SHARD)
    batches = artifact.batches()
    assert next(batches).num_rows == 2  # the first shard is well
    with pytest.raises(CorruptArtifact, match=SHARD):
        next(batches)


def test_a_file_is_hashed_once(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "x")
    artifact.path(SHARD)
    flip(artifact.directory / SHARD)
    artifact.path(SHARD)  # not read again: an epoch over the shards must not hash them each time
    with pytest.raises(CorruptArtifact):
        open_artifact(tmp_path / "x", "corpus", version=1).path(SHARD)


def test_a_moved_artifact_is_the_same_artifact(tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "x")
    shutil.copytree(tmp_path / "x", tmp_path / "elsewhere" / "y")
    moved = open_artifact(tmp_path / "elsewhere" / "y", "corpus", version=1)
    assert (moved.id, moved.verify()) == (made.id, [])


def test_what_is_not_there_is_not_found_and_its_neighbours_are_named(tmp_path: Path) -> None:
    make_artifact(tmp_path / "news")
    make_artifact(tmp_path / "books")
    with pytest.raises(NotFound, match=r"There is no corpus at .*poems; there are: books, news$"):
        open_artifact(tmp_path / "poems", "corpus", version=1)
    with pytest.raises(NotFound, match=r"There is no corpus at .*x$"):
        open_artifact(tmp_path / "nowhere" / "x", "corpus", version=1)


def test_another_kind_or_version_is_bad_input(tmp_path: Path) -> None:
    make_artifact(tmp_path / "x")
    with pytest.raises(BadInput, match="is of kind 'corpus', expected 'index'"):
        open_artifact(tmp_path / "x", "index", version=1)
    with pytest.raises(BadInput, match="has format 1, this version reads format 2; rebuild it"):
        open_artifact(tmp_path / "x", "corpus", version=2)


def test_an_edited_manifest_is_found_at_opening(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "x")
    raw = json.loads((artifact.directory / MANIFEST).read_text())
    raw["params"]["size"] += 1
    (artifact.directory / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(CorruptArtifact, match="was changed after it was written"):
        open_artifact(tmp_path / "x", "corpus", version=PLAN.version)


def numbers(artifact: Artifact, **options: int | None) -> list[int]:
    return [n for batch in artifact.batches(**options) for n in batch.column("n").to_pylist()]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[tuple[int, ...]], Artifact]]:
    root = tmp_path_factory.mktemp("shards")

    def of(sizes: tuple[int, ...]) -> Artifact:
        directory = root / ("-".join(map(str, sizes)) or "none")
        if directory.exists():
            return open_artifact(directory, "corpus", version=1)
        return make_artifact(directory, sizes, row_group_rows=3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of small artifacts, none worth the disk's time
        yield of


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 8), max_size=4).map(tuple),
    world_size=st.integers(1, 5),
    batch_rows=st.integers(1, 9),
    start=st.integers(0, 30),
    stop=st.none() | st.integers(0, 30),
)
def test_workers_share_the_rows_without_overlap(
    artifacts: Callable[[tuple[int, ...]], Artifact],
    sizes: tuple[int, ...],
    world_size: int,
    batch_rows: int,
    start: int,
    stop: int | None,
) -> None:
    artifact = artifacts(sizes)
    shares = [
        numbers(artifact, rank=rank, world_size=world_size, batch_rows=batch_rows, start=start, stop=stop)
        for rank in range(world_size)
    ]
    assert [n for share in shares for n in share] == list(range(sum(sizes)))[start:stop]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    batches = list(artifact.batches(batch_rows=batch_rows, start=start, stop=stop))
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "x")
    assert [batch.schema.names for batch in artifact.batches(columns=["n"])] == [["n"], ["n"]]


def test_shards_come_in_the_order_of_their_names_and_attachments_are_none(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "x", [1] * 12)
    assert [entry.name for entry in artifact.shards] == [f"part-{n:05d}.parquet" for n in range(12)]
    assert artifact.rows == 12
