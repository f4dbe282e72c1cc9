"""Claims about the manifest: its id, its numbers, and what is said of a broken one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import CorruptArtifact
from contract.manifest import (
    MANIFEST,
    Count,
    FileEntry,
    Manifest,
    canonical_json,
    hash_file,
    read_manifest,
    write_manifest,
    write_whole,
)

FILE = FileEntry("part-00000.parquet", 2, 10, "ab" * 32)
MANY = Manifest(
    kind="corpus",
    version=1,
    params={"a": 1, "b": {"c": [1, 2], "d": None}},
    inputs={"sources": "x", "index": "y"},
    files=(FILE,),
    counts={"passages": Count(3, 2, {"empty": 1})},
    facts={"mean_words": 4.5},
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
counts = st.builds(
    lambda out, dropped: Count(out + sum(dropped.values()), out, dropped),
    st.integers(0, 1000),
    st.dictionaries(st.sampled_from(["empty", "too_long", "duplicate"]), st.integers(0, 100)),
)


def edited(directory: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The manifest on disk with a change that keeps its id true: what somebody who knows the form could write."""
    raw = json.loads((directory / MANIFEST).read_bytes())
    change(raw)
    content = {key: value for key, value in raw.items() if key not in ("id", "attachments", "made")}
    raw["id"] = hashlib.sha256(canonical_json(content)).hexdigest()[:32]
    (directory / MANIFEST).write_text(json.dumps(raw))
    return directory


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANY)
    assert read_manifest(tmp_path) == MANY


@given(json_values, json_values)
def test_two_values_share_an_id_only_when_they_are_the_same_json(one: Any, other: Any) -> None:
    ids_equal = replace(MANY, params={"p": one}).id == replace(MANY, params={"p": other}).id
    assert ids_equal == (canonical_json(one) == canonical_json(other))


def test_the_id_does_not_follow_the_order_of_keys() -> None:
    turned = replace(
        MANY, params={"b": {"d": None, "c": [1, 2]}, "a": 1}, inputs=dict(reversed(list(MANY.inputs.items())))
    )
    assert turned.id == MANY.id


def test_the_id_does_not_follow_attachments_and_the_making() -> None:
    assert replace(MANY, attachments=(replace(FILE, name="page.html"),), made={"at": "now"}).id == MANY.id


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "index"},
        {"version": 2},
        {"params": {"a": 2}},
        {"inputs": {"sources": "z"}},
        {"files": ()},
        {"files": (replace(FILE, sha256="cd" * 32),)},
        {"files": (replace(FILE, name="other"),)},
        {"counts": {}},
        {"facts": {"mean_words": 4.6}},
    ],
    ids=str,
)
def test_the_id_follows_everything_else(change: dict[str, Any]) -> None:
    assert replace(MANY, **change).id != MANY.id


def test_a_number_that_json_has_not_cannot_get_an_id() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(MANY, facts={"mean": float("nan")}).id  # noqa: B018 - the property raises


def test_a_file_is_found_by_its_name_among_files_and_attachments() -> None:
    page = replace(FILE, name="page.html")
    both = replace(MANY, attachments=(page,))
    assert (both.entry("part-00000.parquet"), both.entry("page.html")) == (FILE, page)
    with pytest.raises(KeyError):
        both.entry("absent")


@given(counts, counts, counts)
def test_counts_add_up_in_any_order(a: Count, b: Count, c: Count) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    both = a + b
    assert both.rows_in == a.rows_in + b.rows_in == both.rows_out + sum(both.dropped.values())


@given(counts)
def test_nothing_added_to_a_count_changes_no_number(a: Count) -> None:
    assert a + Count() == a


def test_a_count_that_loses_rows_cannot_be_made() -> None:
    with pytest.raises(AssertionError, match="3 in, 1 out, 1 dropped"):
        Count(3, 1, {"empty": 1})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"id": "x", "kind": "corpus"}',
        b"[" * 100_000,
        MANY.to_json().replace('"rows_in": 3', '"rows_in": 4').encode(),
        MANY.to_json().replace('"rows_in": 3', '"rows_in": "3"').encode(),
        MANY.to_json().replace('"rows": 2', '"columns": 2').encode(),
        MANY.to_json().replace('"name": "part-00000.parquet"', '"name": 7').encode(),
        MANY.to_json().replace("4.5", "NaN").encode(),
        MANY.to_json().replace("corpus", "\\ud800").encode(),
    ],
    ids=lambda content: content[:12],
)
def test_what_is_no_manifest_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(CorruptArtifact, match=r"manifest\.json is not a manifest this version can read .*rebuild it"):
        read_manifest(tmp_path)


def test_an_edited_manifest_is_found_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST
    path.write_text(MANY.to_json().replace('"a": 1', '"a": 2'))
    with pytest.raises(CorruptArtifact, match="was changed after it was written"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", ".", "x\0y"])
@pytest.mark.parametrize("where", ["files", "attachments"])
def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str, where: str) -> None:
    write_manifest(tmp_path, replace(MANY, attachments=(FILE,)))
    edited(tmp_path, lambda raw: raw[where][0].update(name=name))
    with pytest.raises(CorruptArtifact, match="names a file outside its directory"):
        read_manifest(tmp_path)


def test_writing_whole_never_shows_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def killed(descriptor: int) -> None:
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"


@given(st.binary(max_size=300))
def test_a_files_hash_is_the_sha256_of_its_bytes(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        assert hash_file(Path(file.name)) == hashlib.sha256(content).hexdigest()
