"""Claims of judgements: probabilities of stored logits, each measure as it is defined, however many texts there are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from distill.reading.texts import CHUNK
from distill.selecting.judgement import MEASURES, judge

LOGITS = arrays.arrays(
    np.float16, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-30, 30, width=16)
)


def measured(logits: np.ndarray, by: str) -> np.ndarray:
    found = judge(logits.astype(np.float16), by).measured  # type: ignore[arg-type]
    assert found is not None
    return found


@settings(deadline=None)
@given(LOGITS)
def test_each_measure_is_as_defined(logits: np.ndarray) -> None:
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    ordered = np.sort(probabilities, axis=1)
    assert measured(logits, "confidence") == pytest.approx(ordered[:, -1])
    assert measured(logits, "margin") == pytest.approx(ordered[:, -1] - ordered[:, -2])
    assert measured(logits, "entropy") == pytest.approx(scipy.stats.entropy(probabilities, axis=1), abs=1e-12)


@settings(deadline=None)
@given(LOGITS)
def test_a_class_is_the_likeliest_and_its_probability_the_confidence(logits: np.ndarray) -> None:
    found = judge(logits, "entropy")
    assert found.classes.tolist() == logits.argmax(1).tolist()
    assert found.confidence == pytest.approx(measured(logits, "confidence"))
    assert judge(logits, "random").measured is None


def test_measures_go_their_own_way() -> None:
    """Of a sure text, one torn between two classes, and one that knows nothing."""
    logits = np.array([[9, 0, 0, 0], [3, 3, 0, 0], [0, 0, 0, 0]], np.float16)
    assert np.argsort(-measured(logits, "confidence")).tolist() == [0, 1, 2]
    assert np.argsort(-measured(logits, "entropy")).tolist() == [2, 1, 0]
    assert measured(logits, "margin")[1:].tolist() == [0.0, 0.0]
    assert measured(np.array([[60000, -60000]]), "entropy").tolist() == [0.0], "nothing is not a number"


@pytest.mark.parametrize("by", sorted(MEASURES))
def test_texts_are_judged_alike_in_whatever_company(by: str) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (CHUNK + 7, 3)).astype(np.float16)
    assert np.array_equal(measured(logits, by)[-9:], measured(logits[-9:], by))
