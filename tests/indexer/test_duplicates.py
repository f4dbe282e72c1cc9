"""Duplicates: what stood before is known, however much was seen in between."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.reading.duplicates import Names, Seen, hash_texts

NUMBERS = st.lists(st.integers(0, 30), max_size=60)


def test_duplicates_are_equal_but_for_case_and_white_space():
    hashes = hash_texts(pa.array(["Play  some JAZZ", "play some jazz", "play some jazz!", "STRASSE x", "straße x"]))
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[3] == hashes[4]


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, max_size=12))
def test_seen_says_what_a_set_would(batches):
    seen, reference = Seen(), set()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(number not in reference)
            reference.add(number)
        assert seen.add(np.array(batch, dtype="<u8")).tolist() == expected


def test_asking_what_is_fresh_remembers_nothing():
    seen = Seen()
    numbers = np.array([1, 1, 2], dtype="<u8")
    assert seen.fresh(numbers).tolist() == seen.fresh(numbers).tolist() == [True, False, True]
    seen.add(numbers)
    assert not seen.fresh(numbers).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "a~2", "a~3", "b"]), max_size=20), st.integers(0, 20))
def test_names_are_the_same_whether_given_at_once_or_in_two_lives(ids, cut):
    at_once, _ = Names().unique(pa.array(ids, pa.string()))
    first, _ = Names().unique(pa.array(ids[:cut], pa.string()))
    second_life = Names()
    second_life.unique(first)
    rest, _ = second_life.unique(pa.array(ids[cut:], pa.string()))
    assert len(set(at_once.to_pylist())) == len(ids)
    assert len({*first.to_pylist(), *rest.to_pylist()}) == len(ids)
