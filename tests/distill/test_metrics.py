"""The metrics: those of scikit-learn, scipy and seqeval, on the rows as often as they count; SemER by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from distill.judging.metrics import CALIBRATION_BINS, METRICS, METRICS_OF, Judged, Metric
from distill.judging.predictions import predictions_of
from distill.reading.slots import repair

CODES = st.integers(0, 4)
CLASSES = st.lists(st.tuples(CODES, CODES, st.integers(0, 3)), min_size=2, max_size=25)
AMOUNTS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5, 4.0]), st.sampled_from([-1.5, 0.0, 0.5, 3.0]), st.integers(0, 3)),
    min_size=3,
    max_size=25,
)
TAGS = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"])
ROW = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(TAGS, min_size=n, max_size=n).map(repair)] * 2))
SLOTS = st.lists(st.tuples(ROW, CODES, CODES), min_size=1, max_size=8)


def counted(metric: str, judged: Judged, times: np.ndarray) -> float:
    return float(METRICS[metric].measure(judged, times[None].astype(float))[0])


@given(CLASSES)
@settings(max_examples=150, deadline=None)
def test_of_classes_they_are_scikit_learns_on_rows_that_count_several_times(rows: list[tuple[int, int, int]]) -> None:
    gold, said, times = map(np.array, zip(*rows, strict=True))
    assume(times.sum())
    judged = Judged(gold=gold, said=said)
    one, other = np.repeat(gold, times), np.repeat(said, times)
    assert counted("accuracy", judged, times) == pytest.approx(accuracy_score(one, other))
    for name in ("macro", "weighted"):
        expected = f1_score(one, other, average=name, zero_division=0)
        assert counted(f"{name}_f1", judged, times) == pytest.approx(expected)
    if len(np.unique(one)) > 1 and len(np.unique(other)) > 1:
        assert counted("matthews", judged, times) == pytest.approx(matthews_corrcoef(one, other))


@given(AMOUNTS)
@example([(0.0, -1.5, 0), (0.0, -1.5, 0), (1.0, 0.5, 3)])  # one amount alone, whose rounding must not correlate
@settings(max_examples=150, deadline=None)
def test_of_amounts_they_are_scipys_on_rows_that_count_several_times(rows: list[tuple[float, float, int]]) -> None:
    gold, said, times = map(np.array, zip(*rows, strict=True))
    assume(times.sum())
    judged = Judged(gold=gold, said=said)
    one, other = np.repeat(gold, times.astype(int)), np.repeat(said, times.astype(int))
    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        assert counted("pearson", judged, times) == pytest.approx(0, abs=1e-6)
        return
    assert counted("pearson", judged, times) == pytest.approx(pearsonr(one, other).statistic, abs=1e-9)
    assert counted("spearman", judged, times) == pytest.approx(spearmanr(one, other).statistic, abs=1e-9)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.2, 0.4, 0.5, 0.9]), st.integers(0, 3)), min_size=2, max_size=25
    )
)
@settings(max_examples=150, deadline=None)
def test_out_of_scope_it_is_scikit_learns_area(rows: list[tuple[bool, float, int]]) -> None:
    outside, unsure, times = map(np.array, zip(*rows, strict=True))
    judged = Judged(gold=np.zeros(len(rows), int), confidence=1 - unsure, entropy=unsure, in_scope=~outside)
    repeated = np.repeat(outside, times)
    if repeated.all() or not repeated.any():
        assert np.isnan(counted("oos_auroc", judged, times))
        return
    expected = roc_auc_score(repeated, np.repeat(unsure, times))
    assert counted("oos_auroc", judged, times) == pytest.approx(expected)
    assert counted("oos_auroc_entropy", judged, times) == pytest.approx(expected)


def joint(rows: Any) -> pa.Table:
    taggings, gold, said = zip(*rows, strict=True)
    columns = {
        "id": [f"r{row}" for row in range(len(rows))],
        "gold": [str(code) for code in gold],
        "predicted": [str(code) for code in said],
        "teacher": [str(code) for code in gold],
        "gold_slots": [pair[0] for pair in taggings],
        "predicted_slots": [pair[1] for pair in taggings],
        "teacher_slots": [pair[0] for pair in taggings],
    }
    kinds = {name: pa.list_(pa.string()) if name.endswith("slots") else pa.string() for name in columns}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


@given(SLOTS)
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_of_spans_it_is_seqevals(rows: Any) -> None:
    judged = predictions_of(joint(rows)).student
    taggings = [pair for pair, _, _ in rows]
    gold, said = ([pair[which] for pair in taggings] for which in (0, 1))
    times = np.arange(len(rows)) % 3
    for weights in (np.ones(len(rows), int), times) if times.any() else (np.ones(len(rows), int),):
        one, other = ([row for row, n in zip(rows_, weights, strict=True) for _ in range(n)] for rows_ in (gold, said))
        expected = seqeval_f1(one, other, zero_division=0)
        assert counted("span_f1", judged, weights) == pytest.approx(float(expected))
    wrong = [one != other or label != answer for (one, other), label, answer in rows]
    assert METRICS["ir_er"](judged) == pytest.approx(np.mean(wrong))
    assert METRICS["exact_match"](judged) == pytest.approx(1 - np.mean(wrong))


def test_sem_er_by_hand() -> None:
    """Three utterances with 2 + 1 + 0 reference slots; errors: an intent, a substitution, an insertion, a deletion."""
    rows = [
        ((["B-a", "O", "B-b"], ["B-a", "O", "B-c"]), 1, 2),
        ((["O", "B-a"], ["O", "O"]), 3, 3),
        ((["O"], ["B-a"]), 4, 4),
    ]
    judged = predictions_of(joint(rows)).student
    assert METRICS["sem_er"](judged) == pytest.approx((1 + 3) / (3 + 3))
    assert METRICS["ir_er"](judged) == 1.0
    assert METRICS["span_f1"](judged) == pytest.approx(2 * 1 / (3 + 3))


def test_calibration_by_hand() -> None:
    """Two bins: two rows at 0.95 of which one is right, two at 0.5 that are both right."""
    judged = Judged(
        gold=np.array([1, 1, 1, 1]), said=np.array([1, 0, 1, 1]), confidence=np.array([0.95, 0.95, 0.5, 0.5])
    )
    assert METRICS["ece"](judged) == pytest.approx((2 / 4) * 0.45 + (2 / 4) * 0.5)
    assert CALIBRATION_BINS == 15
    certain = Judged(gold=np.array([1, 0]), said=np.array([1, 0]), confidence=np.array([1.0, 1.0]))
    assert METRICS["ece"](certain) == 0


def test_labels_are_judged_on_the_rows_in_scope_alone() -> None:
    judged = Judged(
        gold=np.array([0, 1, 2, 2]),
        said=np.array([0, 0, 1, 0]),
        confidence=np.array([1.0, 1.0, 0.1, 0.1]),
        in_scope=np.array([True, True, False, False]),
    )
    assert METRICS["accuracy"](judged) == 0.5
    assert METRICS["ece"](judged) == 0.5
    assert METRICS["macro_f1"](judged) == pytest.approx((2 / 3 + 0) / 2)
    assert METRICS["oos_auroc"](judged) == 1.0


def some(kind: str) -> Judged:
    draw, n = np.random.default_rng(0), 60
    if kind == "regression":
        return Judged(gold=draw.normal(size=n), said=draw.normal(size=n))
    slots = {
        "right_slots": draw.integers(0, 2, n),
        "reference_slots": draw.integers(2, 4, n),
        "said_slots": draw.integers(2, 4, n),
        "slot_errors": draw.integers(0, 3, n),
    }
    if kind == "slots":
        return Judged(**slots)
    labels = {"gold": draw.integers(0, 5, n), "said": draw.integers(0, 5, n), "confidence": draw.random(n)}
    scope = {"in_scope": draw.random(n) < 0.7, "entropy": draw.random(n)}
    return Judged(**labels, **(slots if kind == "joint" else scope if kind == "out-of-scope" else {}))  # type: ignore[arg-type]


EACH = [(kind, name) for kind, names in METRICS_OF.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_the_order_of_the_rows_changes_nothing_and_their_pairing_does(kind: str, name: str) -> None:
    judged, order = some(kind), np.random.default_rng(1).permutation(60)
    columns = {key: value for key, value in vars(judged).items() if value is not None}
    turned = Judged(**{key: value[order] for key, value in columns.items()})
    assert METRICS[name](turned) == pytest.approx(METRICS[name](judged))
    gold = ("gold", "in_scope", "reference_slots")
    broken = {key: value if key in gold else value[order] for key, value in columns.items()}
    if kind != "slots" and name != "span_f1":  # slots are counted row by row before they come here
        assert METRICS[name](Judged(**broken)) != pytest.approx(METRICS[name](judged), abs=1e-9)


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_a_row_that_never_counts_is_as_if_it_were_not_there(kind: str, name: str) -> None:
    judged = some(kind)
    times = np.random.default_rng(2).integers(0, 2, 60)
    fewer = Judged(**{key: value[times > 0] for key, value in vars(judged).items() if value is not None})
    assert counted(name, judged, times) == pytest.approx(METRICS[name](fewer))


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_where_the_evidence_is_the_same_so_is_the_score(kind: str, name: str) -> None:
    metric: Metric = METRICS[name]
    judged = some(kind)
    assert metric.evidence(judged).shape == (60,)
    columns = {key: value.copy() for key, value in vars(judged).items() if value is not None}
    changed = "slot_errors" if name in ("sem_er", "ir_er", "exact_match") and kind != "classes" else None
    changed = changed or {"span_f1": "right_slots", "oos_auroc": "confidence", "oos_auroc_entropy": "entropy"}.get(
        name, "said"
    )
    columns[changed][:] = columns[changed][::-1]
    assert not np.array_equal(metric.evidence(Judged(**columns)), metric.evidence(judged))


def test_every_metric_is_one_of_some_kind_and_says_how_it_is_computed() -> None:
    assert {name for _, name in EACH} == set(METRICS)
    assert all(metric.formula and metric.title for metric in METRICS.values())
    assert all(not METRICS[names[0]].is_error for names in METRICS_OF.values()), "what decides is the higher the better"


@pytest.mark.parametrize(("name", "inline"), [("accuracy", "accuracy"), ("spearman", "Spearman"), ("sem_er", "SemER"),
                                              ("ir_er", "IRER"), ("oos_auroc", "out-of-scope AUROC")])  # fmt: skip
def test_titles_read_well_inside_a_sentence(name: str, inline: str) -> None:
    assert METRICS[name].inline == inline
