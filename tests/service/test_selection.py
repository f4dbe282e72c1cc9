"""Claims of the selection policy: every drop counted, in order, and nothing depends on chance that has no seed."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.heldout import CLEAR, COSINE, EXACT, NGRAM
from service.selection import (
    REASONS,
    Candidates,
    Selection,
    SelectionPolicy,
    Utterances,
    count,
    overused,
    select,
    sequence,
)


def candidates(**columns: Any) -> Candidates:
    n = len(next(iter(columns.values())))
    plain: dict[str, Any] = {
        "utterance": np.zeros(n, np.int32),
        "row": np.arange(n, dtype=np.int64),
        "rank": np.arange(n, dtype=np.int32),
        "score": np.ones(n, np.float32),
        "unmatched": np.zeros(n, bool),
        "n_words": np.full(n, 5, np.int32),
        "heldout": np.zeros(n, np.int8),
        "near": np.zeros(n, bool),
        "place": np.asarray(columns.get("rank", np.arange(n)), np.int32),
    }
    return Candidates(**{name: np.asarray(columns.get(name, array), array.dtype) for name, array in plain.items()})


def utterances(n: int, *, included: bool = True, n_words: int = 4) -> Utterances:
    return Utterances(np.full(n, n_words, np.int32), np.full(n, included))


@st.composite
def hit_sets(draw: st.DrawFn) -> tuple[Candidates, Utterances]:
    """Hits of a few utterances on a few passages, with everything a policy looks at."""
    n_utterances = draw(st.integers(1, 8))
    lists = [draw(st.lists(st.integers(0, 15), max_size=8, unique=True)) for _ in range(n_utterances)]
    utterance = [u for u, rows in enumerate(lists) for _ in rows]
    row = [passage for rows in lists for passage in rows]
    rank = [rank for rows in lists for rank in range(len(rows))]
    score = [draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])) for _ in row]
    words = draw(st.lists(st.integers(1, 20), min_size=16, max_size=16))
    verdict = draw(st.lists(st.sampled_from([CLEAR, CLEAR, CLEAR, EXACT, NGRAM, COSINE]), min_size=16, max_size=16))
    hits = candidates(
        utterance=utterance,
        row=row,
        rank=rank,
        score=score,
        unmatched=np.array(score) == 0,
        n_words=[words[passage] for passage in row],
        heldout=[verdict[passage] for passage in row],
        near=[draw(st.integers(0, 9)) == 0 for _ in row],
    )
    own = draw(st.lists(st.integers(1, 9), min_size=n_utterances, max_size=n_utterances))
    included = draw(st.lists(st.booleans(), min_size=n_utterances, max_size=n_utterances))
    return hits, Utterances(np.array(own, np.int32), np.array(included))


def _bound(low: int, high: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(low, high)


policies = st.builds(
    SelectionPolicy,
    min_rank=st.integers(0, 2),
    max_rank=_bound(2, 8),
    drop_no_match=st.booleans(),
    min_score=st.none() | st.sampled_from([0.5, 1.0]),
    min_words=st.integers(0, 4),
    max_words=_bound(4, 20),
    max_uses=st.integers(1, 3),
    generic_share=st.none() | st.floats(0, 1),
    budget_generic=_bound(0, 20),
    budget_rows=_bound(1, 30),
    budget_words=_bound(1, 200),
)


CLASSED = st.tuples(hit_sets(), st.integers(0, 30), st.lists(st.integers(0, 3), min_size=8, max_size=8))


@given(CLASSED)
def test_a_budget_per_class_fills_the_classes_as_water_does(
    case: tuple[tuple[Candidates, Utterances], int, list[int]],
) -> None:
    (hits, own), budget, numbers = case
    classes = np.array(numbers[: len(own.included)], np.int64)
    own = Utterances(own.n_words, own.included, classes)
    there = select(SelectionPolicy(per_class=True), hits, own, seed=0).kept_hits
    kept = select(SelectionPolicy(per_class=True, budget_generic=budget), hits, own, seed=0).kept_hits
    had = np.bincount(classes[hits.utterance[there]], minlength=4)
    has = np.bincount(classes[hits.utterance[kept]], minlength=4)
    assert has.sum() == min(budget, had.sum())
    level = max(has, default=0)
    assert all(got == all_there or got >= level - 1 for got, all_there in zip(has, had, strict=True))
    assert np.array_equal(there, select(SelectionPolicy(), hits, own, seed=0).kept_hits)


@given(CLASSED)
def test_within_a_class_the_nearest_stay(case: tuple[tuple[Candidates, Utterances], int, list[int]]) -> None:
    (hits, own), budget, numbers = case
    classes = np.array(numbers[: len(own.included)], np.int64)
    policy = SelectionPolicy(per_class=True, budget_generic=budget)
    reasons = select(policy, hits, Utterances(own.n_words, own.included, classes), seed=0).hits
    of_hit = classes[hits.utterance]
    for number in range(4):
        kept = hits.rank[(of_hit == number) & (reasons == 0)]
        cut = hits.rank[(of_hit == number) & (reasons == REASONS.index("budget_generic"))]
        assert not len(kept) or not len(cut) or kept.max() <= cut.min()


def _kept(hits: Candidates, selection: Selection) -> set[tuple[int, int]]:
    pairs = zip(hits.utterance.tolist(), hits.row.tolist(), strict=True)
    return {pair for pair, stays in zip(pairs, selection.kept_hits, strict=True) if stays}


@given(hit_sets(), policies)
def test_every_text_that_comes_in_goes_out_or_is_counted(
    case: tuple[Candidates, Utterances], policy: SelectionPolicy
) -> None:
    hits, own = case
    selection = select(policy, hits, own, seed=0)
    for reasons, kept in (
        (selection.hits, selection.kept_hits),
        (selection.utterances, selection.kept_utterances),
    ):
        counted = count(reasons)
        assert counted.rows_in == len(reasons)
        assert counted.rows_out == kept.sum()
        assert counted.rows_in == counted.rows_out + sum(counted.dropped.values())


@given(hit_sets(), policies)
def test_what_stays_keeps_every_rule(case: tuple[Candidates, Utterances], policy: SelectionPolicy) -> None:
    hits, own = case
    selection = select(policy, hits, own, seed=0)
    kept = hits.take(selection.kept_hits)
    assert (kept.rank >= policy.min_rank).all()
    assert policy.max_rank is None or (kept.rank <= policy.max_rank).all()
    assert policy.min_score is None or (kept.score >= policy.min_score).all()
    assert not (policy.drop_no_match and kept.unmatched.any())
    assert (kept.n_words >= policy.min_words).all()
    assert (kept.heldout == CLEAR).all()
    assert not kept.near.any()
    assert not len(kept) or np.bincount(kept.row).max() <= policy.max_uses
    assert not selection.kept_utterances[~own.included].any()


@given(hit_sets(), policies)
def test_no_budget_is_exceeded(case: tuple[Candidates, Utterances], policy: SelectionPolicy) -> None:
    hits, own = case
    selection = select(policy, hits, own, seed=0)
    generic, task = selection.kept_hits.sum(), selection.kept_utterances.sum()
    words = hits.n_words[selection.kept_hits].sum() + own.n_words[selection.kept_utterances].sum()
    assert policy.budget_generic is None or generic <= policy.budget_generic
    assert policy.budget_rows is None or generic + task <= policy.budget_rows
    assert policy.budget_words is None or words <= policy.budget_words


@given(hit_sets(), policies)
def test_the_generic_share_is_reached_to_within_one_text(
    case: tuple[Candidates, Utterances], policy: SelectionPolicy
) -> None:
    hits, own = case
    selection = select(policy, hits, own, seed=0)
    if policy.generic_share is not None:
        generic, task = int(selection.kept_hits.sum()), int(selection.kept_utterances.sum())
        assert abs(generic - policy.generic_share * (generic + task)) <= 1


@given(hit_sets(), policies, st.randoms())
def test_the_order_of_the_hits_does_not_matter(
    case: tuple[Candidates, Utterances], policy: SelectionPolicy, chance: Any
) -> None:
    hits, own = case
    order = list(range(len(hits)))
    chance.shuffle(order)
    shuffled = hits.take(np.array(order, np.int64))
    one, other = select(policy, hits, own, seed=3), select(policy, shuffled, own, seed=3)
    assert _kept(hits, one) == _kept(shuffled, other)
    assert one.utterances.tolist() == other.utterances.tolist()
    assert one.hits[np.array(order, np.int64)].tolist() == other.hits.tolist()


@given(hit_sets(), policies)
def test_selecting_twice_changes_nothing(case: tuple[Candidates, Utterances], policy: SelectionPolicy) -> None:
    hits, own = case
    once = select(policy, hits, own, seed=1)
    left = hits.take(once.kept_hits)
    twice = select(policy, left, Utterances(own.n_words, once.kept_utterances), seed=1)
    assert twice.kept_hits.all()
    assert twice.kept_utterances.tolist() == once.kept_utterances.tolist()


@given(st.none() | st.floats(0, 1), st.integers(0, 40), st.integers(0, 40))
def test_a_sequence_holds_the_share_in_every_prefix_and_wastes_no_text(
    share: float | None, generic: int, task: int
) -> None:
    is_generic = sequence(share, generic, task)
    used = np.cumsum(is_generic)
    assert is_generic.sum() <= generic
    assert (~is_generic).sum() <= task
    if share is not None:
        assert np.all(np.abs(used - share * np.arange(1, len(used) + 1)) <= 0.5 + 1e-9)
        assert is_generic.sum() == generic or (~is_generic).sum() == task or not len(is_generic)


@given(hit_sets(), st.integers(1, 3))
def test_one_use_of_a_passage_agrees_with_a_plain_reference(case: tuple[Candidates, Utterances], max_uses: int) -> None:
    hits, _ = case
    uses: dict[int, int] = {}
    expected = [False] * len(hits)
    by_nearness = sorted(range(len(hits)), key=lambda i: (hits.rank[i], -hits.score[i], hits.utterance[i]))
    for i in by_nearness:
        uses[int(hits.row[i])] = uses.get(int(hits.row[i]), 0) + 1
        expected[i] = uses[int(hits.row[i])] > max_uses
    assert overused(hits, max_uses).tolist() == expected


def test_a_hit_with_several_faults_is_counted_by_the_first_in_the_designs_order() -> None:
    hits = candidates(rank=[9, 0, 0, 0, 0], unmatched=[1, 1, 0, 0, 0], n_words=[99, 99, 99, 5, 5], near=[1, 1, 1, 1, 1])
    heldout = candidates(
        rank=hits.rank, unmatched=hits.unmatched, n_words=hits.n_words, near=hits.near, heldout=[1, 1, 1, 1, 0]
    )
    selection = select(SelectionPolicy(max_rank=5, max_words=10), heldout, utterances(1), seed=0)
    assert [REASONS[reason] for reason in selection.hits] == [
        "rank_band",
        "no_match",
        "length_band",
        "heldout_exact",
        "near_utterance",
    ]


def test_a_dropped_hit_does_not_use_up_its_passage() -> None:
    hits = candidates(utterance=[0, 1], row=[7, 7], rank=[0, 1], near=[True, False])
    assert select(SelectionPolicy(), hits, utterances(2), seed=0).kept_hits.tolist() == [False, True]


def test_a_passage_stays_with_the_utterance_where_it_ranks_best() -> None:
    hits = candidates(utterance=[0, 1, 2], row=[7, 7, 7], rank=[2, 0, 1], score=[9.0, 1.0, 5.0])
    assert select(SelectionPolicy(), hits, utterances(3), seed=0).kept_hits.tolist() == [False, True, False]


@pytest.mark.parametrize(("scores", "winner"), [([1.0, 2.0], 1), ([2.0, 2.0], 0), ([np.nan, 0.0], 1)])
def test_equal_ranks_go_by_score_then_by_the_order_of_utterances(scores: list[float], winner: int) -> None:
    hits = candidates(utterance=[0, 1], row=[7, 7], rank=[0, 0], score=scores)
    assert np.flatnonzero(select(SelectionPolicy(), hits, utterances(2), seed=0).kept_hits).tolist() == [winner]


def test_max_uses_lets_so_many_utterances_share_a_passage() -> None:
    hits = candidates(utterance=[0, 1, 2], row=[7, 7, 7], rank=[0, 1, 2])
    kept = select(SelectionPolicy(max_uses=2), hits, utterances(3), seed=0).kept_hits
    assert kept.tolist() == [True, True, False]


def test_the_worst_ranks_go_first_when_generic_texts_are_too_many() -> None:
    hits = candidates(utterance=np.repeat(np.arange(10), 10), row=np.arange(100), rank=np.tile(np.arange(10), 10))
    selection = select(SelectionPolicy(generic_share=0.7), hits, utterances(10), seed=0)
    assert selection.kept_utterances.all()
    assert selection.kept_hits.sum() == 25  # 35 texts: as many as ten utterances allow, to half a text
    assert hits.rank[selection.kept_hits].max() == 2
    assert (hits.rank[selection.kept_hits] < 2).sum() == 20


def test_utterances_go_by_the_seed_when_generic_texts_are_too_few() -> None:
    hits = candidates(utterance=[0, 1, 2], row=[0, 1, 2], rank=[0, 0, 0])
    chosen = {
        tuple(select(SelectionPolicy(generic_share=0.5), hits, utterances(20), seed=s).utterances) for s in range(9)
    }
    assert {sum(reason == 0 for reason in one) for one in chosen} == {3}
    assert len(chosen) > 1


def test_a_budget_takes_from_every_utterance_alike_and_spares_the_utterances() -> None:
    hits = candidates(utterance=np.repeat(np.arange(10), 10), row=np.arange(100), rank=np.tile(np.arange(10), 10))
    selection = select(SelectionPolicy(budget_rows=40), hits, utterances(10), seed=0)
    assert selection.kept_utterances.all()
    assert np.bincount(hits.utterance[selection.kept_hits]).tolist() == [3] * 10
    assert count(selection.hits).dropped == {"budget_rows": 70}


def test_a_budget_below_the_utterances_takes_from_them_too() -> None:
    selection = select(SelectionPolicy(budget_words=20), candidates(row=[0, 1]), utterances(10), seed=0)
    assert count(selection.utterances).rows_out == 5
    assert count(selection.hits).rows_out == 0


def test_a_tie_at_the_budget_is_broken_by_the_seed_not_by_position() -> None:
    hits = candidates(utterance=np.arange(50), row=np.arange(50), rank=np.zeros(50))
    kept = select(SelectionPolicy(budget_generic=25), hits, utterances(50), seed=0).kept_hits
    again = select(SelectionPolicy(budget_generic=25), hits, utterances(50), seed=0).kept_hits
    other = select(SelectionPolicy(budget_generic=25), hits, utterances(50), seed=1).kept_hits
    assert kept.tolist() == again.tolist() != other.tolist()
    assert 0 < kept[:25].sum() < 25


def test_a_tie_at_the_budget_is_broken_alike_in_whatever_order_the_hits_come() -> None:
    hits = candidates(utterance=np.arange(50), row=np.arange(50), rank=np.zeros(50))
    kept = select(SelectionPolicy(budget_generic=25), hits, utterances(50), seed=0).kept_hits
    turned = select(
        SelectionPolicy(budget_generic=25), hits.take(np.arange(50)[::-1]), utterances(50), seed=0
    ).kept_hits
    assert turned[::-1].tolist() == kept.tolist()


def test_a_score_that_is_missing_lies_outside_every_score_band() -> None:
    hits = candidates(score=[np.nan, 1.0])
    assert select(SelectionPolicy(min_score=0), hits, utterances(1), seed=0).kept_hits.tolist() == [False, True]
    assert select(SelectionPolicy(), hits, utterances(1), seed=0).kept_hits.all()


def test_no_hits_at_all_is_a_task_only_set() -> None:
    selection = select(SelectionPolicy(), candidates(row=[]), utterances(3), seed=0)
    assert selection.kept_utterances.all()
    assert count(selection.hits).rows_in == 0


def test_earlier_drops_join_the_count() -> None:
    counted = count(
        np.array([0, 0, REASONS.index("heldout_exact")], np.int8), {"shots": 4, "heldout_exact": 1, "none": 0}
    )
    assert (counted.rows_in, counted.rows_out, dict(counted.dropped)) == (8, 2, {"heldout_exact": 2, "shots": 4})


@pytest.mark.parametrize(
    "wrong",
    [{"min_rank": 5, "max_rank": 4}, {"min_score": 2, "max_score": 1}, {"min_words": 9, "max_words": 3}],
)
def test_a_band_upside_down_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="at most"):
        SelectionPolicy.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"generic_share": 1.5}, {"max_uses": 0}, {"budget_rows": 0}, {"min_score": float("nan")}, {"max_ranks": 3}],
)
def test_a_setting_out_of_bounds_or_unknown_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SelectionPolicy.model_validate(wrong)


def test_candidates_of_all_utterances_are_selected_in_seconds() -> None:
    n_utterances, k = 15_000, 40  # the slow test below has k = 100
    _select_many(n_utterances, k, within_s=6)


@pytest.mark.slow
def test_a_million_and_a_half_hits_are_selected_in_seconds() -> None:
    _select_many(15_000, 100, within_s=15)


def _select_many(n_utterances: int, k: int, *, within_s: float) -> None:
    draw = np.random.default_rng(0)
    n = n_utterances * k
    hits = candidates(
        utterance=np.repeat(np.arange(n_utterances), k),
        row=draw.integers(0, 300_000, n),
        rank=np.tile(np.arange(k), n_utterances),
        score=draw.random(n),
    )
    begun = time.process_time()
    selection = select(SelectionPolicy(generic_share=0.7, budget_rows=30_000), hits, utterances(n_utterances), seed=0)
    assert time.process_time() - begun < within_s
    assert selection.kept_hits.sum() + selection.kept_utterances.sum() == 30_000


@settings(max_examples=20)
@given(hit_sets())
def test_taking_all_candidates_takes_every_column(case: tuple[Candidates, Utterances]) -> None:
    hits, _ = case
    taken = hits.take(np.arange(len(hits)))
    assert all(np.array_equal(getattr(hits, f.name), getattr(taken, f.name)) for f in fields(hits))
