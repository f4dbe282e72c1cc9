"""Predictions: what a student says of a text, whoever stands beside it, in whatever file it came."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadInput, NotFound
from contract.rows import BadRow, refuse_bad_rows
from contract.store import Store
from distill.reading.slots import repair, slots_of
from distill.reading.words import split_words
from distill.settings.task import Kind
from distill.shipping.forms import FORMS, FormName, Heard, Spoken
from distill.shipping.meaning import KEPT_IN_SCOPE, Meaning
from distill.shipping.prediction import (
    BATCH_ROWS,
    Prediction,
    Predictor,
    Slot,
    open_predictor,
    predictions_of,
    read_file,
    slots_in,
)
from tests.distill.kinds import TOPIC_OF
from tests.distill.shipped import Shipped, make_run
from tests.distill.tiny import utterances

CLASSES = Meaning("classes", "intent", 64, 0, ("a", "b", "c"), pairs=False)
PAIRS = replace(CLASSES, pairs=True)
TAGS = ("O", "B-x", "I-x", "B-y", "I-y")
SLOTS = Meaning("slots", "slots", 64, 0, (), TAGS)


class Parrot:
    """A form that says the same of every text, and remembers how many it was asked about at a time."""

    def __init__(self, logits: Sequence[float]) -> None:
        self._logits = logits
        self.asked: list[int] = []

    def speak(self, heard: Sequence[Heard]) -> Spoken:
        self.asked.append(len(heard))
        return Spoken(np.array([self._logits] * len(heard), np.float32), None)


# What the numbers mean


@given(st.lists(st.sampled_from(TAGS), max_size=12))
@settings(deadline=None)
def test_slots_are_those_that_seqeval_reads(tags: list[str]) -> None:
    text = " ".join(f"w{number}" for number in range(len(tags)))
    words = split_words(text)
    logits = np.array([[10.0 * (tag == said) for tag in TAGS] for said in tags], np.float32).reshape(-1, len(TAGS))
    found = [(slot.kind, slot.start, slot.end) for slot in slots_in(logits, Heard(text, None, words), TAGS)]
    assert found == [(kind, words[first][0], words[last][1]) for kind, first, last in slots_of(repair(tags))]


def test_a_slot_has_its_words_as_they_stand_in_the_text_and_an_unread_word_is_outside() -> None:
    text = "play  Miles   Davis now"
    logits = np.full((4, 5), np.nan, np.float32)
    logits[:3] = np.eye(5)[[0, 1, 2]]
    (said,) = predictions_of(Spoken(None, logits), [Heard(text, None, split_words(text))], SLOTS)
    assert said.slots == (Slot("x", "Miles   Davis", 6, 19),)
    assert said.to_json() == {"slots": [{"kind": "x", "text": "Miles   Davis", "start": 6, "end": 19}]}


def test_a_label_comes_with_its_probability_also_where_logits_are_huge() -> None:
    spoken = Spoken(np.array([[0, np.log(3), 0], [1e5, 1e5, -1e5]], np.float32), None)
    first, tie = predictions_of(spoken, [Heard("x")] * 2, CLASSES)
    assert first == Prediction("b", 0.6)
    assert tie == Prediction("a", 0.5), "the first of equals"
    assert first.to_json() == {"label": "b", "probability": 0.6}


@given(st.floats(0, 1), st.floats(-3, 3))
@settings(deadline=None)
def test_a_text_is_out_of_scope_below_the_threshold_and_only_there(threshold: float, logit: float) -> None:
    meaning = replace(CLASSES, kind="out-of-scope", threshold=threshold)
    (said,) = predictions_of(Spoken(np.array([[logit, 0, 0]], np.float32), None), [Heard("x")], meaning)
    assert said.probability is not None
    assert said.out_of_scope == (said.probability < threshold)
    assert said.label == (None if said.out_of_scope else said.nearest)
    assert said.to_json()["label"] == said.label
    assert said.to_json()["nearest"] in CLASSES.classes


def test_an_amount_is_an_amount() -> None:
    meaning = replace(CLASSES, kind="regression", classes=())
    (said,) = predictions_of(Spoken(np.array([[3.25]], np.float32), None), [Heard("x")], meaning)
    assert said == Prediction(amount=3.25)
    assert said.to_json() == {"amount": 3.25}


@pytest.mark.parametrize(
    ("heard", "meaning", "told"),
    [
        (Heard(" \t"), CLASSES, "expected a text, found nothing"),
        (Heard("a"), PAIRS, "expected a second sentence"),
        (Heard("a", "b"), CLASSES, "expected a single text"),
        (Heard("a", "b"), SLOTS, "expected a single text"),
    ],
)
def test_a_text_it_cannot_read_is_a_sentence(heard: Heard, meaning: Meaning, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Predictor(Parrot([1, 2, 3]), meaning).predict([heard])


def test_where_nobody_said_whether_it_is_of_pairs_both_are_read() -> None:
    predictor = Predictor(Parrot([1, 2, 3]), replace(CLASSES, pairs=None))
    assert len(predictor.predict([Heard("a"), Heard("a", "b")])) == 2
    assert predictor.predict([]) == []


# Files


def rows_of(path: Path, meaning: Meaning = CLASSES, **columns: str) -> list[tuple[Any, Heard]]:
    return [row for rows in read_file(path, meaning, columns=columns, on_bad_row=refuse_bad_rows) for row in rows]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    elif path.suffix == ".txt":
        path.write_text("".join(row["text"] + "\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["f.jsonl", "f.parquet", "f.jsonl.gz", "f.txt"])
def test_a_file_is_read_in_its_order_whatever_its_form(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [{"text": f"text {number}"} for number in range(1200)])
    assert rows_of(path) == [(number, Heard(f"text {number - 1}")) for number in range(1, 1201)]


def test_a_file_is_asked_about_some_rows_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path / "f.txt", [{"text": "text"}] * (2 * BATCH_ROWS + 1))
    parrot = Parrot([1, 2, 3])
    for rows in read_file(path, CLASSES, columns={}, on_bad_row=refuse_bad_rows):
        Predictor(parrot, CLASSES).predict([heard for _, heard in rows])
    assert parrot.asked == [BATCH_ROWS, BATCH_ROWS, 1]


def test_ids_pairs_words_and_other_names_are_read(tmp_path: Path) -> None:
    pairs = write(tmp_path / "f.jsonl", [{"id": "q1", "sentence1": "a b", "sentence2": "c"}])
    assert rows_of(pairs, PAIRS) == [("q1", Heard("a b", "c"))]
    words = write(tmp_path / "w.jsonl", [{"said": "it's on", "tokens": ["it", "'s", "on"]}])
    assert rows_of(words, SLOTS, text="said") == [(1, Heard("it's on", None, [(0, 2), (2, 4), (5, 7)]))]


def test_bad_rows_are_told_by_their_place_and_the_others_answered(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"text": "one"}\n{"text": ""}\nnot json\n{"text": "four", "text_pair": "x"}\n{"text": "five"}\n')
    bad: list[BadRow] = []
    rows = [row for rows in read_file(path, CLASSES, columns={}, on_bad_row=bad.append) for row in rows]
    assert rows == [(1, Heard("one")), (5, Heard("five"))]
    assert sorted((each.row, each.column) for each in bad) == [(2, "text"), (3, ""), (4, "text_pair")]
    with pytest.raises(BadInput, match="row 2"):
        rows_of(path)
    path.write_text('{"text": "a b", "tokens": ["a", "c"]}\n')
    with pytest.raises(BadInput, match="row 1, column 'tokens': expected words that stand one after the other"):
        rows_of(path, SLOTS)


@pytest.mark.parametrize("column", ["intent", "nonsense"])
def test_a_column_it_does_not_read_is_refused(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "f.jsonl", [{"text": "a"}])
    with pytest.raises(BadInput, match="a prediction reads only id, text, text_pair, tokens"):
        rows_of(path, **{column: "text"})
    with pytest.raises(BadInput, match="has no column 'gone'"):
        rows_of(path, text="gone")


# Students


@pytest.mark.parametrize("kind", ["classes", "joint"])
@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_answered_the_same_whoever_stands_beside_it(
    shipped_kind: Callable[[Kind], Shipped], kind: Kind, form: FormName
) -> None:
    """To the bit in int8, where each text goes alone; else to the rounding of another batch."""
    shipped = shipped_kind(kind)
    predictor = open_predictor(shipped.store, "r1", form)
    texts = [Heard(text) for text, _ in utterances(30, 9)]
    together, alone = predictor.predict(texts), [predictor.predict([each])[0] for each in texts]
    backwards = predictor.predict(texts[::-1])[::-1]
    assert [(each.label, each.slots) for each in together] == [(each.label, each.slots) for each in alone]
    if form == "int8":
        assert together == alone == backwards
    for one, other in zip(together, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_joint_student_says_the_class_and_the_slots(shipped_kind: Callable[[Kind], Shipped], form: FormName) -> None:
    predictor = open_predictor(shipped_kind("joint").store, "r1", form)
    said = predictor.predict([Heard(text) for text, _ in utterances(40, 11)])
    right = [each.label == intent for each, (_, intent) in zip(said, utterances(40, 11), strict=True)]
    assert np.mean(right) > 0.6
    slots = [slot for each in said for slot in each.slots or ()]
    assert np.mean([TOPIC_OF.get(slot.text) == slot.kind for slot in slots]) > 0.6
    assert {slot.kind for slot in slots} > {"music"}


def test_the_threshold_of_a_run_keeps_its_share_of_the_test_rows_in_scope(tmp_path: Path) -> None:
    store, _, run = make_run(tmp_path / "w", "out-of-scope", distill={"updates": 30})
    predictor = open_predictor(store, "r1")
    threshold = predictor.meaning.threshold
    assert threshold is not None
    table = pq.read_table(run.path("predictions.parquet"))
    inside = table["confidence"].to_numpy()[table["in_scope"].to_numpy(zero_copy_only=False)]
    assert np.mean(inside >= threshold) >= KEPT_IN_SCOPE
    assert np.mean(inside > threshold) <= KEPT_IN_SCOPE, "none higher keeps as many"
    never, ever = (open_predictor(store, "r1", threshold=chosen) for chosen in (0.0, 1.0))
    heard = [Heard("lamp bulb please")]
    assert [predictor.predict(heard)[0].out_of_scope for predictor in (never, ever)] == [False, True]


def test_an_exported_folder_answers_alone_by_its_path(shipped_kind: Callable[[Kind], Shipped], tmp_path: Path) -> None:
    shipped = shipped_kind("classes")
    heard = [Heard(text) for text, _ in utterances(8, 3)]
    of_run = open_predictor(shipped.store, "r1").predict(heard)
    of_folder = open_predictor(Store(tmp_path / "empty"), f"{shipped.export.directory}/").predict(heard)
    for one, other in zip(of_run, of_folder, strict=True):
        assert (one.label, one.probability) == (other.label, pytest.approx(other.probability, abs=1e-4))


def test_what_cannot_be_asked_is_a_sentence(shipped_kind: Callable[[Kind], Shipped], tmp_path: Path) -> None:
    shipped = shipped_kind("classes")
    alone = Store(tmp_path / "alone")
    with pytest.raises(NotFound, match="There is no run"):
        open_predictor(alone, "r1")
    with pytest.raises(NotFound, match="transferset export r2"):
        open_predictor(shipped.store, "r2", "int8")
    with pytest.raises(NotFound, match="There is no export"):
        open_predictor(alone, f"{tmp_path}/nothing")
    with pytest.raises(BadInput, match="--threshold means nothing"):
        open_predictor(shipped.store, "r1", threshold=0.5)


def test_the_export_of_another_run_under_the_same_name_is_not_asked(
    shipped_kind: Callable[[Kind], Shipped], tmp_path: Path
) -> None:
    import shutil

    store, *_ = make_run(tmp_path / "w", "classes", distill={"updates": 3})
    shutil.copytree(shipped_kind("classes").export.directory, store.path("export", "r1"))
    with pytest.raises(BadInput, match="is of another run"):
        open_predictor(store, "r1", "int8")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["x" * 20_000, "lamp " * 5_000, "\u202e🤖 \x00 bulb", "[SEP] [CLS] [MASK]", "٤ ５ ⅷ"])
def test_any_text_is_answered(shipped_kind: Callable[[Kind], Shipped], form: FormName, text: str) -> None:
    for kind in ("classes", "joint"):
        (said,) = open_predictor(shipped_kind(kind).store, "r1", form).predict([Heard(text)])  # type: ignore[arg-type]
        assert said.label is not None
