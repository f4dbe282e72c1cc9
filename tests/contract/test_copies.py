"""Claims about copies of a draft and an artifact in other processes: what an engine's workers write with and read."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TypeVar, cast

import pytest

from contract.draft import drafting
from contract.manifest import MANIFEST
from tests.contract.making import PLAN, make_artifact
from tests.contract.test_draft import draft_and_crash, keep_step

Sent = TypeVar("Sent")


def copied(sent: Sent) -> Sent:
    """It as another process gets it."""
    return cast(Sent, ForkingPickler.loads(ForkingPickler.dumps(sent)))


def test_two_attempts_at_a_step_do_not_meet(tmp_path: Path) -> None:
    """One process was given up for lost, and is not: both leave the same files, whoever comes last."""
    with drafting(tmp_path / "x", PLAN) as draft:
        first, second = copied(draft), copied(draft)
        paths = {maker.partial("a/rows") for maker in (draft, first, second)}
        assert len(paths) == 3, "each writes to a file of its own"
        for maker in (first, second):
            maker.partial("a/rows").write_text("content")
        receipts = [maker.keep("step-0", {"a/rows": 1}) for maker in (first, second)]
        assert receipts[0] == receipts[1] == draft.receipt("step-0")
        draft.finish()
    assert {path.name for path in (tmp_path / "x").rglob("*")} == {"a", "rows", MANIFEST}


def test_what_a_dead_process_left_half_written_goes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        draft_and_crash(tmp_path / "x", lambda draft: copied(draft).partial("a/rows").write_text("half"))
    assert list((tmp_path / "x" / "a").iterdir()), "it is there"
    with drafting(tmp_path / "x", PLAN) as draft:
        assert not list((tmp_path / "x" / "a").iterdir()), "gone when it is opened again"
        copied(draft).partial("b").write_text("half")
        draft.finish()
    left = {path.name for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert left == {"step-0", MANIFEST}, "gone when it is finished"


def test_a_copy_finds_its_folder_from_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with drafting(Path("x"), PLAN) as draft:
        sent = ForkingPickler.dumps(draft)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        keep_step(ForkingPickler.loads(sent), "step-0")
        assert (tmp_path / "x" / "step-0").exists()
        monkeypatch.chdir(tmp_path)
        assert draft.steps() == ["step-0"]


def test_an_artifact_is_read_by_others_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = make_artifact(Path("x"))
    artifact.path(artifact.shards[0].name)
    other = copied(artifact)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sum(batch.num_rows for batch in other.batches()) == artifact.rows == 5
    assert other.id == artifact.id
