"""The threshold of what is out of scope: chosen on the validation split, kept with the student, said by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.store import Store
from distill.config import RunConfig
from distill.judging.threshold import choose_threshold, kept_by
from distill.pipeline import run_distillation
from distill.reading.words import split_words
from distill.reporting.outcome import read_report
from distill.shipping.export import export_run
from distill.shipping.forms import Heard
from distill.shipping.prediction import open_predictor
from distill.tuning.validation import Validation, choose_validation, judged_config
from tests.distill.kinds import fillers, make_kind, rows_of, write_kind
from tests.distill.shipped import QUICK

rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({inside for _, inside in rows}) == 2
)


@given(rows)
def test_no_threshold_parts_the_two_better_and_of_equals_it_is_the_lowest(found: list[tuple[float, bool]]) -> None:
    confidence, inside = np.array([c for c, _ in found]), np.array([i for _, i in found])
    chosen = choose_threshold(confidence, inside)

    def parted(threshold: float) -> float:
        kept = kept_by(threshold, confidence, inside)
        return kept.in_scope + kept.out_of_scope

    assert chosen in confidence
    for tried in confidence.tolist():
        assert parted(tried) <= parted(chosen) + 1e-12
        assert parted(tried) < parted(chosen) - 1e-12 or tried >= chosen


def test_a_side_with_many_rows_does_not_outweigh_the_other() -> None:
    confidence, inside = np.array([0.9, 0.6, 0.5, 0.3]), np.array([True, True, False, False])
    assert choose_threshold(confidence, inside) == 0.6
    assert choose_threshold(np.repeat(confidence, [50, 50, 1, 1]), np.repeat(inside, [50, 50, 1, 1])) == 0.6


def validated(root: Path, **task: Any) -> tuple[Store, RunConfig]:
    """The tiny task with a validation split of both sides."""
    chosen = {"validation_split": ["valid", "oos_valid"], **task}
    store, config = make_kind(
        root, "out-of-scope", task=chosen, teacher={"updates": 30}, distill={"updates": 50}, finetune={"updates": 10}
    )
    outside = [{"id": f"ov-{n}", "text": text, "intent": "oos", "split": "oos_valid"} for n, text in
               enumerate(fillers(20, 9))]  # fmt: skip
    write_kind(root / "task.jsonl", "out-of-scope", extra=(*rows_of("out-of-scope", "valid", 30, 21), *outside))
    return store, config


Made = tuple[Store, RunConfig, Artifact]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    store, config = validated(tmp_path_factory.mktemp("threshold"))
    return store, config, run_distillation(store, "r1", config)


def test_a_run_says_its_threshold_and_what_it_does_on_the_test(made: Made) -> None:
    _, _, run = made
    found = read_report(run.directory).threshold
    assert found is not None
    assert found.split == "valid+oos_valid"
    assert json.loads(run.path("student/config.json").read_bytes())["out_of_scope_threshold"] == found.value
    table = pq.read_table(run.path("predictions.parquet"))
    stays = table["confidence"].to_numpy() >= found.value
    inside = table["in_scope"].to_numpy(zero_copy_only=False)
    assert found.in_scope == pytest.approx(stays[inside].mean(), abs=1e-4)
    assert found.out_of_scope == pytest.approx(1 - stays[~inside].mean(), abs=1e-4)
    page = (run.directory / "report.html").read_text()
    assert f"below {found.value:.4f}, chosen on split valid+oos_valid, is out of scope" in page


def test_it_is_chosen_on_the_validation_rows_alone(made: Made) -> None:
    """Choosing on the test would flatter what the test then says of it."""
    store, _, run = made
    predictor = open_predictor(store, "r1", threshold=0.0)
    texts = [row["text"] for row in rows_of("out-of-scope", "valid", 30, 21)] + fillers(20, 9)
    said = predictor.predict([Heard(text, None, split_words(text)) for text in texts])
    confidence = np.array([each.probability for each in said])
    found = read_report(run.directory).threshold
    assert found is not None
    assert found.value == pytest.approx(choose_threshold(confidence, np.arange(50) < 30), abs=2e-6)


def test_an_exported_student_says_by_it_what_is_out_of_scope(made: Made) -> None:
    store, _, run = made
    export = export_run(store, "r1", QUICK)
    found = read_report(run.directory).threshold
    assert found is not None
    for form in ("torch", "onnx", "int8"):
        predictor = open_predictor(store, "r1", form)  # type: ignore[arg-type]
        assert predictor.meaning.threshold == pytest.approx(found.value)
        for each in predictor.predict([Heard(text) for text in fillers(10, 33)]):
            assert each.probability is not None
            assert each.out_of_scope == (each.probability < found.value)
            assert (each.label is None) == each.out_of_scope
    card = " ".join((export.directory / "README.md").read_text().split())
    assert "parts the two best on split valid+oos_valid" in card
    assert f"{100 * found.out_of_scope:.1f} % of those out of it are caught" in card.replace("\u00a0", " ")


def test_without_a_validation_split_there_is_none_in_the_run(tmp_path: Path) -> None:
    store, config = validated(tmp_path, validation_split=None)
    run = run_distillation(store, "r1", config)
    assert read_report(run.directory).threshold is None
    assert "out_of_scope_threshold" not in json.loads(run.path("student/config.json").read_bytes())


def test_a_validation_split_of_one_side_says_nothing_of_the_other(tmp_path: Path) -> None:
    store, config = validated(tmp_path, validation_split="valid")
    with pytest.raises(BadInput, match="expected rows in scope and out of it"):
        run_distillation(store, "r1", config)


def test_trials_are_judged_on_the_split_that_the_run_chooses_by(tmp_path: Path) -> None:
    store, config = validated(tmp_path)
    chosen = choose_validation(config, None, None)
    assert chosen == Validation(("valid", "oos_valid"))
    assert chosen.text == "split valid+oos_valid"
    judged, _ = judged_config(config, chosen, store, tmp_path / "folder", ())
    assert judged.task.test_splits == ("valid", "oos_valid")
    assert judged.task.validation_split is None
