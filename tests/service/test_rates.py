"""Rates: as many requests as are allowed, whenever they come, and no caller pays for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.rates import CALLERS, Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_no_more_pass_than_the_burst_and_the_rate_allow(per_second: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = Rates(per_second, burst, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += rates.take("ann") == 0
    assert passed <= burst + per_second * sum(pauses) + 1e-6


@given(st.floats(0.5, 50), st.integers(1, 20))
def test_who_waits_as_long_as_told_is_let_through(per_second: float, burst: int) -> None:
    clock = Clock()
    rates = Rates(per_second, burst, clock)
    for _ in range(burst):
        assert rates.take("ann") == 0
    clock.now += rates.take("ann") + 1e-9
    assert rates.take("ann") == 0


def test_one_callers_haste_is_not_anothers() -> None:
    rates = Rates(1, 1, Clock())
    assert rates.take("ann") == 0
    assert rates.take("ann") > 0
    assert rates.take("bob") == 0


def test_without_a_rate_there_is_no_limit() -> None:
    rates = Rates(0, 1, Clock())
    assert {rates.take("ann") for _ in range(100)} == {0.0}


def test_memory_does_not_grow_with_the_callers() -> None:
    rates = Rates(1, 1, Clock())
    for number in range(CALLERS + 50):
        rates.take(str(number))
    assert len(rates._buckets) == CALLERS
