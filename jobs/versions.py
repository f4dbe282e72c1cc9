"""Versions: in which form a job's payload is kept, and how one that older code took in becomes one of today.

A form is a whole number. It changes when the payload of a kind changes, or a kind is new in a queue that was there: not
with every release. DBOS hands a worker only jobs of its own form, so that an old worker leaves a newer job to a newer
worker; older jobs are brought forward (`Forms.upgraded`), and those no worker can read fail with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contract.errors import BadInput
from contract.manifest import Json

Payload = dict[str, Json]


@dataclass(frozen=True)
class Forms:
    """The form this code writes, and how the payload of an earlier one becomes one of the next: (kind, payload)."""

    present: int
    upgrades: Mapping[int, Callable[[str, Payload], Payload]] = field(default_factory=dict)

    @property
    def oldest(self) -> int:
        """The earliest form that can be brought forward to the present one."""
        form = self.present
        while form - 1 in self.upgrades:
            form -= 1
        return form

    @property
    def name(self) -> str:
        """What DBOS calls the version of an application."""
        return str(self.present)

    def is_newer(self, form: str | None) -> bool:
        """Whether a worker of a later version may read what this one cannot."""
        return not (form or "").isdecimal() or int(form or "") > self.present

    def upgraded(self, kind: str, form: str, payload: Payload) -> Payload:
        """A payload in the present form; BadInput when it is in one this code cannot read."""
        if self.is_newer(form) or int(form) < self.oldest:
            raise BadInput(
                f"The job was ordered in form {form[:20]} by {'a newer' if self.is_newer(form) else 'an older'} "
                f"version of transferset, and its workers read {self.oldest} to {self.present}: "
                f"{'upgrade the workers and order it again' if self.is_newer(form) else 'order it again'}"
            )
        for step in range(int(form), self.present):
            payload = self.upgrades[step](kind, payload)
        return payload


# Form 1: (name, request) of a transfer set in the queue build, of a run in the queue distill.
FORMS = Forms(present=1)
