"""What runs share is made once: the second to need it waits, and takes over from one that died."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.draft import Plan, drafting
from contract.progress import silent
from distill.shared import drafting_shared

PLAN = Plan("teacher", 1, {"updates": 3})


def test_the_second_waits_until_the_first_has_finished(tmp_path: Path) -> None:
    waits: list[float] = []
    heard: list[str] = []
    with ExitStack() as first:
        draft = first.enter_context(drafting(tmp_path / "t", PLAN))

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                draft.finish()
                first.close()

        with drafting_shared(
            tmp_path / "t", PLAN, progress=lambda stage, *_: heard.append(stage), sleep=sleep
        ) as second:
            assert second.finished is not None
    assert len(waits) == 3
    assert set(heard) == {"waiting for teacher"}


def test_the_second_goes_on_where_the_first_died(tmp_path: Path) -> None:
    with ExitStack() as first:
        draft = first.enter_context(drafting(tmp_path / "t", PLAN))
        draft.keep("train", {}, state={"seconds": 2})
        with drafting_shared(tmp_path / "t", PLAN, progress=silent, sleep=lambda _: first.close()) as second:
            assert second.finished is None
            receipt = second.receipt("train")
            assert receipt is not None
            assert receipt.state == {"seconds": 2}


def test_a_fault_within_frees_it_for_the_next(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="mine"),
        drafting_shared(tmp_path / "t", PLAN, progress=silent, sleep=lambda _: pytest.fail("nobody is there")),
    ):
        raise ValueError("mine")
    with drafting_shared(tmp_path / "t", PLAN, progress=silent) as draft:
        assert draft.finished is None
