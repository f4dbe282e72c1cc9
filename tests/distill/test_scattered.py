"""Scattered values: read as the whole array would be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.reading.scattered import Scattered


@given(st.dictionaries(st.integers(0, 30), st.integers(-5, 5)), st.lists(st.integers(0, 30), max_size=20))
@settings(max_examples=150, deadline=None)
def test_scattered_values_are_read_as_the_whole_array_is(known: dict[int, int], at: list[int]) -> None:
    whole = np.full(31, -1)
    whole[list(known)] = list(known.values())
    places = np.array(sorted(known), np.int64)
    found = Scattered(places, whole[places], -1)[np.array(at, np.int64)]
    assert found.dtype == whole.dtype
    assert found.tolist() == whole[np.array(at, np.int64)].tolist()


def test_what_is_read_may_be_changed() -> None:
    some = Scattered(np.array([2]), np.array([5.0], np.float32), np.nan)
    read = some[np.array([2, 3])]
    read[:] = 0
    assert some[np.array([2])].tolist() == [5.0]
