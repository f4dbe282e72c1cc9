"""Layer mapping: who learns from whom, and a transport that no other is cheaper than."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from distill.objectives.layer_mapping import all_layers, emd_flow, first_layers, last_layers, skip_layers, top_layer

depths = st.integers(1, 12)


def test_the_mappings_of_two_layers_onto_six() -> None:
    assert skip_layers(2, 6) == ((0, 0), (1, 3), (2, 6))
    assert last_layers(2, 6) == ((0, 4), (1, 5), (2, 6))
    assert first_layers(2, 6) == ((0, 0), (1, 1), (2, 2))
    assert top_layer(2, 6) == ((2, 6),)
    assert all_layers(2, 3) == ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))


@given(depths, depths)
def test_skip_goes_from_embeddings_to_the_last_layer_and_never_back(student: int, teacher: int) -> None:
    ours, theirs = zip(*skip_layers(student, teacher), strict=True)
    assert ours == tuple(range(student + 1))
    assert (theirs[0], theirs[-1]) == (0, teacher)
    assert list(theirs) == sorted(theirs)
    assert max(b - a for a, b in pairwise(theirs)) <= -(-teacher // student)


@given(depths, depths)
def test_last_and_first_are_neighbours_at_either_end(one: int, other: int) -> None:
    student, teacher = sorted((one, other))
    for pairs in (last_layers(student, teacher), first_layers(student, teacher)):
        assert {theirs - ours for ours, theirs in pairs} == {pairs[0][1]}
        assert all(0 <= theirs <= teacher for _, theirs in pairs)
    assert last_layers(student, teacher)[-1] == (student, teacher)
    assert first_layers(student, teacher)[0] == (0, 0)


def cheapest(costs: np.ndarray) -> float:
    """The reference: the transport as a linear programme."""
    students, teachers = costs.shape
    rows = np.kron(np.eye(students), np.ones(teachers))
    columns = np.kron(np.ones(students), np.eye(teachers))
    weights = np.concatenate([np.full(students, 1 / students), np.full(teachers, 1 / teachers)])
    return float(linprog(costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=weights).fun)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_no_transport_is_cheaper(students: int, teachers: int, seed: int) -> None:
    costs = np.random.default_rng(seed).normal(size=(students, teachers))  # a bound on information may be negative
    flow = emd_flow(costs)
    assert flow.min() >= 0
    assert flow.sum(1) == pytest.approx(np.full(students, 1 / students))
    assert flow.sum(0) == pytest.approx(np.full(teachers, 1 / teachers))
    assert (flow * costs).sum() == pytest.approx(cheapest(costs), abs=1e-9)


def test_layers_that_agree_are_matched() -> None:
    order = [2, 0, 3, 1]
    costs = np.ones((4, 4))
    costs[range(4), order] = 0
    assert np.array_equal(emd_flow(costs), (1 - costs) / 4)


def test_a_deep_teacher_is_shared_out() -> None:
    costs = np.abs(np.arange(2)[:, None] * 6 + 2.5 - np.arange(12)[None, :])
    flow = emd_flow(costs)
    assert np.allclose(flow[0, :6], 1 / 12)
    assert np.allclose(flow[1, 6:], 1 / 12)
