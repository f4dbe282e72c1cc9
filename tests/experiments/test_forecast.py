"""Forecasts: runs take as long as those that are most like them did."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experiments.experiment import PlannedRun
from experiments.forecast import seconds_left


def run(part: str, arm: str, seed: int) -> PlannedRun:
    return PlannedRun(part, arm, seed, ("distill", "RUN.toml", "--name", f"{part}-{arm}-{seed}"))


def test_nothing_is_known_before_the_first_run() -> None:
    assert seconds_left([run("a", "soft", 0)], [], {}) is None


def test_another_seed_takes_as_long() -> None:
    finished = [run("a", "soft", 0), run("a", "mi", 0)]
    took = {"a-soft-0": 30.0, "a-mi-0": 100.0}
    assert seconds_left([run("a", "mi", 1), run("a", "mi", 2)], finished, took) == 200.0


def test_of_another_part_it_is_the_arm_that_tells() -> None:
    finished = [run("a", "soft", 0), run("a", "mi", 0)]
    assert seconds_left([run("b", "mi", 0)], finished, {"a-soft-0": 30.0, "a-mi-0": 100.0}) == 100.0


def test_of_another_arm_it_is_the_part_that_tells() -> None:
    finished = [run("a", "soft", 0), run("b", "mi", 0)]
    assert seconds_left([run("a", "pkd", 0)], finished, {"a-soft-0": 30.0, "b-mi-0": 100.0}) == 30.0


def test_what_is_more_like_it_tells() -> None:
    """Part and arm before the arm elsewhere, the arm elsewhere before another arm of the part."""
    finished = [run("a", "mi", 0), run("b", "mi", 0), run("a", "soft", 0)]
    took = {"a-mi-0": 100.0, "b-mi-0": 50.0, "a-soft-0": 10.0}
    assert seconds_left([run("a", "mi", 1)], finished, took) == 100.0
    assert seconds_left([run("a", "mi", 1)], finished[1:], took) == 50.0
    assert seconds_left([run("a", "mi", 1)], finished[2:], took) == 10.0


def test_a_run_whose_time_nobody_took_tells_nothing() -> None:
    assert seconds_left([run("a", "mi", 1)], [run("a", "mi", 0)], {}) is None


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=6), st.integers(1, 5))
def test_it_lies_between_the_shortest_and_the_longest(seconds: list[float], left: int) -> None:
    finished = [run("a", f"arm{number}", 0) for number in range(len(seconds))]
    took = {each.name: value for each, value in zip(finished, seconds, strict=True)}
    told = seconds_left([run("b", "new", seed) for seed in range(left)], finished, took)
    assert told is not None
    assert min(seconds) * left * 0.999 <= told <= max(seconds) * left * 1.001
