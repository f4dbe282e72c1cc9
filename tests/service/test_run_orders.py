"""The form of an order: whatever is sent has it, or is refused by it in a sentence for each field."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contract.run import order_schema
from service.run_orders import check_form

ORDER: dict[str, Any] = {"name": "small", "task": {"name": "music"}, "student": {"layers": 2}}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = [*order_schema()["properties"]]


@hypothesis_settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(SECTIONS), anything, max_size=3))
def test_whatever_is_ordered_has_the_form_or_is_refused_by_it(changes: dict[str, Any]) -> None:
    try:
        check_form({**ORDER, **changes})
    except RequestValidationError as error:
        for fault in error.errors():
            assert fault["loc"][0] == "body"
            assert fault["msg"].startswith(("expected", "there is no such setting"))


def test_the_form_is_a_form() -> None:
    Draft202012Validator.check_schema(order_schema())


def test_the_smallest_order_has_the_form() -> None:
    check_form({"name": "small", "task": {"name": "music"}})
