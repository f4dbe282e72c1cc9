"""The tasks folder: what is uploaded is kept whole or not at all, and a name leads nowhere but into it."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput, NameTaken, NotFound, TransfersetError
from contract.task import read_task
from service.reader import Readers, ReadingLimits, Unreadable
from service.tasks import TaskFolder
from tests.service.house import task_lines


@pytest.fixture
def folder(tmp_path: Path, readers: Readers) -> TaskFolder:
    return TaskFolder(tmp_path / "tasks", readers)


def upload(folder: TaskFolder, name: str = "music", content: bytes | None = None, filename: str = "t.jsonl") -> bool:
    _, is_new = folder.add(name, filename, io.BytesIO(task_lines() if content is None else content), {})
    return is_new


def test_an_uploaded_task_reads_as_the_file_itself_does(folder: TaskFolder, tmp_path: Path) -> None:
    upload(folder)
    (tmp_path / "music.jsonl").write_bytes(task_lines())
    by_hand = read_task(tmp_path / "music.jsonl")
    found = folder.read("music")
    assert (found.id, found.name, found.rows) == (by_hand.id, by_hand.name, by_hand.table.num_rows)
    assert ([*found.splits], found.targets) == (by_hand.splits, ["intent"])


def test_the_same_upload_again_changes_nothing(folder: TaskFolder) -> None:
    assert upload(folder)
    before = folder.path("music").stat()
    assert not upload(folder)
    assert folder.path("music").stat() == before


def test_other_content_under_a_taken_name_is_refused_and_the_first_stays(folder: TaskFolder) -> None:
    upload(folder)
    with pytest.raises(NameTaken, match="other content"):
        upload(folder, content=b'{"text": "a"}\n')
    assert folder.read("music").rows == 16


def test_an_upload_does_not_take_the_place_of_what_the_operator_laid_there(folder: TaskFolder) -> None:
    folder.root.mkdir()
    (folder.root / "music.jsonl").write_bytes(task_lines())
    with pytest.raises(NameTaken, match="other content"):
        upload(folder, content=b'{"text": "a"}\n')
    assert not upload(folder, filename="music.jsonl"), "the same content is the same task"
    assert folder.path("music").is_file()


def test_of_two_uploads_at_once_one_wins(folder: TaskFolder) -> None:
    contents = [task_lines(), b'{"text": "a"}\n'] * 4

    def try_it(content: bytes) -> object:
        try:
            return upload(folder, content=content)
        except NameTaken as error:
            return type(error)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(try_it, contents))
    assert outcomes.count(True) == 1
    assert outcomes.count(NameTaken) == 4
    assert [path.name for path in folder.root.iterdir()] == ["music"]


@pytest.mark.parametrize(
    ("content", "filename", "says"),
    [
        (b'{"text": "a"}\n{"te', "t.jsonl", "row 2"),
        (b'{"utter": "a"}\n', "t.jsonl", "no column 'text'"),
        (b"", "t.jsonl", "no rows"),
        (b"PAR1", "t.parquet", "damaged"),
        (b"\x1f\x8b\x08\x00", "t.jsonl.gz", "damaged"),
        (b'{"text": "\xff"}\n', "t.jsonl", "UTF-8"),
        (b"a", "t.exe", "no task format"),
        (b"a", "", "no task format"),
        (b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n', "t.jsonl", "more than one row"),
    ],
)
def test_a_refused_upload_says_why_in_its_place_and_leaves_nothing(
    folder: TaskFolder, content: bytes, filename: str, says: str
) -> None:
    with pytest.raises((BadInput, Unreadable), match=says) as raised:
        upload(folder, content=content, filename=filename)
    assert "/." not in raised.value.message  # nor the folder it was received in
    assert not folder.root.exists() or list(folder.root.iterdir()) == []


def test_bad_rows_are_counted_when_the_file_shall_be_kept_all_the_same(folder: TaskFolder) -> None:
    lines = task_lines() + b'{"text": ""}\n'
    found, _ = folder.add("music", "t.jsonl", io.BytesIO(lines), {}, skip_bad_rows=True)
    assert (found.rows, found.bad_rows) == (16, 1)
    assert folder.read("music").bad_rows == 1
    (bad,) = folder.errors("music")
    assert (bad.file, bad.row, bad.column, bad.reason) == ("music.jsonl", 17, "text", "expected text, found nothing")
    assert read_task(folder.path("music"), on_bad_row=lambda _: None).table.num_rows == 16, "they are no part of it"


def test_the_columns_of_an_upload_are_remembered(folder: TaskFolder) -> None:
    content = b"".join(json.dumps({"say": f"text {n}"}).encode() + b"\n" for n in range(3))
    found, _ = folder.add("said", "t.jsonl", io.BytesIO(content), {"text": "say"})
    assert folder.columns("said") == {"text": "say"}
    assert folder.read("said").id == found.id


def test_what_the_operator_lays_there_is_found_by_name(folder: TaskFolder) -> None:
    (folder.root / "split").mkdir(parents=True)
    (folder.root / "split" / "train.jsonl").write_bytes(b'{"text": "a"}\n')
    (folder.root / "split" / "test.jsonl").write_bytes(b'{"text": "b"}\n')
    (folder.root / "clinc150.v2.csv").write_bytes(b"text,label\na,b\n")
    (folder.root / "notes.md").write_bytes(b"no task")
    assert folder.names() == ["clinc150.v2", "split"]
    assert folder.read("split").splits == {"test": 1, "train": 1}
    assert folder.errors("split") == folder.errors("clinc150.v2") == []
    assert folder.path("clinc150.v2") == folder.path("clinc150.v2.csv") == folder.root / "clinc150.v2.csv"


def test_a_task_is_read_once_and_again_when_its_file_was_touched(folder: TaskFolder) -> None:
    folder.root.mkdir(parents=True)
    path = folder.root / "music.jsonl"
    path.write_bytes(task_lines())
    assert folder.read("music") is folder.read("music")
    assert folder.read("music", {"label": "intent"}) is not folder.read("music")
    path.write_bytes(task_lines() + b'{"text": "more"}\n')
    assert folder.read("music").rows == 17


def test_a_name_is_not_the_beginning_of_another(folder: TaskFolder) -> None:
    folder.root.mkdir(parents=True)
    (folder.root / "music.old.jsonl").write_bytes(task_lines())
    with pytest.raises(NotFound, match=r"no task music; there are: music\.old"):
        folder.path("music")


def test_a_folder_that_is_not_there_has_no_tasks(folder: TaskFolder) -> None:
    assert folder.names() == []


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc/passwd", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "a b", "*", "é", "a" * 101]
)
def test_a_name_that_could_be_a_path_is_refused(folder: TaskFolder, name: str) -> None:
    for ask in (folder.path, folder.columns, folder.read, lambda name: upload(folder, name)):
        with pytest.raises(BadInput, match="names are not paths"):
            ask(name)


@given(st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("tasks") / "inside"
    root.mkdir()
    (root.parent / "outside.jsonl").write_bytes(task_lines())
    try:
        found = TaskFolder(root, Readers(ReadingLimits())).path(name)
    except TransfersetError:
        return
    assert found.resolve().is_relative_to(root)
