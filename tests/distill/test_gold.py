"""The gold labels: which rows are learnt from, which are judged by, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import BadInput, NotFound
from contract.task import few_shot, read_task
from distill.config import TaskConfig
from distill.gold import NO_LABEL, Gold, read_gold
from tests.distill.tiny import write_task


def gold_of(path: Path, **settings: Any) -> Gold:
    return read_gold(TaskConfig(path=path, **settings))


def test_classes_are_the_training_rows_labels_sorted(tmp_path: Path) -> None:
    gold = gold_of(write_task(tmp_path / "task.jsonl"))
    assert gold.classes == ("lights", "music", "travel", "weather")
    assert [gold.classes[index] for index in gold.train.classes] == gold.train.labels
    assert (gold.train.table.num_rows, gold.test.table.num_rows, gold.unseen_labels) == (80, 40, 0)


def test_the_shots_are_those_the_service_takes(tmp_path: Path) -> None:
    path = write_task(tmp_path / "task.jsonl")
    ours = gold_of(path, shots=3, seed=5).train.table
    assert ours.equals(few_shot(read_task(path).split("train"), "intent", 3, seed=5))
    assert ours.num_rows == 12


def test_a_label_only_in_the_test_is_kept_and_counted(tmp_path: Path) -> None:
    path = write_task(
        tmp_path / "task.jsonl", extra=[{"id": "x", "text": "buy", "intent": "shopping", "split": "test"}]
    )
    gold = gold_of(path, unseen_labels="wrong")
    assert gold.unseen_labels == 1
    with pytest.raises(BadInput, match=r"has 1 intent labels in split 'test' that no row of split 'train' has"):
        gold_of(path)
    assert gold.test.table.num_rows == 41
    assert gold.test.classes[-1] == NO_LABEL


def test_only_the_training_rows_labels_are_known(tmp_path: Path) -> None:
    """A transfer set may carry labels of rows that are not among the shots, or of the test: they are not looked at."""
    gold = gold_of(write_task(tmp_path / "task.jsonl"), shots=2)
    shown = gold.train.table["id"].to_pylist()
    hidden = sorted({f"train-{index}" for index in range(80)} - set(shown))
    ids = [*shown, None, *hidden, "test-0", *shown]
    texts = gold.train.table["text"].to_pylist() + ["a text"] * (len(ids) - len(shown))
    classes = gold.classes_of(ids, texts)
    assert np.array_equal(classes[: len(shown)], gold.train.classes)
    assert set(classes[len(shown) :]) == {NO_LABEL}, "nor are the labels of another task's rows of the same id"


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    gold = gold_of(write_task(tmp_path / "task.jsonl", extra=[{"id": "x", "text": "hm", "split": "train"}]))
    assert gold.train.table.num_rows == 80


def test_other_rows_are_another_identity(tmp_path: Path) -> None:
    path = write_task(tmp_path / "task.jsonl")
    assert gold_of(path, shots=3).train.identity != gold_of(path, shots=3, seed=1).train.identity
    assert gold_of(path, shots=3).train.identity == gold_of(path, shots=3).train.identity


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train_split": "dev"}, "no rows of split 'dev'; it has test, train"),
        ({"test_split": "valid"}, "no rows of split 'valid'"),
        ({"test_split": "train"}, "both 'train'"),
        ({"target": "domain"}, "no domain column"),
    ],
)
def test_a_split_or_target_that_is_not_there_gets_a_sentence(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        gold_of(write_task(tmp_path / "task.jsonl"), **settings)


def test_a_test_without_labels_gets_a_sentence(tmp_path: Path) -> None:
    path = write_task(tmp_path / "task.jsonl", test=0, extra=[{"id": "x", "text": "hm", "split": "test"}])
    with pytest.raises(BadInput, match="1 rows of split 'test', none with a intent"):
        gold_of(path)


def test_one_class_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least two"):
        gold_of(write_task(tmp_path / "task.jsonl", train=1))


def test_a_regression_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text("text,text_pair,label,split\n" + "".join(f"a,b,{n / 2},train\na,b,{n},test\n" for n in range(9)))
    with pytest.raises(BadInput, match="regression, which is not taught yet"):
        gold_of(path)


def test_numbered_classes_are_no_regression(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "sentence1,sentence2,label,split\n" + "".join(f"a,b,{n % 2},train\na,b,{n % 2},test\n" for n in range(9))
    )
    gold = gold_of(path)
    assert gold.classes == ("0", "1")
    assert gold.train.texts[0] == ("a", "b")


def test_a_task_file_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no task file"):
        gold_of(tmp_path / "none.jsonl")
