"""Claims about the draft: finished or not there, killed is not lost, one builder at a time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contract.artifact import open_artifact, write_parquet, write_shard
from contract.draft import Draft, Plan, drafting, planned
from contract.errors import BadInput, Busy, CorruptArtifact, NameTaken, NoSpace, NotFound
from contract.manifest import MANIFEST, Count, read_manifest
from tests.contract.making import NUMBERS, PLAN, make_artifact

ROOT = Path(__file__).parents[2]


def keep_step(draft: Draft, step: str, content: str = "content") -> None:
    draft.partial(step).write_text(content)
    draft.keep(step, {step: 1}, counts={"passages": Count(2, 1, {"empty": 1})}, state={"content": content})


def draft_and_crash(directory: Path, work: Callable[[Draft], object], error: Exception | None = None) -> None:
    with drafting(directory, PLAN) as draft:
        keep_step(draft, "step-0")
        work(draft)
        raise error or RuntimeError("crash")


@pytest.fixture
def half_built(tmp_path: Path) -> Path:
    with pytest.raises(RuntimeError, match="crash"):
        draft_and_crash(tmp_path / "x", lambda draft: draft.partial("step-1").write_text("half"))
    return tmp_path / "x"


def test_a_crash_leaves_no_manifest_and_the_finished_steps(half_built: Path) -> None:
    assert not (half_built / MANIFEST).exists()
    with pytest.raises(NotFound, match=r"x is not finished: it has no manifest\.json; run the command"):
        open_artifact(half_built, "corpus", version=1)
    with drafting(half_built, PLAN) as draft:
        receipt = draft.receipt("step-0")
        assert receipt is not None
        assert (receipt.state, receipt.counts) == ({"content": "content"}, {"passages": Count(2, 1, {"empty": 1})})
        assert draft.receipt("step-1") is None
        assert draft.steps() == ["step-0"]


def test_killed_at_any_touch_of_the_disk_goes_on_and_ends_with_the_same_id(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.contract.killed", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lives: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    *killed, undisturbed = lives
    assert len(killed) > 20, "the hook saw the builder"
    assert all(life["was_killed"] for life in killed)
    assert undisturbed["finished"]
    for life in lives:
        assert life["id"] == undisturbed["id"]
        assert life["files"] == undisturbed["files"] == ["a/0", "a/1", "b/0", "b/1"]
        assert life["left"] == [*undisturbed["files"], MANIFEST], "nothing of the making is left"
        # Nothing twice, nothing missing: the second life makes exactly the steps that left no receipt.
        assert life["made"] == ([] if life["finished"] else list(range(life["kept"], 2)))
    assert {life["kept"] for life in killed} == {0, 1, 2}
    assert {life["finished"] for life in killed} == {False, True}, "one died between its manifest and the cleaning up"


def test_of_two_drafts_on_one_directory_one_is_busy(tmp_path: Path) -> None:
    with drafting(tmp_path / "x", PLAN):
        with pytest.raises(Busy, match=r"Another process is building .*x now; wait for it"):
            drafting(tmp_path / "x", PLAN).__enter__()
        with drafting(tmp_path / "y", PLAN):
            pass  # another directory is free
    with drafting(tmp_path / "x", PLAN):
        pass  # and so is this one again


def test_of_two_processes_on_one_directory_one_is_busy(tmp_path: Path) -> None:
    code = f"from tests.contract.making import *\nwith drafting(Path({str(tmp_path / 'x')!r}), PLAN): pass"
    with drafting(tmp_path / "x", PLAN):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "contract.errors.Busy: Another process is building" in done.stderr


@pytest.mark.parametrize(
    ("plan", "changed"),
    [
        (replace(PLAN, params={**PLAN.params, "size": 4}), r"\(params\.size is 3 there and 4 here\)"),
        (
            replace(PLAN, params={**PLAN.params, "words": {"least": 2, "most": 9}}),
            r"\(params\.words\.least is 1 there and 2 here\)",
        ),
        (replace(PLAN, inputs={"sources": "xyz"}), r'\(inputs\.sources is "abc" there and "xyz" here\)'),
        (replace(PLAN, version=2), r"\(version is 1 there and 2 here\)"),
        (replace(PLAN, params={**PLAN.params, "lower": {}}), r"\(params\.lower is None there and {} here\)"),
    ],
)
def test_a_changed_plan_is_name_taken_and_the_setting_named(
    half_built: Path, tmp_path: Path, plan: Plan, changed: str
) -> None:
    make_artifact(tmp_path / "finished")
    with pytest.raises(NameTaken, match=f"is half built with other settings {changed}; .*--restart"):
        drafting(half_built, plan).__enter__()
    with pytest.raises(NameTaken, match=f"is finished with other settings {changed}; choose another name"):
        drafting(tmp_path / "finished", plan).__enter__()


def test_what_was_planned_is_known_of_half_built_and_finished_directories(half_built: Path, tmp_path: Path) -> None:
    make_artifact(tmp_path / "finished")
    assert planned(half_built) == planned(tmp_path / "finished") == PLAN
    assert planned(tmp_path / "nothing") is None


def test_restart_discards_what_was_half_built(half_built: Path) -> None:
    with drafting(half_built, replace(PLAN, version=2), restart=True) as draft:
        assert draft.steps() == []
        assert not (half_built / "step-0").exists()


def test_restart_does_not_discard_what_is_finished(tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "x")
    with drafting(tmp_path / "x", PLAN, restart=True) as draft:
        assert draft.finished is not None
        assert draft.finished.id == made.id
    with pytest.raises(NameTaken), drafting(tmp_path / "x", replace(PLAN, version=2), restart=True):
        pass
    assert not made.verify()


def test_the_same_plan_again_finds_it_finished(tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "x")
    with drafting(tmp_path / "x", PLAN) as draft:
        assert draft.finished == made.manifest


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_that_is_no_artifact_is_left_alone(tmp_path: Path, restart: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("also work")
    for name in ("thesis", "file"):
        with pytest.raises(NameTaken, match="holds files that are not an artifact"):
            drafting(tmp_path / name, PLAN, restart=restart).__enter__()
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "also work"


def test_an_empty_folder_may_become_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert make_artifact(tmp_path / "x").rows == 5


def test_a_finished_directory_with_a_broken_manifest_is_not_built_over(tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "x")
    (made.directory / MANIFEST).write_text("{")
    with pytest.raises(CorruptArtifact), drafting(tmp_path / "x", PLAN):
        pass


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file is no folder to write in \((File exists|Not a directory)\)"):
        drafting(tmp_path / "file" / "x", PLAN).__enter__()


@pytest.mark.parametrize(
    "write",
    [lambda path: path.write_bytes(b"x"), lambda path: write_parquet(pa.table({"n": [1]}, schema=NUMBERS), path)],
    ids=["bytes", "parquet"],
)
def test_a_full_disk_gives_no_space_keeps_the_steps_and_leaves_no_manifest(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    def fill_up(draft: Draft) -> None:
        full = draft.partial("step-1")
        full.symlink_to("/dev/full")  # the kernel's own full disk
        write(full)

    with pytest.raises(NoSpace, match=r"The disk of .*x is full.*run the same command"):
        draft_and_crash(tmp_path / "x", fill_up)
    assert not (tmp_path / "x" / MANIFEST).exists()
    with drafting(tmp_path / "x", PLAN) as draft:
        assert draft.steps() == ["step-0"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error in write: 'f' failed: could not write vectors: No space left on device"),
        OSError("751030 requested and 52192 written"),
    ],
    ids=["disk", "quota", "faiss", "numpy"],
)
def test_a_library_that_finds_the_disk_full_gives_no_space(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(NoSpace), drafting(tmp_path / "x", PLAN):
        raise error


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="weather") as caught, drafting(tmp_path / "x", PLAN):
        raise OSError(errno.EIO, "weather")
    assert not isinstance(caught.value, NoSpace)


def test_a_disk_that_fills_up_at_the_manifest_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def finish(draft: Draft) -> None:
        monkeypatch.setattr(os, "fsync", full)
        draft.finish()

    with pytest.raises(NoSpace):
        draft_and_crash(tmp_path / "x", finish)
    assert not (tmp_path / "x" / MANIFEST).exists()
    monkeypatch.undo()
    with drafting(tmp_path / "x", PLAN) as draft:
        draft.finish()
    assert not open_artifact(tmp_path / "x", "corpus", version=1).verify()


def test_the_manifest_lists_the_steps_in_the_order_of_their_names_whatever_the_order_of_making(tmp_path: Path) -> None:
    steps = [f"step-{number:02d}" for number in range(12)]
    ids = set()
    for number, order in enumerate([steps, steps[::-1], steps[6:] + steps[:6]]):
        with drafting(tmp_path / str(number), PLAN) as draft:
            for step in order:
                keep_step(draft, step)
            manifest = draft.finish()
        assert [entry.name for entry in manifest.files] == steps
        assert manifest.counts == {"passages": Count(24, 12, {"empty": 12})}
        ids.add(manifest.id)
    assert len(ids) == 1


def test_given_counts_stand_instead_of_the_sum(tmp_path: Path) -> None:
    with drafting(tmp_path / "x", PLAN) as draft:
        keep_step(draft, "step-0")
        assert draft.finish(counts={"utterances": Count(4, 4)}).counts == {"utterances": Count(4, 4)}


def test_attachments_are_hashed_but_outside_the_id(tmp_path: Path) -> None:
    ids = set()
    for seconds in ("1", "2"):
        with drafting(tmp_path / seconds, PLAN) as draft:
            keep_step(draft, "step-0")
            keep_step(draft, "timings", seconds)
            ids.add(draft.finish(attachments=["timings"]).id)
        artifact = open_artifact(tmp_path / seconds, "corpus", version=1)
        (tmp_path / seconds / "timings").write_text("3")
        assert len(artifact.verify()) == 1
    assert len(ids) == 1


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = pa.table({"n": range(1000)}, schema=NUMBERS)
    found = []
    for name in ("one", "two"):
        with drafting(tmp_path / name, PLAN) as draft:
            found.append(write_shard(draft, "part-00000", table).files)
            draft.finish()
    assert found[0] == found[1]
    assert read_manifest(tmp_path / "one").id == read_manifest(tmp_path / "two").id


def test_scratch_outlives_a_crash_and_goes_at_the_finish(tmp_path: Path) -> None:
    def checkpoint(draft: Draft) -> None:
        scratch = draft.scratch("checkpoint")
        scratch.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text("weights")

    with pytest.raises(RuntimeError, match="crash"):
        draft_and_crash(tmp_path / "x", checkpoint)
    with drafting(tmp_path / "x", PLAN) as draft:
        assert draft.scratch("checkpoint").read_text() == "weights"
        assert draft.steps() == ["step-0"]
        draft.finish()
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [MANIFEST, "step-0"]


# What was damaged is not built upon


@pytest.mark.parametrize("damaged", ["step-0", ".draft/step-0.json", ".draft/plan.json"])
@pytest.mark.parametrize("harm", [lambda path: path.write_text("{"), lambda path: path.write_text("")])
def test_a_damaged_half_built_artifact_is_refused_until_it_is_discarded(
    half_built: Path, damaged: str, harm: Callable[[Path], object]
) -> None:
    harm(half_built / damaged)
    with (
        pytest.raises(CorruptArtifact, match=r"is half built and damaged: .*; discard it with --restart"),
        drafting(half_built, PLAN),
    ):
        raise AssertionError("went on")
    with drafting(half_built, PLAN, restart=True) as draft:
        assert draft.steps() == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("other")])
def test_a_damaged_finished_artifact_is_not_called_finished(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    made = make_artifact(tmp_path / "x")
    harm(made.directory / "part-00001.parquet")
    with (
        pytest.raises(CorruptArtifact, match=r"x is finished, but .*part-00001.*; remove it and run the same command"),
        drafting(tmp_path / "x", PLAN),
    ):
        raise AssertionError("went on")


def test_killed_while_it_discards_it_can_still_be_discarded(half_built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (half_built / "folder").mkdir()

    def killed(self: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            drafting(half_built, PLAN, restart=True).__enter__()
    with drafting(half_built, PLAN, restart=True) as draft:
        assert draft.steps() == []
        keep_step(draft, "step-0")


def test_adopted_files_are_links_and_the_artifact_is_as_if_it_had_written_them(tmp_path: Path) -> None:
    earlier = make_artifact(tmp_path / "earlier")
    with drafting(tmp_path / "written", PLAN) as draft:
        for entry in earlier.shards:
            draft.partial(entry.name).write_bytes((earlier.directory / entry.name).read_bytes())
            draft.keep(entry.name, {entry.name: entry.rows})
        written = draft.finish()
    with drafting(tmp_path / "adopted", PLAN) as draft:
        for entry in earlier.shards:
            draft.adopt(entry.name, earlier.directory, [entry])
        adopted = draft.finish()
    assert adopted.id == written.id
    for entry in earlier.shards:
        assert (tmp_path / "adopted" / entry.name).samefile(earlier.directory / entry.name)


def test_a_file_that_changed_is_not_adopted(tmp_path: Path) -> None:
    earlier = make_artifact(tmp_path / "earlier")
    entry = earlier.shards[0]
    path = earlier.directory / entry.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with drafting(tmp_path / "adopted", PLAN) as draft, pytest.raises(CorruptArtifact, match="does not match"):
        draft.adopt("step", earlier.directory, [entry])


def test_adopting_again_after_a_kill_before_the_receipt_leaves_nothing_partial(tmp_path: Path) -> None:
    earlier = make_artifact(tmp_path / "earlier")
    entry = earlier.shards[0]
    with drafting(tmp_path / "adopted", PLAN) as draft:
        draft.adopt("step", earlier.directory, [entry])
        (draft.directory / ".draft" / "step.json").unlink()
        draft.adopt("step", earlier.directory, [entry])
        draft.finish()
    assert not list((tmp_path / "adopted").glob(".*partial"))


def test_where_no_link_can_be_made_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = make_artifact(tmp_path / "earlier")
    entry = earlier.shards[0]

    def another_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", another_disk)
    with drafting(tmp_path / "adopted", PLAN) as draft:
        draft.adopt("step", earlier.directory, [entry])
    assert not (tmp_path / "adopted" / entry.name).samefile(earlier.directory / entry.name)
