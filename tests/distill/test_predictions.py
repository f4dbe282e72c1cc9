"""Predictions: scores equal the references, and rows are known by id, not by place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from contract.artifact import open_artifact
from contract.errors import BadInput, CorruptArtifact
from contract.run import RUN_VERSION
from contract.store import Store
from distill.judging.metrics import METRICS
from distill.judging.predictions import Predictions, predictions_of, read_predictions
from tests.distill.runs import keep_run, make_predictions, make_report

ROWS = st.lists(st.tuples(*[st.sampled_from("abcdef")] * 3), min_size=1, max_size=60)


def table_of(rows: list[tuple[str, ...]]) -> pa.Table:
    gold, predicted, teacher = zip(*rows, strict=True)
    return pa.table(
        {"id": [f"r{n}" for n in range(len(rows))], "gold": gold, "predicted": predicted, "teacher": teacher}
    )


@given(ROWS)
@settings(deadline=None)
def test_scores_equal_those_of_scikit_learn(rows: list[tuple[str, ...]]) -> None:
    gold, predicted, teacher = zip(*rows, strict=True)
    said = predictions_of(table_of(rows))
    for judged, answers in ((said.student, predicted), (said.teacher, teacher)):
        expected = f1_score(gold, answers, average="macro", zero_division=0)
        assert METRICS["macro_f1"](judged) == pytest.approx(expected)
        assert METRICS["accuracy"](judged) == pytest.approx(accuracy_score(gold, answers))
    assert said.agreement == pytest.approx(accuracy_score(teacher, predicted))


@given(ROWS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_rows_in_the_file_does_not_matter(rows: list[tuple[str, ...]], random: object) -> None:
    table = table_of(rows)
    order = np.arange(len(rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = predictions_of(table), predictions_of(table.take(pa.array(order)))
    assert one.ids == other.ids
    assert one.test_id == other.test_id
    assert np.array_equal(correct(one), correct(other))


def test_the_test_id_changes_with_the_gold_labels_and_with_the_ids_and_with_nothing_else() -> None:
    base = predictions_of(table_of([("a", "a", "a"), ("b", "b", "b")]))
    other_answers = predictions_of(table_of([("a", "b", "c"), ("b", "a", "d")]))
    other_gold = predictions_of(table_of([("a", "a", "a"), ("c", "b", "b")]))
    fewer = predictions_of(table_of([("a", "a", "a")]))
    assert base.test_id == other_answers.test_id
    assert len({base.test_id, other_gold.test_id, fewer.test_id}) == 3


def test_a_label_only_the_student_says_counts_as_a_class_with_no_hit() -> None:
    said = predictions_of(table_of([("a", "a", "a"), ("a", "z", "a")]))
    assert METRICS["macro_f1"](said.student) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize(
    "broken",
    [
        {"id": ["x", "x"], "gold": ["a", "b"], "predicted": ["a", "b"], "teacher": ["a", "b"]},
        {"id": ["x", "y"], "gold": ["a", None], "predicted": ["a", "b"], "teacher": ["a", "b"]},
        {"id": ["x", "y"], "gold": ["a", "b"], "teacher": ["a", "b"]},
        {"id": [], "gold": [], "predicted": [], "teacher": []},
    ],
    ids=["an id twice", "a label missing", "no student", "no rows"],
)
def test_a_broken_file_of_predictions_is_a_sentence(tmp_path: Path, broken: dict[str, list[str | None]]) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1"), pa.table(broken))
    with pytest.raises(CorruptArtifact, match=r"predictions.parquet does not hold one row .* distil the run again"):
        read_kept(store)


def test_a_teacher_without_answers_has_no_columns() -> None:
    table = table_of([("a", "a", "a"), ("b", "a", "b")]).drop_columns(["teacher"])
    said = predictions_of(table)
    assert said.teacher is None
    assert said.agreement is None
    assert METRICS["accuracy"](said.student) == 0.5


def test_a_run_without_predictions_is_a_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1"), with_predictions=False)
    with pytest.raises(BadInput, match=r"Run r1 has no predictions\.parquet"):
        read_kept(store)


def test_predictions_that_were_changed_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = keep_run(store, make_report("r1")) / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptArtifact, match="does not match the sha256"):
        read_kept(store)


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_run(store, make_report("r1"), make_predictions(0.75, rows=200, shuffled=True))
    assert correct(read_kept(store)).mean() == 0.75


def correct(said: Predictions) -> np.ndarray:
    return np.asarray(said.student.gold == said.student.said)


def read_kept(store: Store) -> Predictions:
    return read_predictions(open_artifact(store.path("run", "r1"), "run", version=RUN_VERSION), "r1")
