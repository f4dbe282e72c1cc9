"""Settings as TOML: what is written is what is read."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.tuning.run_toml import to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2)
)
SETTINGS = st.dictionaries(TEXT, st.one_of(VALUES, st.dictionaries(TEXT, VALUES, min_size=1, max_size=3)), max_size=4)


@settings(deadline=None)
@given(SETTINGS)
def test_reading_gives_back_what_was_written(found: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(found, comment="Two\nlines.")) == found


def test_a_section_in_a_section_is_written_and_nothing_is_left_out() -> None:
    settings = {"seed": 1, "task": {"path": "a", "columns": {"text": "sentence"}}, "distill": {"updates": 3}}
    assert tomllib.loads(to_toml(settings)) == settings


def test_what_is_not_set_is_not_written() -> None:
    assert to_toml({"arm": None, "task": {"shots": None, "path": "a"}}) == '[task]\npath = "a"\n'
