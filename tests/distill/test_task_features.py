"""Task features: what a file says of a task, whatever the order of its rows, and how unlike two tasks are."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput
from contract.task import Task, read_task
from distill.reading.amounts import are_amounts
from distill.recommending.task_features import TaskFeatures, features_of, unlikeness


def written(path: Path, rows: Sequence[Mapping[str, object]]) -> Task:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_task(path)


def rows_of(classes: int, each: int) -> list[dict[str, object]]:
    return [{"text": f"say {c} to number {n}", "label": f"c{c}"} for c in range(classes) for n in range(each)]


def test_a_file_says_kind_rows_classes_length_and_balance(tmp_path: Path) -> None:
    found = features_of(written(tmp_path / "t.jsonl", rows_of(4, 5)))
    assert (found.kind, found.pairs, found.rows, found.classes, found.words) == ("classes", False, 20, 4, 5.0)
    assert found.balance == pytest.approx(1.0)
    assert found.variety is None  # too few words to say


def test_the_order_of_rows_changes_nothing_but_the_words_read_first(tmp_path: Path) -> None:
    rows = rows_of(3, 7)
    shuffled: list[dict[str, object]] = random.Random(0).sample(rows, len(rows))
    one, other = (written(tmp_path / f"{name}.jsonl", r) for name, r in (("a", rows), ("b", shuffled)))
    assert features_of(one) == features_of(other)


def test_shots_leave_so_many_rows_a_class(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*rows_of(2, 6), {"text": "rare", "label": "c9"}]
    found = features_of(written(tmp_path / "t.jsonl", rows), shots=3)
    assert (found.rows, found.classes) == (7, 3)
    assert found.balance is not None
    assert found.balance < 1


def test_numbers_with_a_point_are_amounts(tmp_path: Path) -> None:
    rows = [{"text": "a b", "text_pair": "c", "label": f"{n}.5"} for n in range(4)]
    task = written(tmp_path / "t.jsonl", rows)
    found = features_of(task)
    assert (found.kind, found.pairs, found.classes, found.words, found.balance) == ("regression", True, 0, 3.0, None)
    with pytest.raises(BadInput, match="an amount; leave it out"):
        features_of(task, shots=2)


@pytest.mark.parametrize(("labels", "said"), [(["1", "2"], False), (["1.0", "2"], True), (["1.0", "x"], False)])
def test_what_distill_takes_for_amounts_is_taken_for_amounts_here(
    labels: list[str], said: bool, tmp_path: Path
) -> None:
    from distill.reading.gold import read_gold
    from distill.settings.task import TaskConfig

    assert are_amounts(labels) is said
    rows = [
        {"text": f"t{n} {split}", "label": label, "split": split}
        for split in ("train", "test")
        for n, label in enumerate(labels)
    ]
    written(tmp_path / "t.jsonl", rows)
    assert (read_gold(TaskConfig(path=tmp_path / "t.jsonl")).kind == "regression") is said


def test_rows_without_labels_are_refused_in_a_sentence(tmp_path: Path) -> None:
    rows = [{"text": "a", "split": "train"}, {"text": "b", "label": "x", "split": "test"}]
    with pytest.raises(BadInput, match="no label in its training rows"):
        features_of(written(tmp_path / "t.jsonl", rows))


FEATURES = st.builds(
    TaskFeatures,
    kind=st.sampled_from(("classes", "regression")),
    pairs=st.none() | st.booleans(),
    rows=st.integers(1, 10**6),
    classes=st.integers(0, 500),
    words=st.none() | st.floats(1, 300),
    variety=st.none() | st.floats(0, 1),
    balance=st.none() | st.floats(0, 1),
)


@given(FEATURES, FEATURES)
def test_unlikeness_is_the_same_both_ways_and_nothing_to_oneself(one: TaskFeatures, other: TaskFeatures) -> None:
    assert unlikeness(one, other) == pytest.approx(unlikeness(other, one))
    assert unlikeness(one, other) >= 0
    assert unlikeness(one, one) == 0
