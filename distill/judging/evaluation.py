"""Evaluation: what a model says of the test split, as a table, and the scores made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import entr, softmax

from distill.judging.bootstrap import resample
from distill.judging.metrics import METRICS, Judged, metrics_of
from distill.judging.predictions import Predictions, column_of, predictions_of
from distill.models.logits import Logits
from distill.reading.gold import Gold
from distill.reading.slots import decode
from distill.reporting.outcome import LanguageScores, Metrics

RESAMPLES = 1000  # of the intervals in a report
_DECIMALS = 6  # of a probability: the last bits of an exponential differ from machine to machine


@dataclass(frozen=True)
class Answers:
    """What a model says of the test rows, in the task's order; None for what the task has not."""

    labels: list[str] | None = None
    confidence: list[float] | None = None
    entropy: list[float] | None = None
    amounts: list[float] | None = None
    slots: list[list[str]] | None = None


def answers_of(logits: Logits, gold: Gold) -> Answers:
    """The label of the highest logit of each row (the first one of equals), its amount, its words' tags."""
    slots = None
    if gold.tags:
        assert gold.test.slots is not None
        of_words = logits.slots
        if of_words is None:
            of_words = np.full((len(gold.test.slots.tags), len(gold.tags)), np.nan, np.float32)
        slots = decode(of_words, gold.tags, np.diff(gold.test.slots.spans.offsets))
    if logits.sentence is None:
        return Answers(slots=slots)
    if gold.kind == "regression":
        return Answers(amounts=logits.sentence[:, 0].astype(np.float64).tolist())
    shares = softmax(logits.sentence.astype(np.float64), axis=1)
    entropy = None if gold.out_of_scope is None else entr(shares).sum(axis=1).round(_DECIMALS).tolist()
    labels = [gold.classes[index] for index in logits.sentence.argmax(axis=1)]
    return Answers(labels, shares.max(axis=1).round(_DECIMALS).tolist(), entropy, None, slots)


def answers_table(gold: Gold, answers: Answers) -> pa.Table:
    """What is kept of a teacher's answers."""
    return pa.table({"id": gold.test.table["id"], **_gold_columns(gold), **_answer_columns(answers, "predicted", "")})


def answers_of_table(table: pa.Table) -> Answers:
    """The answers of a table as `answers_table` makes it."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    said = columns.get("predicted")
    amounts = said is not None and pa.types.is_floating(table["predicted"].type)
    return Answers(
        None if amounts else said,
        columns.get("confidence"),
        columns.get("entropy"),
        said if amounts else None,
        columns.get("predicted_slots"),
    )


def predictions_table(gold: Gold, student: Answers, teacher: Answers | None) -> pa.Table:
    """predictions.parquet, in the task's order; without columns of a teacher that has no answers."""
    columns = {
        "id": gold.test.table["id"],
        **_gold_columns(gold),
        **_answer_columns(student, "predicted", ""),
        **(_answer_columns(teacher, "teacher", "teacher_") if teacher else {}),
    }
    if gold.test.table["lang"].null_count < gold.test.table.num_rows:
        columns["lang"] = gold.test.table["lang"]
    return pa.table(columns)


def scores_of(judged: Judged, metrics: Sequence[str]) -> dict[str, float]:
    """Metric by metric."""
    return {metric: METRICS[metric](judged) for metric in metrics}


def intervals_of(judged: Judged, metrics: Sequence[str], *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric: how far other test rows would move it (a bootstrap over rows)."""
    columns = [column_of(METRICS[metric], [judged]) for metric in metrics]
    drawn = resample(columns, resamples=RESAMPLES, seed=seed)
    intervals = [drawn.score(number) for number in range(len(columns))]
    return {metric: (interval.low, interval.high) for metric, interval in zip(metrics, intervals, strict=True)}


def student_scores(predictions: Predictions) -> dict[str, float]:
    """The student's metrics, and its agreement with a teacher that has answers."""
    scores = scores_of(predictions.student, predictions.metrics)
    agreement = predictions.agreement
    return scores if agreement is None else {**scores, "agreement": agreement}


def measured(gold: Gold, distilled: Answers | None, finetuned: Answers, teacher: Answers | None) -> Metrics:
    """All that a report says of a student after each phase, and of its teacher."""
    final = predictions_of(predictions_table(gold, finetuned, teacher))
    return Metrics(
        student_scores(predictions_of(predictions_table(gold, distilled, teacher))) if distilled else None,
        student_scores(final),
        intervals_of(final.student, metrics_of(final.kind, final.student)),
        intervals_of(final.teacher, metrics_of(final.kind, final.teacher)) if final.teacher else {},
        scores_by_language(final),
    )


def teacher_scores(gold: Gold, answers: Answers) -> dict[str, float]:
    """The teacher's metrics."""
    judged = predictions_of(predictions_table(gold, answers, None)).student
    return scores_of(judged, metrics_of(gold.kind, judged))


def scores_by_language(predictions: Predictions) -> tuple[LanguageScores, ...]:
    """The metric that decides, by language, where the test has several."""
    if len(predictions.languages) < 2:
        return ()
    measure = METRICS[predictions.metrics[0]].measure
    measured = []
    for lang, rows in predictions.languages.items():
        weights = rows[None].astype(np.float64)
        said = (predictions.student, predictions.teacher)
        both = [float("nan") if judged is None else float(measure(judged, weights)[0]) for judged in said]
        measured.append(LanguageScores(lang, int(rows.sum()), *(None if isnan(value) else value for value in both)))
    return tuple(measured)


def _gold_columns(gold: Gold) -> dict[str, Any]:
    rows, columns = gold.test, {}
    if rows.amounts is not None:
        columns["gold"] = pa.array(rows.amounts, pa.float64())
    elif rows.labels:
        columns["gold"] = pa.array(rows.labels, pa.string())
    if gold.out_of_scope is not None:
        columns["in_scope"] = pa.array(gold.in_scope)
    if rows.slots is not None:
        columns["gold_slots"] = pa.array(rows.slots.names, pa.list_(pa.string()))
    return columns


def _answer_columns(answers: Answers, name: str, of: str) -> dict[str, pa.Array]:
    """What was said, as the column `name`, and what stands beside it, named after whose it is."""
    said = (
        (name, answers.labels, pa.string()),
        (name, answers.amounts, pa.float64()),
        (f"{of}confidence", answers.confidence, pa.float64()),
        (f"{of}entropy", answers.entropy, pa.float64()),
        (f"{name}_slots", answers.slots, pa.list_(pa.string())),
    )
    return {column: pa.array(values, kind) for column, values, kind in said if values is not None}
