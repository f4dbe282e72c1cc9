"""Layer mapping: which of the student's layers learns from which of the teacher's.

Layers are numbered as hidden states are: 0 is the embeddings' output, 1 … the encoder's layers. The names are those of
He et al. 2021 (Distiller), `top` apart.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Pair = tuple[int, int]  # a student's layer, a teacher's


def skip_layers(student: int, teacher: int) -> tuple[Pair, ...]:
    """Evenly spaced over all of the teacher, embeddings onto embeddings and last onto last; floor(i T / S)."""
    return tuple((layer, layer * teacher // student) for layer in range(student + 1))


def last_layers(student: int, teacher: int) -> tuple[Pair, ...]:
    """The teacher's last, T - S + i; the student must not be the deeper one."""
    assert student <= teacher
    return tuple((layer, teacher - student + layer) for layer in range(student + 1))


def first_layers(student: int, teacher: int) -> tuple[Pair, ...]:
    """The teacher's first, i onto i; the student must not be the deeper one."""
    assert student <= teacher
    return tuple((layer, layer) for layer in range(student + 1))


def top_layer(student: int, teacher: int) -> tuple[Pair, ...]:
    """The last onto the last alone, as MiniLM."""
    return ((student, teacher),)


def all_layers(student: int, teacher: int) -> tuple[Pair, ...]:
    """Every layer with every layer, embeddings apart: what `emd_flow` chooses from. Row by row of (S, T)."""
    return tuple(product(range(1, student + 1), range(1, teacher + 1)))


def emd_flow(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cheapest transport of equal weights on S layers to equal weights on T, (S, T) costs -> (S, T), sum 1.

    As BERT-EMD (Li et al. 2020) with uniform weights. With such weights the problem is one of assignment, and is solved
    exactly: each layer is copied until both sides have lcm(S, T) of them.
    """
    students, teachers = costs.shape
    units = math.lcm(students, teachers)
    copied = costs.repeat(units // students, axis=0).repeat(units // teachers, axis=1)
    rows, columns = linear_sum_assignment(copied)
    flow = np.zeros(costs.shape)
    np.add.at(flow, (rows * students // units, columns * teachers // units), 1 / units)
    return flow
