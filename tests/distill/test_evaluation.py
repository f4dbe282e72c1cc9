"""Evaluation: scores by hand, and against what the comparison computes of the same predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.config import TaskConfig
from distill.evaluation import predicted_labels, predictions_table, score_student, score_teacher
from distill.gold import read_gold
from distill.predictions import predictions_of
from tests.distill.tiny import write_task


def test_scores_are_those_by_hand() -> None:
    gold, predicted, teacher = list("aabbcd"), list("aabbba"), list("aabbcc")
    scores = score_student(gold, predicted, teacher)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.agreement == pytest.approx(4 / 6)
    assert scores.macro_f1 == pytest.approx((2 * 2 / 5 + 2 * 2 / 5 + 0 + 0) / 4)
    assert score_teacher(gold, gold).macro_f1 == 1.0


@given(st.lists(st.tuples(*[st.sampled_from("abcd")] * 2), min_size=40, max_size=40), st.randoms())
@settings(max_examples=25, deadline=None)
def test_a_report_and_a_comparison_say_the_same(said: list[tuple[str, str]], draw: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        gold = read_gold(TaskConfig(path=write_task(Path(folder) / "task.jsonl")))
    predicted, teacher = ([gold.test.labels[0] + word for word in column] for column in zip(*said, strict=True))
    predicted[::2] = gold.test.labels[::2]
    scores = score_student(gold.test.labels, predicted, teacher)
    compared = predictions_of(predictions_table(gold, predicted, teacher))
    assert scores.accuracy == pytest.approx(float(compared.correct.mean()))
    assert scores.macro_f1 == pytest.approx(compared.macro_f1)
    assert scores.agreement == pytest.approx(compared.agreement)


def test_the_highest_logit_is_the_label_the_first_of_equals() -> None:
    assert predicted_labels(np.array([[0, 2, 1], [3, 3, 0]], np.float32), "abc") == ["b", "a"]
