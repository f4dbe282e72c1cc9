"""Claims of curricula and generations: what is seen when is a function of the batch's number, nearest first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput
from distill.settings.augmentation import CurriculumConfig
from distill.training.batches import Order, Rows, Schedule
from distill.training.curriculum import STEPS, Choosing, Key, Pace, Part, Stage, Staged, key_of, make_pace, shown

RANKS = [None, 0, 1, 2, None, 0, 5, 3]  # of two utterances and their neighbours


def some_table(ranks: list[int | None], scores: list[float | None] | None = None) -> pa.Table:
    return pa.table(
        {
            "utterance_id": pa.array(["u" if rank is None else None for rank in ranks], pa.string()),
            "rank": pa.array(ranks, pa.int32()),
            "score": pa.array(scores or [None if rank is None else 9.0 - rank for rank in ranks], pa.float32()),
        }
    )


def asked(**settings: Any) -> CurriculumConfig:
    return CurriculumConfig.model_validate({"by": "rank", **settings})


def schedule(lengths: Rows, stride: int) -> Order:
    return Schedule(lengths, 2, 7 + stride)


def part(key: Key, first: int, begin: int = 0, end: float = math.inf) -> Part:
    """All texts of a part; the first has this number."""
    return Part(key, np.arange(first, first + len(key)), begin, end)


def staged(parts: list[Part], pace: Pace, choosing: Choosing | None = None) -> Staged:
    lengths = np.full(max(int(part.rows[-1]) for part in parts) + 1, 5)
    return Staged(parts, pace, lengths, schedule, choosing)


def seen(order: Order, first: int, last: int) -> set[int]:
    return {int(row) for number in range(first, last) for row in order.rows(number)}


def test_the_nearest_are_seen_first_and_utterances_always() -> None:
    key = key_of(some_table(RANKS), asked())
    assert shown(key, 0.0).tolist() == [0, 4]
    assert shown(key, 2 / 6).tolist() == [0, 1, 4, 5]
    assert shown(key, 3 / 6).tolist() == [0, 1, 2, 4, 5]
    assert shown(key, 1.0).tolist() == list(range(8))


def test_the_farthest_are_seen_first_where_that_is_asked() -> None:
    key = key_of(some_table(RANKS), asked(first="far"))
    assert shown(key, 1 / 6).tolist() == [0, 4, 6]
    assert shown(key, 2 / 6).tolist() == [0, 4, 6, 7]


def test_a_higher_score_is_nearer() -> None:
    scores = [None, 0.1, 0.9, 0.5, None, 0.7, 0.2, 0.3]
    key = key_of(some_table(RANKS, scores), asked(by="score"))
    assert shown(key, 1 / 6).tolist() == [0, 2, 4]
    assert shown(key, 2 / 6).tolist() == [0, 2, 4, 5]
    far = key_of(some_table(RANKS, scores), asked(by="score", first="far"))
    assert shown(far, 1 / 6).tolist() == [0, 1, 4]


def test_neighbours_without_a_score_are_told() -> None:
    with pytest.raises(BadInput, match=r"1 of the neighbours have none .* set curriculum.by = \"rank\""):
        key_of(some_table([None, 0, 1], [None, 1.0, None]), asked(by="score"))


@given(st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_what_was_seen_stays(ranks: list[int | None], one: float, other: float) -> None:
    key = key_of(some_table(ranks), asked())
    few, many = (set(shown(key, share).tolist()) for share in sorted((one, other)))
    assert few <= many
    assert few
    assert set(shown(key, 1.0).tolist()) == set(range(len(ranks)))


def test_the_pace_goes_from_its_start_to_all_in_steps() -> None:
    pace = make_pace(asked(start=0.2, full=0.5), 1000)
    assert pace.share(0) == 0.2
    assert pace.share(49) == 0.2
    assert pace.share(50) == pytest.approx(0.28)
    assert pace.share(499) < 1
    assert pace.share(500) == 1
    assert pace.share(999) == 1
    assert len({pace.share(number) for number in range(1000)}) == STEPS + 1


def test_a_curriculum_shows_near_neighbours_before_far_ones() -> None:
    ranks = [None] * 4 + [rank for rank in range(10) for _ in range(4)]
    key = key_of(some_table(ranks), asked())
    order = staged([part(key, 0)], make_pace(asked(start=0.1, full=0.5), 400))
    early, late = seen(order, 0, 20), seen(order, 200, 400)
    assert early == set(range(8)), "the utterances and rank 0"
    assert late == set(range(44))
    means = [np.mean([row for row in seen(order, first, first + 20) if row >= 4]) for first in (0, 60, 120)]
    assert means == sorted(means)


def test_an_order_is_a_function_of_the_batchs_number() -> None:
    key = key_of(some_table([None] * 3 + list(range(20))), asked())
    parts, pace = [part(key, 0)], make_pace(asked(), 100)
    whole = [staged(parts, pace).rows(number).tolist() for number in range(100)]
    order = staged(parts, pace)
    jumping = {number: order.rows(number).tolist() for number in (99, 3, 57, 4, 0, 50)}
    assert all(whole[number] == rows for number, rows in jumping.items())
    assert len({tuple(rows) for rows in whole}) > 50


def test_a_generation_is_seen_from_its_beginning_until_the_next() -> None:
    always = np.full(4, -np.inf)
    parts = [
        part(always, 0),
        part(always, 4, 0, 10),
        part(always, 8, 10, 20),
        part(always, 12, 20),
    ]
    order = staged(parts, Pace(((0, 1.0),)))
    assert seen(order, 0, 10) == set(range(8))
    assert seen(order, 10, 20) == {*range(4), *range(8, 12)}
    assert seen(order, 20, 60) == {*range(4), *range(12, 16)}


def test_a_curriculum_holds_for_copies_too() -> None:
    key = key_of(some_table(RANKS), asked())
    order = staged([part(key, 0), part(key, 8, 5)], Pace(((0, 0.0), (20, 1.0))))
    assert seen(order, 0, 5) == {0, 4}
    assert seen(order, 5, 20) == {0, 4, 8, 12}
    assert seen(order, 20, 60) == set(range(16))


ALL = Pace(((0, 1.0),))


def test_texts_that_are_not_selected_are_never_seen() -> None:
    selected = Part(np.full(3, -np.inf), np.array([1, 4, 6]), 0, math.inf)
    assert seen(staged([selected, part(np.full(2, -np.inf), 8)], ALL), 0, 30) == {1, 4, 6, 8, 9}
    by_rank = key_of(some_table(RANKS), asked())[[0, 2, 6]]
    order = staged([Part(by_rank, np.array([0, 2, 6]), 0, math.inf)], Pace(((0, 0.0), (10, 0.5), (20, 1.0))))
    assert [seen(order, first, first + 10) for first in (0, 10, 20)] == [{0}, {0, 2}, {0, 2, 6}]


def test_batches_are_drawn_from_what_was_chosen_at_the_beginning_of_their_stage() -> None:
    asked_for: list[tuple[Stage, int, list[int]]] = []

    def choose(stage: Stage, now: int, rows: Rows) -> Rows:
        asked_for.append((stage, now, rows.tolist()))
        return rows[rows % 2 == stage.begin // 10 % 2]

    parts = [part(np.full(4, -np.inf), 0), part(np.full(4, -np.inf), 4, 15)]
    order = staged(parts, ALL, Choosing(choose, 10, 25))
    assert [seen(order, *ends) for ends in ((0, 10), (10, 15), (15, 20), (20, 25))] == [
        {0, 2}, {1, 3}, {1, 3, 5, 7}, {0, 2, 4, 6}
    ]  # fmt: skip
    assert [stage for stage, *_ in asked_for] == [Stage(0, 10), Stage(10, 15), Stage(15, 20), Stage(20, 25)]
    assert [now for _, now, _ in asked_for] == [0, 10, 15, 20]
    assert [len(rows) for *_, rows in asked_for] == [4, 4, 8, 8]
    staged(parts, ALL, Choosing(choose, 10, 25)).rows(17)
    assert asked_for[-1][:2] == (Stage(15, 20), 17), "one that goes on in the midst says so"
