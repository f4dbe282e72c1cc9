"""The first of each: found part by part as by looking at all hashes at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.reading.first import first_of_each


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_the_first_of_each_is_where_it_was_not_seen_before(pairs: list[tuple[int, int]], part: int) -> None:
    hashes = np.array(pairs, np.uint64).reshape(-1, 2)
    seen: set[tuple[int, int]] = set()
    expected = [pair not in seen and not seen.add(pair) for pair in pairs]  # type: ignore[func-returns-value]
    assert first_of_each(hashes, part).tolist() == expected


def test_half_a_hash_does_not_make_two_one() -> None:
    hashes = np.array([[7, 1], [7, 2], [8, 1], [7, 1]], np.uint64)
    assert first_of_each(hashes).tolist() == [True, True, True, False]


@pytest.mark.parametrize("part", [1000, 1 << 22])
def test_many_hashes_are_looked_through_as_few_are(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr("distill.reading.first._LOOK", 700)
    hashes = np.random.default_rng(0).integers(0, 60, (5000, 2)).astype(np.uint64) << np.uint64(50)
    first = first_of_each(hashes, part)
    assert np.array_equal(np.flatnonzero(first), np.sort(np.unique(hashes, axis=0, return_index=True)[1]))
