"""Claims about the task reader: one form for every kind of task, and few-shot draws that repeat."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput, NotFound
from contract.rows import BadRow
from contract.schemas import TASK
from contract.task import Task, few_shot, read_task
from tests.contract.making import FORMATS, write_bytes, write_records

FULL: list[dict[str, Any]] = [
    {
        "id": f"u{number}",
        "text": f"play song {number}",
        "text_pair": None,
        "label": None,
        "intent": "PlayMusic",
        "domain": "music",
        "tokens": ["play", "song", str(number)],
        "slots": ["O", "B-kind", "B-title"],
        "lang": "en",
        "split": split,
    }
    for number, split in enumerate(["train", "train", "valid", "test"])
]
LABELLED = [{"text": "good film", "label": "1"}, {"text": "bad film", "label": "0"}]


def texts(task: Task, split: str) -> list[str]:
    return list(task.split(split)["text"].to_pylist())


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_task_comes_back_from_every_format(tmp_path: Path, name: str) -> None:
    task = read_task(write_records(tmp_path / name, FULL))
    assert task.table.schema == TASK
    assert task.table.to_pylist() == FULL
    assert task.splits == ["test", "train", "valid"]
    assert task.split("train")["id"].to_pylist() == ["u0", "u1"]


@pytest.mark.parametrize(
    ("columns", "text", "pair"),
    [
        (["sentence", "label"], "sentence", None),
        (["utterance", "intent"], "utterance", None),
        (["sentence1", "sentence2"], "sentence1", "sentence2"),
        (["premise", "hypothesis"], "premise", "hypothesis"),
        (["question1", "question2"], "question1", "question2"),
        (["sentence", "sentence1", "sentence2"], "sentence1", "sentence2"),
        (["text", "sentence1"], "text", None),
        (["question1", "premise", "sentence"], "sentence", None),
    ],
)
def test_known_names_of_text_columns_need_no_map(
    tmp_path: Path, columns: list[str], text: str, pair: str | None
) -> None:
    task = read_task(write_records(tmp_path / "task.jsonl", [{name: f"the {name}" for name in columns}]))
    assert task.table["text"].to_pylist() == [f"the {text}"]
    assert task.table["text_pair"].to_pylist() == [f"the {pair}" if pair else None]


def test_a_map_goes_before_a_known_name(tmp_path: Path) -> None:
    path = write_records(tmp_path / "task.csv", [{"sentence": "a", "body": "b", "kind": "x"}])
    task = read_task(path, columns={"text": "body", "label": "kind"})
    assert (texts(task, "train"), task.target()) == (["b"], "label")


def test_a_map_of_a_column_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    path = write_records(tmp_path / "task.csv", LABELLED)
    with pytest.raises(BadInput, match=r"has no column 'lable', which --map label=lable names; found label, text"):
        read_task(path, columns={"label": "lable"})
    with pytest.raises(BadInput, match=r"--map class=label: a task has no column 'class', only id, text, text_pair"):
        read_task(path, columns={"class": "label"})


def test_a_map_may_name_a_column_that_only_one_split_has(tmp_path: Path) -> None:
    write_records(tmp_path / "task" / "train.csv", [{"sentence": "a", "gold": "x"}])
    write_records(tmp_path / "task" / "test.csv", [{"sentence": "b"}])
    task = read_task(tmp_path / "task", columns={"label": "gold"})
    assert task.table["label"].to_pylist() == [None, "x"]


def test_without_a_text_column_the_found_ones_are_listed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no column 'text': .* found 'body', 'kind'"):
        read_task(write_records(tmp_path / "task.csv", [{"body": "b", "kind": "x"}]))


def test_a_directory_has_a_split_a_file(tmp_path: Path) -> None:
    for name in ("train.jsonl", "dev.csv", "test.parquet"):
        write_records(tmp_path / "task" / name, [{"text": name, "label": "x"}])
    write_bytes(tmp_path / "task" / "README.txt", b"What this task is\n")
    write_bytes(tmp_path / "task" / "._train.jsonl", b"\0\1\2")
    task = read_task(tmp_path / "task")
    assert {split: texts(task, split) for split in task.splits} == {
        "dev": ["dev.csv"],
        "test": ["test.parquet"],
        "train": ["train.jsonl"],
    }
    assert sorted(task.table["id"].to_pylist()) == ["dev-1", "test-1", "train-1"]
    assert task.name == "task"


def test_a_file_in_a_task_folder_that_says_of_no_row_which_split_it_is_is_refused(tmp_path: Path) -> None:
    """A corpus that lies beside train.csv must not become training data."""
    write_records(tmp_path / "task" / "train.csv", LABELLED)
    write_records(tmp_path / "task" / "notes.parquet", [{"text": "a passage"}])
    with pytest.raises(BadInput, match=r"notes\.parquet says of no row which split it is: .*rename it"):
        read_task(tmp_path / "task")
    write_records(tmp_path / "task" / "notes.parquet", [{"text": "an utterance", "split": "dev"}])
    assert read_task(tmp_path / "task").splits == ["dev", "train"]


def test_a_rows_own_split_goes_before_its_files_name(tmp_path: Path) -> None:
    path = write_records(tmp_path / "test.jsonl", [{"text": "a", "split": "train"}, {"text": "b", "split": None}])
    task = read_task(path)
    assert (texts(task, "train"), texts(task, "test")) == (["a"], ["b"])


@pytest.mark.parametrize(("name", "split"), [("valid.csv.gz", "valid"), ("reviews.csv", "train"), ("test.tsv", "test")])
def test_a_file_named_after_a_split_is_that_split_any_other_is_train(tmp_path: Path, name: str, split: str) -> None:
    assert read_task(write_records(tmp_path / name, LABELLED)).splits == [split]


def test_a_split_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    task = read_task(write_records(tmp_path / "task.jsonl", LABELLED))
    with pytest.raises(BadInput, match="Task task has no rows of split 'test'; it has train"):
        task.split("test")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: write_bytes(path / "notes.md", b"x")])
def test_a_directory_without_a_task_file_gets_a_sentence(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "task")
    with pytest.raises(BadInput, match=r"holds no file we read; expected train\.jsonl, test\.jsonl"):
        read_task(tmp_path / "task")


def test_a_task_that_is_not_there_or_has_no_rows_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no task file"):
        read_task(tmp_path / "task.csv")
    with pytest.raises(BadInput, match="has no rows; expected utterances with a text column"):
        read_task(write_bytes(tmp_path / "task.csv", b"text,label\n"))


def test_an_id_that_stands_twice_is_refused_by_its_rows(tmp_path: Path) -> None:
    path = write_records(tmp_path / "task.csv", [{"id": n, "text": "a"} for n in (1, 2, 3, 2)])
    with pytest.raises(BadInput, match=r"one id stands in more than one row, first in 2 and 4 .*; ids must be unique"):
        read_task(path)


def test_ids_made_from_rows_keep_their_numbers_when_bad_rows_are_skipped(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', "broken", '{"text": "c"}', '{"text": ""}', '{"text": "e", "id": "own"}', '{"text": "f"}']
    path = write_bytes(tmp_path / "test.jsonl", "\n".join(lines).encode())
    bad: list[BadRow] = []
    task = read_task(path, on_bad_row=bad.append)
    assert task.table["id"].to_pylist() == ["test-1", "test-3", "own", "test-6"]
    assert [row.row for row in bad] == [2, 4]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"tokens": ["a", "b"], "slots": ["O"]}, "2 tokens and 1 slots"),
        ({"tokens": ["a"], "slots": ["O", "O"]}, "1 tokens and 2 slots"),
        ({"tokens": None, "slots": ["O"]}, "0 tokens and 1 slots"),
    ],
)
def test_uneven_slots_are_a_bad_row_with_its_own_number(tmp_path: Path, row: dict[str, Any], found: str) -> None:
    good = {"text": "a b", "tokens": ["a", "b"], "slots": ["O", "O"]}
    rows: list[dict[str, Any]] = [good, {"text": " "}, {"text": "a b", **row}, good]
    bad: list[BadRow] = []
    path = write_records(tmp_path / "task.jsonl", rows)
    task = read_task(path, on_bad_row=bad.append)
    assert task.table["id"].to_pylist() == ["train-1", "train-4"]
    assert str(bad[1]) == f"{path}, row 3, column 'slots': expected one slot a token, found {found}"
    with pytest.raises(BadInput, match="row 3, column 'slots'"):
        read_task(write_records(tmp_path / "other.jsonl", [good, good, {"text": "a b", **row}]))


def test_tokens_without_slots_are_well(tmp_path: Path) -> None:
    path = write_records(tmp_path / "task.jsonl", [{"text": "a b", "tokens": ["a", "b"]}, {"text": "c"}])
    assert read_task(path).table.num_rows == 2


def test_the_target_is_the_first_of_intent_label_domain_that_has_values(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x", "domain": "d", "intent": None}]
    task = read_task(write_records(tmp_path / "task.jsonl", rows))
    assert (task.target(), task.target("domain")) == ("label", "domain")
    with pytest.raises(BadInput, match="has no intent column with values; it has label, domain; map one with --map"):
        task.target("intent")
    bare = read_task(write_records(tmp_path / "bare.jsonl", [{"text": "a"}]))
    with pytest.raises(BadInput, match="no intent, label or domain column with values; it has none to predict"):
        bare.target()


def test_the_id_follows_the_content_the_split_and_the_map_but_not_the_place(tmp_path: Path) -> None:
    rows = [{"text": "a", "other": "b"}]
    one = read_task(write_records(tmp_path / "one" / "train.jsonl", rows)).id
    assert read_task(write_records(tmp_path / "two" / "train.jsonl", rows)).id == one
    others = {
        read_task(write_records(tmp_path / "test.jsonl", rows)).id,
        read_task(write_records(tmp_path / "train.jsonl", [{"text": "a", "other": "c"}])).id,
        read_task(tmp_path / "one" / "train.jsonl", columns={"text": "other"}).id,
    }
    assert len(others | {one}) == 4


labels = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40)


@given(labels, st.integers(1, 5), st.integers(0, 3))
def test_few_shot_draws_as_many_of_every_class_as_there_are_in_order_and_again(
    classes: list[str | None], shots: int, seed: int
) -> None:
    rows = pa.table({"row": range(len(classes)), "label": pa.array(classes, pa.string())})
    drawn = few_shot(rows, "label", shots, seed=seed)
    expected = {label: min(shots, count) for label, count in Counter(classes).items() if label is not None}
    assert Counter(drawn["label"].to_pylist()) == expected
    assert drawn["row"].to_pylist() == sorted(set(drawn["row"].to_pylist()))
    assert few_shot(rows, "label", shots, seed=seed).equals(drawn)


def test_another_seed_draws_other_rows() -> None:
    rows = pa.table({"row": range(200), "label": ["a", "b"] * 100})
    draws = {tuple(few_shot(rows, "label", 5, seed=seed)["row"].to_pylist()) for seed in range(10)}
    assert len(draws) == 10


def test_a_draw_never_changes_between_versions() -> None:
    """A transfer set's id promises its rows: should this fail, few-shot numbers of old reports cannot be repeated."""
    rows = pa.table({"row": range(20), "label": ["a", "b"] * 10})
    assert few_shot(rows, "label", 2, seed=0)["row"].to_pylist() == [1, 9, 12, 18]


def test_the_demos_task_is_whole_and_honest() -> None:
    path = Path(__file__).parents[2] / "demo" / "task.jsonl"
    task = read_task(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert task.table.to_pylist() == [{**dict.fromkeys(TASK.names), **row} for row in rows]
    for split, count in (("train", 12), ("test", 38)):
        assert set(Counter(task.split(split)["intent"].to_pylist()).values()) == {count}
    assert len(set(task.table["intent"].to_pylist())) == 12
    spoken = [" ".join(character for character in row["text"].lower() if character.isalnum()) for row in rows]
    assert len(set(spoken)) == len(rows), "no text stands twice"
    for row in rows:
        assert " ".join(row["tokens"]) == row["text"]
        for before, slot in zip(["O", *row["slots"]], row["slots"], strict=False):
            assert slot == "O" or slot[:2] == "B-" or before[2:] == slot[2:] != "", row["id"]
