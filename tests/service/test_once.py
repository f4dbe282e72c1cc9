"""Once: of the requests with one idempotency key one is answered at a time, and a failure frees the key."""

from __future__ import annotations

import pytest

from jobs.problem import Refused
from service.once import Once


def test_a_key_in_use_is_refused_until_it_is_free_again() -> None:
    once = Once()
    with once.answering("a"):
        with pytest.raises(Refused) as raised, once.answering("a"):
            pass
        assert (raised.value.status, raised.value.kind, raised.value.headers) == (
            409,
            "in-flight",
            {"Retry-After": "1"},
        )
        with once.answering("b"), once.answering(None), once.answering(None):
            pass
    with once.answering("a"):
        pass


def test_a_request_that_fails_frees_its_key() -> None:
    once = Once()
    with pytest.raises(ValueError, match="broken"), once.answering("a"):
        raise ValueError("broken")
    with once.answering("a"):
        pass
