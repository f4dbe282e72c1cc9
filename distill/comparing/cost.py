"""The cost of an arm: what its runs took to train, and how large what they made is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.reporting.outcome import RunReport

FOUND_S = 2.0  # what a run takes at most to open a teacher or labels that are there


@dataclass(frozen=True)
class Cost:
    """Means over the seeds. `seconds` are of distilling and finetuning.

    `teacher_seconds` are of training the teacher and labelling the texts, as the run that did it says; None where all
    runs found both there.
    """

    seconds: float
    teacher_seconds: float | None
    parameters: float


def cost_of(reports: Sequence[RunReport]) -> Cost:
    """The cost of an arm's runs."""
    made = [max(report.seconds.teacher for report in reports), max(report.seconds.labels for report in reports)]
    of_teacher = sum(seconds for seconds in made if seconds > FOUND_S)
    return Cost(
        float(np.mean([report.seconds.distill + report.seconds.finetune for report in reports])),
        of_teacher or None,
        float(np.mean([report.student.parameters for report in reports])),
    )
