"""Amounts: labels that are numbers to be foretold, not classes to be told apart."""

from __future__ import annotations

import math
from collections.abc import Iterable


def are_amounts(labels: Iterable[str]) -> bool:
    """Labels such as 3.8 are amounts, not classes; whole numbers may be either and are taken as classes."""
    different = set(labels)
    return any("." in label for label in different) and all(map(is_number, different))


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
