"""The shelf: what is laid down once is read again by the row, by whoever comes, and is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.draft import locked
from contract.errors import CorruptArtifact, NoSpace
from contract.manifest import MANIFEST, Json
from distill.reading.shelf import Laid, Pages, Shelf

ROOT = Path(__file__).parents[2]


def lay_numbers(pages: Pages) -> Mapping[str, Json]:
    for start in (0, 3, 6):
        pages.add(flat=np.arange(start, start + 3, dtype=np.int32))
    return {"parts": 3}


def numbers(shelf: Shelf, name: str = "a", lay: Any = lay_numbers) -> Laid:
    return shelf.obtain("numbers", {"name": name}, ["flat.int32"], lay)


def never(_: Pages) -> Mapping[str, Json]:
    raise AssertionError("it was laid down before")


def test_what_was_added_chunk_by_chunk_is_one_array(tmp_path: Path) -> None:
    laid = numbers(Shelf(tmp_path))
    assert laid.array("flat.int32").tolist() == list(range(9))
    assert laid.array("flat.int32", 3).shape == (3, 3)
    assert laid.facts == {"parts": 3}


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6))
@settings(max_examples=40, deadline=None)
def test_ends_are_where_things_laid_end_to_end_begin_and_end(chunks: list[list[int]]) -> None:
    class Kept:
        def __init__(self) -> None:
            self.raw = b""

        def write(self, raw: Any) -> None:
            self.raw += bytes(raw)

    file = Kept()
    pages = Pages({"offsets.int64": file})  # type: ignore[dict-item]
    for chunk in chunks:
        pages.add_ends(offsets=np.array(chunk, np.int64))
    lengths = [length for chunk in chunks for length in chunk]
    expected = [0, *np.cumsum(lengths).tolist()] if chunks else []
    assert np.frombuffer(file.raw, np.int64).tolist() == expected


@pytest.mark.parametrize("dtype", ["int16", "float16", "int32", "int64"])
def test_numbers_come_back_as_they_were(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).normal(0, 50, (7, 4)).astype(dtype)
    laid = Shelf(tmp_path).obtain("x", {}, [f"values.{dtype}"], lambda pages: pages.add(values=values[:, ::1]) or {})  # type: ignore[func-returns-value]
    assert np.array_equal(laid.array(f"values.{dtype}", 4), values)


def test_nothing_at_all_is_an_array_too(tmp_path: Path) -> None:
    laid = Shelf(tmp_path).obtain("none", {}, ["flat.int32"], lambda _: {})
    assert laid.array("flat.int32", 5).shape == (0, 5)


def test_it_is_laid_down_once_and_another_is_another(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first = numbers(shelf)
    assert numbers(shelf, lay=never).directory == first.directory
    other = numbers(shelf, "b", lambda pages: pages.add(flat=np.ones(1, np.int32)) or {})
    assert other.array("flat.int32").tolist() == [1]
    assert first.array("flat.int32").tolist() == list(range(9))


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_file_that_is_no_longer_whole_is_noticed(tmp_path: Path, harm: str) -> None:
    path = numbers(Shelf(tmp_path)).directory / "flat.int32"
    raw = path.read_bytes()
    path.write_bytes({"cut": raw[:-4], "changed": raw[:-1] + b"\7", "gone": b""}[harm])
    if harm == "gone":
        path.unlink()
    with pytest.raises(CorruptArtifact, match="remove it and run the same command again"):
        numbers(Shelf(tmp_path), lay=never)


def test_a_full_disk_is_a_sentence_and_leaves_nothing_finished(tmp_path: Path) -> None:
    def fill(pages: Pages) -> Mapping[str, Json]:
        lay_numbers(pages)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpace, match="free some space"):
        numbers(Shelf(tmp_path), lay=fill)
    assert not list(tmp_path.glob(f"*/{MANIFEST}"))
    assert not list(tmp_path.rglob("*.partial")), "it would keep the disk full"
    assert numbers(Shelf(tmp_path)).array("flat.int32").tolist() == list(range(9))


def test_the_longest_unused_go_beyond_the_bound_and_none_that_is_being_made(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    old, used, made = (numbers(shelf, name) for name in ("old", "used", "made"))
    for age, laid in ((300, made), (200, old), (100, used)):
        os.utime(laid.directory / MANIFEST, (1e9 - age, 1e9 - age))
    size = sum(path.stat().st_size for path in used.directory.iterdir())
    with locked(made.directory):
        newest = numbers(Shelf(tmp_path, max_bytes=3 * size + size // 2), "newest")
    assert {path.name for path in tmp_path.glob("[!.]*")} == {x.directory.name for x in (made, used, newest)}
    assert numbers(shelf, "old").array("flat.int32").tolist() == list(range(9)), "it can always be made again"


def test_it_leaves_half_of_what_is_free_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is never the reason that a disk is full."""
    shelf = Shelf(tmp_path)
    for name in ("one", "two", "three"):
        numbers(shelf, name)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) // 3
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    numbers(shelf, "four")
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size <= kept <= 2 * size + size // 2, "half of the four"


def test_what_is_mapped_stays_when_its_entry_goes(tmp_path: Path) -> None:
    array = numbers(Shelf(tmp_path)).array("flat.int32")
    numbers(Shelf(tmp_path, max_bytes=1), "another")
    assert len([path for path in tmp_path.glob("[!.]*") if path.is_dir()]) == 1
    assert array.tolist() == list(range(9))


SLOW = """
import os, sys
from pathlib import Path
import numpy as np
from distill.reading.shelf import Shelf

def lay(pages):
    for part in range(40):
        pages.add(flat=np.full(5000, part, np.int32))
        print(part, flush=True)
        sys.stdin.readline()
    return {"by": sys.argv[2]}

laid = Shelf(Path(sys.argv[1])).obtain("slow", {}, ["flat.int32"], lay)
print(laid.facts["by"], int(laid.array("flat.int32").sum()))
"""


def slow(folder: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SLOW), str(folder), name]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def until(process: subprocess.Popen[str], part: int) -> None:
    """Let it go on to that part."""
    assert process.stdout is not None
    assert process.stdin is not None
    while process.stdout.readline().strip() != str(part):
        process.stdin.write("\n")
        process.stdin.flush()


def test_one_that_was_killed_is_begun_anew_and_two_at_once_make_one(tmp_path: Path) -> None:
    killed = slow(tmp_path, "killed")
    until(killed, 7)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    first = slow(tmp_path, "first")
    until(first, 3)
    second = slow(tmp_path, "second")  # it waits for the first
    told = first.communicate("\n" * 40)[0].splitlines()[-1]
    also = second.communicate("\n" * 40)[0].splitlines()[-1]
    assert told == also == f"first {5000 * sum(range(40))}"
    (manifest,) = tmp_path.glob(f"*/{MANIFEST}")
    assert [entry["bytes"] for entry in json.loads(manifest.read_text())["files"]] == [40 * 5000 * 4]
    assert not list(tmp_path.glob("*/.*"))
