"""Claims of selections: which texts are left out and why, that the counts add up, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.errors import BadInput
from distill.config import make_config
from distill.selecting.judgement import judge
from distill.selecting.selection import Selection, select
from distill.settings.selection import SelectionConfig

SMALLEST = {"task": {"path": "t.jsonl"}, "transfer_set": {"name": "near"}}
CRITERIA = st.sampled_from(["random", "confidence", "entropy", "margin"])
TEXTS = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(-9, 9), min_size=3, max_size=3)), min_size=1, max_size=40
)


def asked(**settings: Any) -> SelectionConfig:
    return SelectionConfig.model_validate(settings)


def table_of(utterances: list[bool]) -> pa.Table:
    return pa.table({"utterance_id": pa.array(["u" if own else None for own in utterances], pa.string())})


def logits_of(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.float16)


def selected(config: SelectionConfig, texts: list[tuple[bool, list[int]]], seed: int = 0) -> Selection:
    return select(config, table_of([own for own, _ in texts]), logits_of([row for _, row in texts]), seed)


@settings(deadline=None)
@given(TEXTS, CRITERIA, st.floats(0.01, 1), st.booleans(), st.floats(0, 0.99), st.sampled_from(["neighbours", "both"]))
def test_what_comes_in_is_learnt_or_dropped_by_reason(
    texts: list[tuple[bool, list[int]]], by: str, keep: float, balance: bool, off_task: float, of: str
) -> None:
    found = selected(asked(by=by, keep=keep, balance=balance, off_task=off_task, texts=of), texts)
    utterances = {row for row, (own, _) in enumerate(texts) if own and of == "neighbours"}
    assert found.asked == len(texts) - len(utterances)
    assert found.kept + sum(found.dropped.values()) == found.asked
    assert len(found.rows) == found.kept + len(utterances)
    assert utterances <= {*found.rows.tolist()}, "utterances stay, unless they are asked too"
    assert np.array_equal(found.rows, np.unique(found.rows))
    sure = judge(logits_of([row for _, row in texts]), "none").confidence
    left = [row for row in range(len(texts)) if row not in utterances and sure[row] >= off_task]
    assert found.kept == min(len(left), max(1, round(keep * found.asked))) if found.asked else not found.kept


@settings(deadline=None)
@given(TEXTS, CRITERIA, st.floats(0.01, 1))
def test_a_control_is_as_large_as_what_it_controls(texts: list[tuple[bool, list[int]]], by: str, keep: float) -> None:
    ours = selected(asked(by=by, keep=keep), texts)
    for control in (asked(by="random", keep=keep), asked(by="random", keep=keep, balance=True)):
        assert len(selected(control, texts).rows) == len(ours.rows)


SURE, TORN, BLANK = [9, 0, 0], [4, 4, 0], [0, 0, 0]
FOUR = [(True, BLANK), (False, TORN), (False, SURE), (False, BLANK), (False, [0, 7, 0])]


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"by": "confidence"}, [0, 2, 4]),
        ({"by": "confidence", "order": "low"}, [0, 1, 3]),
        ({"by": "margin"}, [0, 2, 4]),
        ({"by": "entropy"}, [0, 1, 3]),
        ({"by": "entropy", "order": "low", "keep": 0.25}, [0, 2]),
        ({"by": "confidence", "texts": "both", "keep": 0.4}, [2, 4]),
        ({"off_task": 0.4}, [0, 1, 2, 4]),
        ({"off_task": 0.6}, [0, 2, 4]),
        ({"by": "confidence", "keep": 1.0, "off_task": 0.6}, [0, 2, 4]),
        ({"by": "disagreement", "off_task": 0.6}, [0, 2, 4]),
        ({"by": "disagreement"}, [0, 1, 2, 3, 4]),
    ],
)
def test_each_criterion_takes_its_own(settings: dict[str, Any], rows: list[int]) -> None:
    assert selected(asked(**settings), FOUR).rows.tolist() == rows


def test_a_share_is_of_all_that_is_asked_whatever_is_off_task() -> None:
    found = selected(asked(by="confidence", keep=0.75, off_task=0.6), FOUR)
    assert found.rows.tolist() == [0, 2, 4]
    assert dict(found.dropped) == {"off_task": 2}
    assert dict(selected(asked(by="confidence", keep=0.25, off_task=0.4), FOUR).dropped) == {
        "off_task": 1,
        "not_chosen": 2,
    }


def test_a_balance_levels_the_teachers_classes() -> None:
    draw = np.random.default_rng(0)
    texts = [
        (False, [int(9 * (of == cls)) + int(draw.integers(0, 3)) for of in range(3)])
        for cls in [0] * 30 + [1] * 8 + [2]
    ]
    classes = judge(logits_of([row for _, row in texts]), "none").classes
    plain, level = (selected(asked(by="random", keep=0.5, balance=flag), texts).rows for flag in (False, True))
    assert np.bincount(classes[level], minlength=3).tolist() == [11, 8, 1]
    assert np.bincount(classes[plain], minlength=3)[0] > 11


def test_random_is_of_the_runs_seed_alone() -> None:
    texts = [(False, BLANK)] * 100
    draws = [selected(asked(by="random", keep=0.3), texts, seed).rows.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    without = select(asked(by="random", keep=0.3), table_of([False] * 100), None, 0)
    assert without.rows.tolist() == draws[0], "it asks no teacher"


def test_settings_that_are_not_used_are_not_written() -> None:
    assert "selection" not in make_config(SMALLEST).to_json()
    config = make_config({**SMALLEST, "selection": {"by": "entropy", "order": "low", "keep": 0.3}})
    assert make_config(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keep": 0.3}, "keep needs a criterion"),
        ({"balance": True}, "balance needs a criterion"),
        ({"by": "random", "order": "low"}, "order needs a criterion other than random"),
        ({"by": "entropy", "every": 10}, "every needs disagreement"),
        ({"texts": "both"}, "texts needs a criterion, or off_task"),
        ({"by": "random", "keep": 0}, "greater than 0"),
        ({"by": "random", "keep": 1.1}, "less than or equal to 1"),
        ({"off_task": 1.0}, "less than 1"),
        ({"by": "doubt"}, "'none', 'random', 'confidence', 'entropy', 'margin' or 'disagreement'"),
        ({"by": "disagreement", "every": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_mean_nothing_get_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        asked(**settings)


@pytest.mark.parametrize("selection", [{"by": "margin"}, {"off_task": 0.2}, {"by": "random", "balance": True}])
@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"transfer_set": None}, "selection is of what a student distils on, found no transfer_set"),
        ({"teacher": {"updates": 0}, "objective": {"soft_weight": 0, "intermediate": "minilmv2"}}, "has no answers"),
        ({"task": {"path": "t.jsonl", "kind": "slots"}}, "which a task of slots has not"),
        ({"task": {"path": "t.jsonl", "kind": "regression"}}, "which a task of regression has not"),
    ],
)
def test_what_cannot_be_selected_gets_a_sentence(
    selection: dict[str, Any], sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        make_config({**SMALLEST, **sections, "selection": selection})
    if "transfer_set" not in sections:
        make_config({**SMALLEST, **sections, "selection": {"by": "random"}})
