"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.reporting import figures


def test_a_share_reads_as_per_cent_with_one_decimal() -> None:
    assert figures.percent(0.8071) == "80.7 %"
    assert figures.hundredths(0.8071) == "80.7"


def test_what_is_missing_is_a_dash_and_never_a_zero() -> None:
    assert {figures.percent(None), figures.points(None), figures.count(None), figures.hundredths(None)} == {"–"}


@pytest.mark.parametrize(
    ("difference", "read"), [(0.098, "+9.8"), (-0.0123, "−1.2"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0")]
)
def test_a_difference_carries_its_sign_unless_it_rounds_to_nothing(difference: float, read: str) -> None:
    assert figures.points(difference) == read


@pytest.mark.parametrize(
    ("parameters", "read"),
    [(22_713_216, "22.7 M"), (443_000, "443 k"), (7_000_000_000, "7 B"), (999_900, "1 M"), (12, "12"), (0, "0")],
)
def test_a_size_has_three_digits_and_a_unit(parameters: int, read: str) -> None:
    assert figures.size(parameters) == read


@given(st.integers(0, 10**12))
def test_a_size_is_never_written_with_an_exponent(parameters: int) -> None:
    assert "e" not in figures.size(parameters)


@pytest.mark.parametrize(("ratio", "read"), [(3.21, "3.2×"), (9.96, "10×"), (52.4, "52×"), (1234.0, "1,234×")])
def test_a_factor_has_a_decimal_only_while_it_matters(ratio: float, read: str) -> None:
    assert figures.factor(ratio) == read


@pytest.mark.parametrize(
    ("seconds", "read"),
    [(0.04, "0.0 s"), (18.34, "18.3 s"), (59.7, "1 min 0 s"), (75.2, "1 min 15 s"), (7325, "2 h 2 min")],
)
def test_a_duration_changes_its_unit_at_the_minute_and_at_the_hour(seconds: float, read: str) -> None:
    assert figures.duration(seconds) == read


@pytest.mark.parametrize(("value", "read"), [(0.3041, "0.304 ms"), (2.91, "2.91 ms"), (1234.5, "1,234 ms")])
def test_milliseconds_have_three_digits(value: float, read: str) -> None:
    assert figures.milliseconds(value) == read


@pytest.mark.parametrize(
    ("words", "read"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_list_reads_as_in_a_sentence(words: list[str], read: str) -> None:
    assert figures.listed(words) == read
