"""[augmentation], [mixup] and [curriculum]: what a student sees besides its texts as they are, and in what order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.settings.objective import ObjectiveConfig
from distill.settings.section import Rate, Section, Seed, Share
from distill.settings.training import DistillConfig

OperationName = Literal["swap", "delete", "synonyms", "contextual", "back-translation"]
WORDNET = "wordnet"  # the file of synonyms that is none
MODELS_OF_OPERATIONS = ("model", "there", "back")  # their settings that name one

Probability = Annotated[float, Field(gt=0, le=1)]

# Which settings an operation has of its own: needed, and allowed besides.
_OWN: dict[OperationName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "swap": ((), ()),
    "delete": ((), ()),
    "synonyms": (("file",), ()),
    "contextual": (("model",), ("top_k",)),
    "back-translation": (("there", "back"), ("sampled",)),
}


class OperationConfig(Section):
    """One operation. `probability` is a word's to be changed; a text's, in back-translation.

    "swap" exchanges a word with the one beside it. "synonyms" are those in `file`, JSON as {"film": ["movie", …]}, or
    "wordnet" where nltk's data is on this machine. "contextual" puts words that the masked language model `model`
    thinks likely, drawn from its `top_k`. "back-translation" goes through the sequence-to-sequence models `there` and
    `back`, greedily or `sampled`. Models are hub names or directories.
    """

    later = frozenset({"file", "model", "there", "back", "top_k", "sampled"})  # written only where they are used

    name: OperationName
    probability: Probability
    file: str | None = None
    model: str | None = None
    there: str | None = None
    back: str | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    sampled: bool = False

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> OperationConfig:
        needed, allowed = _OWN[self.name]
        for setting in needed:
            if getattr(self, setting) is None:
                raise ValueError(f'name = "{self.name}" needs {" and ".join(needed)}; add {setting}')
        stray = sorted(self.model_fields_set - {"name", "probability", *needed, *allowed})
        if stray:
            raise ValueError(f'{stray[0]} is no setting of name = "{self.name}"; leave it out')
        return self


class AugmentationConfig(Section):
    """New texts made of the transfer set's own, labelled by the teacher and learnt beside them.

    `operations` are done one after the other, in their order. `copies` of each text are made (fewer, where nothing
    changes), of "utterances", "neighbours" or "both". `every` so many epochs they are made anew; 0 is never. `seed` is
    of the texts alone, so that runs of several seeds share them. `gold` keeps an utterance's gold labels on its copies,
    for objective.hard_weight; else they have none.
    """

    operations: tuple[OperationConfig, ...] = ()
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    texts: Literal["utterances", "neighbours", "both"] = "both"
    every: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 0
    gold: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> AugmentationConfig:
        if not self.operations and self.model_fields_set - {"operations"}:
            raise ValueError(
                "operations is empty, so that nothing is made; add one, as in "
                '[[augmentation.operations]] name = "swap", probability = 0.1'
            )
        return self

    @field_validator("operations", mode="before")
    @classmethod
    def _as_a_list(cls, value: Any) -> Any:
        """One table where there is one operation."""
        return [value] if isinstance(value, dict) else value


class MixupConfig(Section):
    """Mixup (Zhang et al. 2018) of word embeddings: batches mixed with themselves, lambda from Beta(`beta`, `beta`).

    `batches` "append" puts the mixed texts beside the plain ones, as Distiller does, "replace" in their stead, "none"
    mixes nothing. `targets` are the "stored" labels, mixed alike, or what the teacher says "live" of the mixed
    embeddings. Mixed texts have no gold labels.
    """

    batches: Literal["none", "append", "replace"] = "none"
    beta: Rate = 0.4
    targets: Literal["stored", "live"] = "stored"

    @model_validator(mode="after")
    def _does_something(self) -> MixupConfig:
        if self.batches == "none" and self.model_fields_set - {"batches"}:
            raise ValueError('batches is "none", so that nothing is mixed; set it to append or replace')
        return self


class CurriculumConfig(Section):
    """Which neighbours are seen when: those with the best rank or score first, or last; utterances always.

    From `start` of the neighbours on, so many more with every tenth of the way, until at `full` of the updates all are.
    """

    by: Literal["none", "rank", "score"] = "none"
    first: Literal["near", "far"] = "near"
    start: Share = 0.2
    full: Probability = 0.5

    @model_validator(mode="after")
    def _does_something(self) -> CurriculumConfig:
        if self.by == "none" and self.model_fields_set - {"by"}:
            raise ValueError('by is "none", so that no text waits; set it to rank or score')
        return self


def refuse_augmentation(
    augmentation: AugmentationConfig,
    mixup: MixupConfig,
    curriculum: CurriculumConfig,
    objective: ObjectiveConfig,
    distill: DistillConfig | None,
    *,
    of_words: bool,
) -> None:
    """ValueError where these do not go with each other, or with what is learnt; `of_words` is a task with slots,
    `distill` None where nothing is distilled."""
    used = {
        "augmentation": bool(augmentation.operations),
        "mixup": mixup.batches != "none",
        "curriculum": curriculum.by != "none",
    }
    stray = [name for name, is_used in used.items() if is_used and distill is None]
    if stray:
        raise ValueError(
            f"{stray[0]} is of what a student distils on, found no transfer_set; name one, or leave it out"
        )
    if augmentation.every and distill is not None and distill.tokens_per_batch is not None:
        raise ValueError(
            "augmentation.every counts epochs in batches of so many texts, found distill.tokens_per_batch; give "
            "distill.batch_size, or leave every out"
        )
    translated = any(operation.name == "back-translation" for operation in augmentation.operations)
    if of_words and translated and augmentation.texts != "neighbours":
        raise ValueError(
            "augmentation: back-translation does not say which word became which, so that slots lose their words; "
            'leave it out for this task, or set augmentation.texts = "neighbours"'
        )
    if augmentation.gold and not objective.hard_weight:
        raise ValueError(
            "augmentation.gold keeps gold labels, which objective.hard_weight = 0 does not learn; raise it, or leave "
            "gold out"
        )
    remade = next((name for name in ("augmentation", "mixup") if used[name]), None)
    if remade and objective.states == "stored":
        raise ValueError(
            f'objective.states = "stored" keeps the states of the transfer set\'s own texts, found {remade}, which '
            'makes others; take states = "live", or leave it out'
        )
    if used["mixup"]:
        _refuse_mixup(mixup, objective, of_words=of_words)


def _refuse_mixup(mixup: MixupConfig, objective: ObjectiveConfig, *, of_words: bool) -> None:
    if of_words:
        raise ValueError(
            "mixup mixes texts, whose words do not stand in the same places, so that no tag is of a mixed word; "
            "leave it out for a task with slots"
        )
    if objective.mlm_weight:
        raise ValueError("mixup has no words to hide, as objective.mlm_weight does; leave one of them out")
    if not (objective.soft_weight or objective.intermediate):
        raise ValueError("mixup has no gold labels to learn from; raise objective.soft_weight, or leave mixup out")
    if mixup.batches == "replace" and objective.hard_weight:
        raise ValueError(
            'mixup.batches = "replace" leaves no text with a gold label, but objective.hard_weight is '
            f'{objective.hard_weight:g}; set it to 0, or take batches = "append"'
        )
