"""The gold labels: which rows are learnt from, which are judged by, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.errors import BadInput, NotFound
from contract.task import few_shot, read_task
from distill.reading.gold import NO_LABEL, Gold, read_gold
from distill.settings.task import Kind, TaskConfig
from tests.distill.kinds import tagged, write_kind
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
    names = list(zip(shown, gold.train.table["text"].to_pylist(), strict=True))
    assert [gold.row_of[name] for name in names] == list(range(len(shown)))
    assert not {name for name, _ in gold.row_of} & {*hidden, "test-0"}
    assert (shown[0], "a text") not in gold.row_of, "nor are the labels of another task's rows of the same id"


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


def test_labels_with_a_point_are_amounts(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text("text,text_pair,label,split\n" + "".join(f"a,b,{n / 2},train\na,b,{n},test\n" for n in range(9)))
    gold = gold_of(path)
    assert (gold.kind, gold.classes, gold.outputs, gold.mean) == ("regression", (), 1, 2.0)
    assert gold.train.classes is None
    assert gold.train.amounts is not None
    assert gold.train.amounts.tolist() == [n / 2 for n in range(9)]
    assert gold_of(path, kind="classes", unseen_labels="wrong").kind == "classes"


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


# Other kinds than classes


def kind_of(tmp_path: Path, kind: Kind, *extra: dict[str, Any], **settings: Any) -> Gold:
    path = write_kind(tmp_path / "task.jsonl", kind, extra=extra)
    return gold_of(path, kind=kind, **{"target": "intent", **settings})


def test_slots_are_numbered_word_by_word_beside_their_places(tmp_path: Path) -> None:
    gold = kind_of(tmp_path, "joint")
    assert gold.tags[:3] == ("O", "B-lights", "I-lights")
    assert (gold.outputs, len(gold.tags), gold.unseen_slots) == (4, 9, 0)
    slots = gold.train.slots
    assert slots is not None
    for row, (text, _) in enumerate(gold.train.texts):
        words = slice(*slots.spans.offsets[row : row + 2])
        assert [text[start:end] for start, end in slots.spans.bounds[words]] == text.split()
        assert [gold.tags[tag] for tag in slots.tags[words]] == tagged(text) == slots.names[row]


def test_slots_alone_have_no_classes(tmp_path: Path) -> None:
    gold = kind_of(tmp_path, "slots", shots=3)
    assert (gold.target, gold.classes, gold.outputs, gold.train.classes) == ("slots", (), 0, None)
    assert gold.train.table.num_rows == 12


def test_kinds_of_slots_only_in_the_test_are_counted(tmp_path: Path) -> None:
    row = {"id": "x", "text": "buy a car", "intent": "music", "split": "test", "tokens": ["buy", "a", "car"]}
    gold = kind_of(tmp_path, "joint", row | {"slots": ["O", "O", "B-thing"]})
    assert gold.unseen_slots == 1
    assert gold.test.slots is not None
    assert gold.test.slots.tags[-1] == NO_LABEL
    assert gold.test.slots.names[-1][-1] == "B-thing"


def test_tags_that_go_on_nothing_are_mended(tmp_path: Path) -> None:
    row = {"id": "x", "text": "dim light", "intent": "lights", "split": "train", "tokens": ["dim", "light"]}
    gold = kind_of(tmp_path, "joint", row | {"slots": ["I-lights", "I-lights"]})
    assert gold.train.slots is not None
    assert gold.train.slots.names[-1] == ["B-lights", "I-lights"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"slots": ["Ox", "O"]}, r"row x: expected BIO tags .*, found 'Ox'; mend the row, or leave such rows out"),
        ({"tokens": ["dim", "lights"]}, "row x: expected tokens that stand one after the other in its text"),
        ({"tokens": None, "slots": None}, "row x: expected tokens and slots, found none"),
        ({"text_pair": "more"}, "row x: expected a single text"),
    ],
)
def test_a_row_whose_slots_cannot_be_used_is_a_sentence_or_left_out(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    whole = {"id": "x", "text": "dim light", "intent": "lights", "split": "train"}
    bad = {**whole, "tokens": ["dim", "light"], "slots": ["O", "O"], **row}
    with pytest.raises(BadInput, match=said):
        kind_of(tmp_path, "joint", bad)
    assert kind_of(tmp_path, "joint", bad, skip_bad_rows=True).train.table.num_rows == 80


def test_a_task_without_any_slot_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected tokens and slots, found none"):
        gold_of(write_task(tmp_path / "task.jsonl"), kind="joint")
    with pytest.raises(BadInput, match="no row whose slots can be used"):
        gold_of(write_task(tmp_path / "task.jsonl"), kind="slots", skip_bad_rows=True)


def test_rows_out_of_scope_are_no_class_and_stay_in_the_test(tmp_path: Path) -> None:
    extra = {"id": "o", "text": "please now", "intent": "oos", "split": "train"}
    gold = kind_of(tmp_path, "out-of-scope", extra, test_split=["test", "oos_test"])
    assert gold.classes == ("lights", "music", "travel", "weather")
    assert (gold.train.table.num_rows, gold.test.table.num_rows, gold.unseen_labels) == (80, 60, 0)
    assert gold.test.labels.count("oos") == 20


@pytest.mark.parametrize(("splits", "side"), [(["test"], "none"), (["oos_test"], "nothing but rows")])
def test_a_test_of_one_side_of_the_scope_is_a_sentence(tmp_path: Path, splits: list[str], side: str) -> None:
    with pytest.raises(BadInput, match=f"has {side} with the intent 'oos' in split .*list both splits"):
        kind_of(tmp_path, "out-of-scope", test_split=splits)


@pytest.mark.parametrize(
    ("label", "settings", "said"),
    [
        ("high", {}, "row 30: expected an amount as label, found 'high'"),
        ("nan", {}, "expected an amount as label, found 'nan'"),
        ("1.0", {"shots": 3}, "is an amount; leave it out"),
    ],
)
def test_a_regression_of_what_is_no_amount_is_a_sentence(
    tmp_path: Path, label: str, settings: dict[str, Any], said: str
) -> None:
    row = {"id": "30", "text": "a", "text_pair": "b", "label": label, "split": "train"}
    with pytest.raises(BadInput, match=said):
        kind_of(tmp_path, "regression", row, target="label", **settings)
