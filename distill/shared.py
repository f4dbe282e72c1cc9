"""Artifacts that runs share (teachers, labels): made by the first that needs one, waited for by the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.draft import Draft, Plan, drafting
from contract.errors import Busy
from contract.progress import Progress

PAUSE_S = 1.0


@contextmanager
def drafting_shared(
    directory: Path, plan: Plan, *, progress: Progress, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Draft]:
    """As `contract.draft.drafting`; while another process makes the same artifact, wait for it to finish or to die."""
    with ExitStack() as stack:
        while (draft := entered(stack, directory, plan)) is None:
            progress(f"waiting for {plan.kind}", 0, None)
            sleep(PAUSE_S)
        yield draft


def entered(stack: ExitStack, directory: Path, plan: Plan, *, restart: bool = False) -> Draft | None:
    """The draft, held until the stack is left; None while another process makes it."""
    try:
        return stack.enter_context(drafting(directory, plan, restart=restart))
    except Busy:
        return None
