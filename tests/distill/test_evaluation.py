"""Evaluation: what a model says is read out of its logits, and a report says what a comparison computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.judging.evaluation import Answers, answers_of, measured, predictions_table
from distill.judging.metrics import METRICS
from distill.judging.predictions import predictions_of
from distill.models.logits import Logits
from distill.reading.gold import Gold, read_gold
from distill.settings.task import TaskConfig
from tests.distill.tiny import write_task


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return read_gold(TaskConfig(path=write_task(tmp_path_factory.mktemp("task") / "task.jsonl")))


@given(st.lists(st.tuples(*[st.sampled_from("abcd")] * 2), min_size=40, max_size=40))
@settings(max_examples=15, deadline=None)
def test_a_report_and_a_comparison_say_the_same(gold: Gold, said: list[tuple[str, str]]) -> None:
    predicted, teacher = ([gold.test.labels[0] + word for word in column] for column in zip(*said, strict=True))
    predicted[::2] = gold.test.labels[::2]
    reported = measured(gold, None, Answers(predicted), Answers(teacher))
    compared = predictions_of(predictions_table(gold, Answers(predicted), Answers(teacher)))
    for name in ("accuracy", "macro_f1", "weighted_f1", "matthews"):
        assert reported.finetuned[name] == METRICS[name](compared.student)
        low, high = reported.intervals[name]
        assert low - 0.05 <= reported.finetuned[name] <= high + 0.05
    assert reported.finetuned["agreement"] == compared.agreement
    assert "ece" not in reported.finetuned, "nothing is said of calibration where no confidence was kept"


def test_the_highest_logit_is_the_label_the_first_of_equals_and_its_share_the_confidence(gold: Gold) -> None:
    logits = np.zeros((40, 4), np.float32)
    logits[0] = [0, 2, 1, 0]
    answers = answers_of(Logits(logits, None), gold)
    assert answers.labels is not None
    assert answers.confidence is not None
    assert answers.labels[:2] == ["music", "lights"]
    assert answers.confidence[:2] == pytest.approx([np.exp(2) / (np.exp(2) + np.exp(1) + 2), 0.25], abs=1e-6)
