"""Pages: together they are the list, whatever comes and goes meanwhile."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.problem import Refused
from service.pages import page_of, read_token, token_of

NAMES = st.sets(st.text("abcXYZ019._-", min_size=1, max_size=8))


def walk(names: list[str], limit: int) -> list[str]:
    seen, token = [], None
    while True:
        page = page_of(names, limit, token, str.upper)
        seen += page.items
        token = page.next_page_token
        if token is None:
            return seen


@given(NAMES, st.integers(1, 10))
def test_the_pages_together_are_the_list(names: set[str], limit: int) -> None:
    assert walk(sorted(names), limit) == [name.upper() for name in sorted(names)]


def test_a_full_last_page_promises_no_other() -> None:
    assert page_of(["a", "b"], 2, None, str).next_page_token is None


def test_what_appears_on_a_page_already_seen_shifts_nothing() -> None:
    first = page_of(["b", "d", "f"], 2, None, str)
    assert page_of(["a", "b", "c", "d", "f"], 2, first.next_page_token, str).items == ["f"]


def test_the_page_goes_on_where_the_last_name_was_removed() -> None:
    first = page_of(["a", "b", "c"], 2, None, str)
    assert page_of(["a", "c"], 2, first.next_page_token, str).items == ["c"]


def test_only_the_items_of_the_page_are_shown() -> None:
    shown: list[str] = []
    page_of([str(n) for n in range(100)], 3, None, shown.append)
    assert len(shown) == 3


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_token_that_is_none_of_ours_is_refused(token: str) -> None:
    place: object = None
    with contextlib.suppress(Refused):
        place = read_token(token, str)
    assert place is None or isinstance(place, str)  # whoever guesses our form gets a page, which is all there is


def test_the_refusal_names_the_field() -> None:
    with pytest.raises(Refused, match="page_token is not one of ours") as raised:
        read_token("none", str)
    assert (raised.value.status, raised.value.field) == (422, "page_token")


def test_a_token_of_another_list_is_refused() -> None:
    with pytest.raises(Refused):
        read_token(token_of(["2026-01-01T00:00:00+00:00", 3]), str)


def test_a_token_nested_without_end_is_refused() -> None:
    with pytest.raises(Refused):
        read_token(base64.urlsafe_b64encode(b"[" * 100_000).decode(), list)
