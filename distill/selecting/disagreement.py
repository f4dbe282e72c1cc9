"""Disagreement: the texts on which a student, as it is now, is farthest from what its teacher said of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.models.device import Device
from distill.models.logits import TOKENS_A_BATCH
from distill.models.states import Sight
from distill.reading.source import ExampleSource
from distill.selecting.choices import Choices
from distill.selecting.quota import Numbers, best, so_many
from distill.settings.selection import SelectionConfig
from distill.students.student import Student
from distill.training.batches import by_length
from distill.training.curriculum import Stage

_SALT = 0xD15A  # so that no other draw of the seed is this one


@dataclass(frozen=True)
class Disagreement:
    """Chooses, at the beginning of a stage, which texts its batches are drawn from.

    Of the texts that are not `always` learnt (n,) so many are looked at as the stage will learn, `a_batch` texts a
    batch: looking goes one way through the student, without gradients, so that it costs a third of learning at most.
    """

    config: SelectionConfig
    student: Student
    examples: ExampleSource
    always: npt.NDArray[np.bool_]
    classes: Numbers | None  # (n,), the teacher's, where they are to be level
    temperature: float
    a_batch: float
    seed: int
    device: Device
    choices: Choices

    def __call__(self, stage: Stage, now: int, rows: Numbers) -> Numbers:
        """Those of `rows` that may be in the stage's batches; all, while the student knows nothing. It is at `now`."""
        if stage.begin == 0:
            return rows

        def choose() -> tuple[Numbers, int]:
            return self._chosen(stage, rows)

        return self.choices.obtain(stage, now, len(self.always), self.device.name, choose)

    def _chosen(self, stage: Stage, rows: Numbers) -> tuple[Numbers, int]:
        """Those always learnt and the farthest of those looked at; and how many these were."""
        free = rows[~self.always[rows]]
        bound = max(1, round((stage.end - stage.begin) * self.a_batch))
        if len(free) > bound:
            draw = np.random.default_rng([self.seed, _SALT, stage.begin])
            free = np.sort(draw.choice(free, bound, replace=False))
        found = self.scores(free)
        scores = found if self.config.order == "high" else -found
        classes = self.classes[free] if self.classes is not None and self.config.balance else None
        chosen = free[best(scores, so_many(self.config.keep, len(free)), classes)]
        return np.sort(np.concatenate([rows[self.always[rows]], chosen])), len(free)

    def scores(self, rows: Numbers) -> npt.NDArray[np.float64]:
        """How far the student is from its teacher on each of these texts, (n,): see `divergence`."""
        speak, tokens, name = self.student.shown(Sight()), self.examples.tokens, self.device.name
        scores = np.empty(len(rows))
        with _listening(self.student.model), torch.inference_mode(), self.device.matmuls():
            for places in by_length(np.asarray(tokens.lengths)[rows], TOKENS_A_BATCH):
                places.sort()  # parts of a joined batch stand in their own order
                some = rows[places]
                taught = self.examples.stored(some, name).logits
                said = speak(tokens.batch(some, name)).logits
                assert taught is not None, "the task has classes"
                assert said is not None, "the task has classes"
                scores[places] = divergence(said, taught, temperature=self.temperature).cpu().numpy()
        return scores


def divergence(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL from teacher to student over softened classes of each text, (B, C) each -> (B,): what `soft_target_loss` is
    the mean of, but for the temperature's square."""
    student = (student_logits.float() / temperature).log_softmax(-1)
    teacher = (teacher_logits.float() / temperature).log_softmax(-1)
    return (teacher.exp() * (teacher - student)).sum(-1)


@contextmanager
def _listening(model: nn.Module) -> Iterator[None]:
    """Within nothing is dropped out; then it learns on as before."""
    learning = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(learning)
