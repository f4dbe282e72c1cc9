"""Claims of quotas: as many as were asked for, as even as they can be, and of each class those with the highest."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.selecting.quota import best, level, so_many

COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=8)
SCORED = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 4)), max_size=30)


def poured(counts: list[int], total: int) -> list[int]:
    """The same, one text after the other: each to a class that has fewest so far, the first of them."""
    taken = [0] * len(counts)
    for _ in range(min(total, sum(counts))):
        open_ = [place for place, count in enumerate(counts) if taken[place] < count]
        lowest = min(taken[place] for place in open_)
        taken[next(place for place in open_ if taken[place] == lowest)] += 1
    return taken


@settings(deadline=None)
@given(COUNTS, st.integers(0, 100))
def test_a_quota_is_what_pouring_one_by_one_makes(counts: list[int], total: int) -> None:
    assert level(np.array(counts), total).tolist() == poured(counts, total)


@settings(deadline=None)
@given(COUNTS, st.integers(0, 100))
def test_classes_are_as_even_as_the_texts_allow(counts: list[int], total: int) -> None:
    quota = level(np.array(counts), total)
    assert quota.sum() == min(total, sum(counts))
    assert (quota <= counts).all()
    unfilled = quota[quota < counts]
    assert not len(unfilled) or quota.max() - unfilled.min() <= 1, "none has more while another could have one more"


@settings(deadline=None)
@given(SCORED, st.integers(0, 35))
def test_the_best_are_the_best_and_of_equals_the_first(scored: list[tuple[float, int]], total: int) -> None:
    scores = np.array([score for score, _ in scored])
    wanted = sorted(sorted(range(len(scored)), key=lambda place: (-scores[place], place))[:total])
    assert best(scores, total).tolist() == wanted


@settings(deadline=None)
@given(SCORED, st.integers(0, 35))
def test_each_class_gives_the_best_it_has(scored: list[tuple[float, int]], total: int) -> None:
    scores, classes = np.array([score for score, _ in scored]), np.array([of for _, of in scored], np.int64)
    chosen = best(scores, total, classes)
    assert len(chosen) == min(total, len(scored))
    assert chosen.tolist() == sorted(chosen.tolist())
    quota = dict(enumerate(poured([int((classes == of).sum()) for of in range(5)], total)))
    for of in range(5):
        mine = [place for place in range(len(scored)) if classes[place] == of]
        wanted = sorted(mine, key=lambda place: (-scores[place], place))[: quota[of]]
        assert [place for place in chosen.tolist() if classes[place] == of] == sorted(wanted)


def test_with_few_classes_a_balance_takes_fewer_of_the_sure_ones() -> None:
    scores, classes = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([0, 0, 0, 0, 1, 1])
    assert best(scores, 4).tolist() == [0, 1, 2, 3]
    assert best(scores, 4, classes).tolist() == [0, 1, 4, 5]


def test_a_share_is_rounded_and_never_nothing() -> None:
    assert [so_many(0.3, of) for of in (0, 1, 2, 10, 1000)] == [0, 1, 1, 3, 300]
    assert so_many(1.0, 7) == 7
    assert so_many(0.7, 10) == 7, "0.7 * 10 is a little more than 7"
