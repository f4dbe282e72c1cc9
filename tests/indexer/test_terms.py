"""Sorted terms behave as sorted sets of strings do, without being strings."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.bm25.terms import Terms, add_up, terms_of, unite

WORDS = st.text(st.sampled_from("ab\x00éz人\U00020000"), max_size=4)
SETS = st.sets(WORDS, max_size=12)


def terms(words: set[str]) -> Terms:
    return terms_of(pa.array(sorted(words), pa.large_string()))


@given(SETS)
@settings(max_examples=50, deadline=None)
def test_terms_are_what_they_were_made_of(words):
    assert terms(words).strings() == sorted(words) == terms(words).array().to_pylist()


@given(SETS, SETS)
@settings(max_examples=100, deadline=None)
def test_a_term_is_found_where_it_stands_or_not_at_all(words, wanted):
    there = sorted(words)
    assert terms(words).find(terms(wanted)).tolist() == [there.index(w) if w in words else -1 for w in sorted(wanted)]


@given(SETS, SETS)
@settings(max_examples=100, deadline=None)
def test_a_union_knows_where_its_terms_came_from(first, second):
    union = unite(terms(first), terms(second))
    assert union.terms.strings() == sorted(first | second)
    for words, positions in ((first, union.first), (second, union.second)):
        there = sorted(words)
        assert [there[at] if at >= 0 else None for at in positions] == [
            word if word in words else None for word in sorted(first | second)
        ]


@given(st.lists(st.dictionaries(WORDS, st.integers(0, 2**40), max_size=8), max_size=7))
@settings(max_examples=50, deadline=None)
def test_numbers_of_equal_terms_are_added_up(parts):
    found, numbers = add_up([(terms({*part}), np.array([part[w] for w in sorted(part)], np.int64)) for part in parts])
    expected = {word: sum(part.get(word, 0) for part in parts) for part in parts for word in part}
    assert dict(zip(found.strings(), numbers.tolist(), strict=True)) == expected


def test_nothing_has_no_terms():
    assert terms(set()).strings() == []
    assert terms(set()).find(terms({"a"})).tolist() == [-1]
