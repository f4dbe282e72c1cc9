"""Kept results: what is committed is what the code reads, and says which code made it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import BadInput, CorruptArtifact, NotFound
from experiments.__main__ import EXPERIMENTS
from experiments.kept import KEPT, keep, read_kept
from experiments.results import SCHEMA

MOST_BYTES = 2_000_000  # of a file in the repository


def results(**columns: object) -> pa.Table:
    return pa.Table.from_pylist([{"run": "r", "experiment": "e", "commit": "abc1234", **columns}], schema=SCHEMA)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    path = keep("e", results(accuracy=0.5), "# e\n", tmp_path / "kept")
    assert read_kept("e", tmp_path / "kept").equals(results(accuracy=0.5))
    assert sorted(file.name for file in path.parent.iterdir()) == ["e.md", "e.parquet"]


def test_where_this_machine_has_the_real_data_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_DATA", "/home/ann/data/")
    keep("e", results(settings='{"path": "/home/ann/data/tasks/x.parquet"}'), "", tmp_path)
    assert read_kept("e", tmp_path)["settings"].to_pylist() == ['{"path": "../shared/data/tasks/x.parquet"}']


def test_runs_of_unknown_code_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="do not say which commit"):
        keep("e", results(commit=None), "", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_or_not_ours_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--keep writes it"):
        read_kept("e", tmp_path)
    pq.write_table(pa.table({"other": [1]}), tmp_path / "e.parquet")
    with pytest.raises(CorruptArtifact, match="keep it again"):
        read_kept("e", tmp_path)


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.parquet")), ids=lambda path: path.stem)
def test_what_is_committed_is_read(path: Path) -> None:
    assert path.stem in EXPERIMENTS
    table = read_kept(path.stem)
    assert table.num_rows
    assert table["commit"].null_count == 0
    assert path.stat().st_size < MOST_BYTES
    assert path.with_suffix(".md").is_file()
