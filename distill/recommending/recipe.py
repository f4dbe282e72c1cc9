"""A recipe: the choices a run made, the same words for the published runs and for our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

NO_DISTILLATION = "no distillation"
NONE = "none"
THEN = " > "  # between augmentations, in their order


@dataclass(frozen=True)
class Recipe:
    """None is no choice of that recipe's: `alpha` without mi-alpha, `neighbours` in the published runs.

    `retriever`, `neighbours` (about so many an utterance, a power of two) and `unlabelled` (the task's unlabelled text
    beside its labelled) say what the student read; the rest is how it learned, in the words of RUN.toml.
    `augmentation` is what was done to a text, in this order; `adapted` a teacher that learnt the domain's text first.
    """

    retriever: str | None = None
    neighbours: int | None = None
    unlabelled: bool | None = None
    intermediate: str = NONE
    alpha: float | None = None
    layer_mapping: str | None = None
    intermediate_weight: float | None = None
    soft_targets: str | None = None
    temperature: float | None = None
    hard_weight: float | None = None
    mixup: bool = False
    augmentation: str = NONE
    augmentation_share: float | None = None
    augmentation_times: int | None = None
    adapted: bool | None = None

    @property
    def choices(self) -> dict[str, str]:
        """Axis -> choice, of what was chosen."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        """In words, for people."""
        return "; ".join(self._words())

    @property
    def key(self) -> tuple[str, ...]:
        """What recipes are sorted by."""
        return tuple(str(value) for value in asdict(self).values())

    def _words(self) -> Iterator[str]:
        if self.retriever == NO_DISTILLATION:
            yield "no distillation, gold labels alone"
            return
        if self.retriever is not None:
            yield self._text()
        if self.intermediate != NONE:
            alpha = "" if self.alpha is None else f" {self.alpha:g}"
            yield f"{self.intermediate}{alpha}" + (f" ({self.layer_mapping})" if self.layer_mapping else "")
        if self.soft_targets is not None:
            yield (
                f"{self.soft_targets} of logits" if self.soft_targets == "mse" else f"{self.soft_targets} soft targets"
            )
        if self.adapted:
            yield "teacher adapted"
        if self.mixup:
            yield "mixup"
        if self.augmentation != NONE:
            times = f" x {self.augmentation_times}" if (self.augmentation_times or 1) > 1 else ""
            yield f"{self.augmentation} {self.augmentation_share:g}{times}"

    def _text(self) -> str:
        text = "all unlabelled task text" if self.unlabelled else "task text"
        if not self.neighbours:
            return text
        what = {"random": "random passages", "augmented": "augmented copies"}.get(
            str(self.retriever), f"{self.retriever} neighbours"
        )
        return f"{text} + ~{self.neighbours} {what} an utterance"
