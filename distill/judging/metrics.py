"""The metrics: each a function of what a model said beside the gold labels, and of how often every row counts.

Counted once each, the rows give the score; counted as often as a bootstrap drew them, they give its interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from distill.reporting.figures import percent, thousandths
from distill.settings.task import Kind

CALIBRATION_BINS = 15

Array = npt.NDArray[Any]
Weights = npt.NDArray[np.float64]  # (R, n): how often row i counts in the r-th resample


@dataclass(frozen=True, eq=False)
class Judged:
    """Test rows beside what one model said of them, (n,) each; None for what the task has not.

    `gold` and `said` are codes of classes, or amounts. `confidence` is the highest probability of a class, `entropy`
    of all of them. Slots are counted a row: `right`, of the `reference`, said at all, and errors.
    """

    gold: Array | None = None
    said: Array | None = None
    confidence: Array | None = None
    entropy: Array | None = None
    in_scope: Array | None = None
    right_slots: Array | None = None
    reference_slots: Array | None = None
    said_slots: Array | None = None
    slot_errors: Array | None = None

    @property
    def rows(self) -> int:
        columns = (self.gold, self.slot_errors)
        return len(next(column for column in columns if column is not None))


@dataclass(frozen=True)
class Metric:
    """`measure` gives one score a row of weights, (R,); NaN where it has nothing to go by.

    `evidence` is what a row adds to it, (n,): two models that are alike in it on a row do not differ there.
    """

    title: str
    formula: str
    measure: Callable[[Judged, Weights], npt.NDArray[np.float64]]
    evidence: Callable[[Judged], npt.NDArray[np.float64]]
    is_error: bool = False  # the lower the better
    is_share: bool = True  # else a correlation

    @property
    def inline(self) -> str:
        """The title inside a sentence; what is named after a person, or an abbreviation, stays as it is."""
        return self.title[0].lower() + self.title[1:] if self.title[1:2].islower() and not self._is_name else self.title

    @property
    def _is_name(self) -> bool:
        return self.title in ("Spearman", "Pearson", "Matthews", "SemER")

    @property
    def text(self) -> Callable[[float | None], str]:
        """How its values read: 0.8071 as '80.7 %', of a correlation as '0.807'."""
        return percent if self.is_share else thousandths

    def __call__(self, judged: Judged) -> float:
        """The metric of these rows, each counted once."""
        return float(self.measure(judged, np.ones((1, judged.rows)))[0])


def metrics_of(kind: Kind, judged: Judged) -> tuple[str, ...]:
    """What these rows can be judged by; the first one decides. Without confidences there is no calibration."""
    return tuple(name for name in METRICS_OF[kind] if name != "ece" or judged.confidence is not None)


def _accuracy(judged: Judged, weights: Weights) -> Weights:
    weights = _in_scope(judged, weights)
    return _ratio(weights @ _correct(judged), weights.sum(axis=1))


def _macro_f1(judged: Judged, weights: Weights) -> Weights:
    hits, gold, said = _class_sums(judged, weights)
    return _ratio(_ratio(2 * hits, gold + said).sum(axis=1), ((gold + said) > 0).sum(axis=1))


def _weighted_f1(judged: Judged, weights: Weights) -> Weights:
    hits, gold, said = _class_sums(judged, weights)
    return _ratio((gold * _ratio(2 * hits, gold + said)).sum(axis=1), gold.sum(axis=1))


def _matthews(judged: Judged, weights: Weights) -> Weights:
    hits, gold, said = _class_sums(judged, weights)
    right, rows = hits.sum(axis=1), gold.sum(axis=1)
    spread = (rows**2 - (said**2).sum(axis=1)) * (rows**2 - (gold**2).sum(axis=1))
    return _ratio(right * rows - (gold * said).sum(axis=1), np.sqrt(spread))


def _calibration(judged: Judged, weights: Weights) -> Weights:
    assert judged.confidence is not None
    weights = _in_scope(judged, weights)
    bins = np.clip(np.ceil(judged.confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = weights @ (np.eye(CALIBRATION_BINS)[bins] * -_overconfidence(judged)[:, None])
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def _scope_by_probability(judged: Judged, weights: Weights) -> Weights:
    return _auroc(_unsure(judged), judged, weights)


def _scope_by_entropy(judged: Judged, weights: Weights) -> Weights:
    return _auroc(_entropy(judged), judged, weights)


def _pearson(judged: Judged, weights: Weights) -> Weights:
    gold, said = (np.broadcast_to(column - column.mean(), weights.shape) for column in (_gold(judged), _said(judged)))
    return _correlation(gold, said, weights)


def _spearman(judged: Judged, weights: Weights) -> Weights:
    return _correlation(_ranks(_gold(judged), weights), _ranks(_said(judged), weights), weights)


def _span_f1(judged: Judged, weights: Weights) -> Weights:
    right, reference, said = _slots(judged)
    return _ratio(weights @ (2 * right), weights @ (reference + said))


def _exact_match(judged: Judged, weights: Weights) -> Weights:
    return _ratio(weights @ _whole(judged), weights.sum(axis=1))


def _ir_er(judged: Judged, weights: Weights) -> Weights:
    return _ratio(weights @ (1.0 - _whole(judged)), weights.sum(axis=1))


def _sem_er(judged: Judged, weights: Weights) -> Weights:
    _, reference, _ = _slots(judged)
    return _ratio(weights @ _errors(judged), weights @ (1 + reference))


def _in_scope(judged: Judged, weights: Weights) -> Weights:
    """Labels are judged on the rows that have one."""
    return weights if judged.in_scope is None else weights * judged.in_scope


def _correct(judged: Judged) -> npt.NDArray[np.float64]:
    assert judged.gold is not None
    return np.asarray(judged.gold == judged.said, np.float64)


def _whole(judged: Judged) -> npt.NDArray[np.float64]:
    """1 where neither the label, if there is one, nor any slot is wrong."""
    label = np.ones(judged.rows) if judged.gold is None else _correct(judged)
    return label if judged.slot_errors is None else label * (judged.slot_errors == 0)


def _gold(judged: Judged) -> npt.NDArray[np.float64]:
    assert judged.gold is not None
    return np.asarray(judged.gold, np.float64)


def _said(judged: Judged) -> npt.NDArray[np.float64]:
    assert judged.said is not None
    return np.asarray(judged.said, np.float64)


def _unsure(judged: Judged) -> npt.NDArray[np.float64]:
    assert judged.confidence is not None
    return -np.asarray(judged.confidence, np.float64)


def _entropy(judged: Judged) -> npt.NDArray[np.float64]:
    assert judged.entropy is not None
    return np.asarray(judged.entropy, np.float64)


def _overconfidence(judged: Judged) -> npt.NDArray[np.float64]:
    return -_unsure(judged) - _correct(judged)


def _slots(judged: Judged) -> tuple[npt.NDArray[np.float64], ...]:
    """Right, reference and said, (n,) each."""
    columns = (judged.right_slots, judged.reference_slots, judged.said_slots)
    return tuple(np.asarray(column, np.float64) for column in columns)


def _slot_errors(judged: Judged) -> npt.NDArray[np.float64]:
    right, reference, said = _slots(judged)
    return reference + said - 2 * right


def _errors(judged: Judged) -> npt.NDArray[np.float64]:
    """Of the intent and of the slots together."""
    assert judged.slot_errors is not None
    return np.asarray(judged.slot_errors, np.float64) + (1 - _correct(judged))


def _ratio(above: Array, below: Array) -> Weights:
    """0 / 0 is 0: a class that never stood there, a model that says the same of all rows."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) > 0)


