"""The settings in docs/operations.md are those there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import BadInput
from jobs.child import OWN
from service.settings import Settings
from service.settings_table import settings_table, with_table

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_page_has_the_settings_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run python -m service.settings_table docs/operations.md"


def test_every_setting_has_a_row_and_says_what_it_does() -> None:
    assert settings_table().count("\n| `TRANSFERSET_") == len(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())
    assert set(OWN) <= set(Settings.model_fields)


def test_a_page_without_a_place_for_them_is_refused() -> None:
    with pytest.raises(BadInput, match="no place for the settings"):
        with_table("# Operations")