def _class_sums(judged: Judged, weights: Weights) -> tuple[Weights, Weights, Weights]:
    """How often each class was right, gold, and said, (R, C) each."""
    assert judged.gold is not None
    assert judged.said is not None
    weights = _in_scope(judged, weights)
    rows, classes = np.arange(judged.rows), int(max(judged.gold.max(), judged.said.max())) + 1
    hit = _correct(judged)

    def summed(counted: Array, codes: Array) -> Weights:
        return np.asarray(weights @ csr_array((counted, (rows, codes)), shape=(len(rows), classes)))

    ones = np.ones(len(rows))
    return summed(hit, judged.gold), summed(ones, judged.gold), summed(ones, judged.said)


def _auroc(outside_score: Array, judged: Judged, weights: Weights) -> Weights:
    """The Mann-Whitney statistic; NaN where a resample drew rows of one side only."""
    assert judged.in_scope is not None
    order = np.argsort(outside_score, kind="stable")
    starts = np.flatnonzero(np.diff(outside_score[order], prepend=-np.inf))
    inside = np.add.reduceat((weights * judged.in_scope)[:, order], starts, axis=1)
    outside = np.add.reduceat((weights * ~judged.in_scope)[:, order], starts, axis=1)
    won = (outside * (inside.cumsum(axis=1) - inside / 2)).sum(axis=1)
    pairs = inside.sum(axis=1) * outside.sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def _ranks(values: npt.NDArray[np.float64], weights: Weights) -> Weights:
    """The rank of each row among the rows as often as they count, (R, n); equal values share the middle one."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    groups = np.add.reduceat(weights[:, order], starts, axis=1)
    group_of = np.empty(len(values), np.int64)
    group_of[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return (groups.cumsum(axis=1) - groups / 2)[:, group_of]


def _correlation(one: Array, other: Array, weights: Weights) -> Weights:
    rows = weights.sum(axis=1, keepdims=True)
    one, other = (_centred(column, weights, rows) for column in (one, other))
    covariance, *variances = ((weights * product).sum(axis=1) for product in (one * other, one * one, other * other))
    return _ratio(covariance, np.sqrt(variances[0] * variances[1]))


def _centred(column: Array, weights: Weights, rows: Weights) -> Array:
    """A column about its weighted mean; what is only the rounding of a constant is 0, lest it correlate."""
    about = column - (weights * column).sum(axis=1, keepdims=True) / rows
    return np.where(np.abs(about) <= 8 * np.finfo(np.float64).eps * np.abs(column), 0.0, about)


METRICS = MappingProxyType(
    {
        "accuracy": Metric("Accuracy", "rows with the right label / rows", _accuracy, _correct),
        "macro_f1": Metric("Macro F1", "mean over classes of 2 · right / (gold + said)", _macro_f1, _correct),
        "weighted_f1": Metric("Weighted F1", "the same, each class weighted by its gold rows", _weighted_f1, _correct),
        "matthews": Metric(
            "Matthews",
            "(c s − Σ pₖ tₖ) / √((s² − Σ pₖ²) (s² − Σ tₖ²)); c of s rows right, class k said pₖ times, gold tₖ times",
            _matthews,
            _correct,
            is_share=False,
        ),
        "ece": Metric(
            "Calibration error",
            f"Σ over {CALIBRATION_BINS} bins of the confidence of (rows in it / rows) · |accuracy − mean confidence|",
            _calibration,
            _overconfidence,
            is_error=True,
        ),
        "spearman": Metric(
            "Spearman",
            "Pearson’s correlation of the ranks, equal amounts sharing theirs",
            _spearman,
            _said,
            is_share=False,
        ),
        "pearson": Metric("Pearson", "cov(gold, said) / (σ(gold) σ(said))", _pearson, _said, is_share=False),
        "span_f1": Metric(
            "Span F1",
            "2 · right / (reference + said) slots; right: of the same kind and words (seqeval)",
            _span_f1,
            _slot_errors,
        ),
        "exact_match": Metric("Exact match", "rows without any error / rows = 1 − IRER", _exact_match, _whole),
        "sem_er": Metric(
            "SemER",
            "(intent errors + slot errors) / (rows + reference slots); slot errors = substitutions + deletions + "
            "insertions, a substitution being a wrong slot that overlaps a missed one",
            _sem_er,
            _errors,
            is_error=True,
        ),
        "ir_er": Metric("IRER", "rows with any error / rows", _ir_er, _whole, is_error=True),
        "oos_auroc": Metric(
            "Out-of-scope AUROC",
            "the chance that a row out of scope has a lower highest probability than one in scope, equals half",
            _scope_by_probability,
            _unsure,
        ),
        "oos_auroc_entropy": Metric(
            "Out-of-scope AUROC, entropy",
            "the chance that a row out of scope has probabilities of a higher entropy than one in scope, equals half",
            _scope_by_entropy,
            _entropy,
        ),
    }
)

# What each kind is judged by. The first decides a comparison, the second stands beside it.
METRICS_OF: MappingProxyType[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "classes": ("accuracy", "macro_f1", "weighted_f1", "matthews", "ece"),
        "regression": ("spearman", "pearson"),
        "slots": ("span_f1", "exact_match"),
        "joint": ("exact_match", "span_f1", "accuracy", "macro_f1", "sem_er", "ir_er"),
        "out-of-scope": ("oos_auroc", "accuracy", "oos_auroc_entropy", "macro_f1", "ece"),
    }
)
