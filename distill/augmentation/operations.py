"""Operations on texts, one after the other: what a config asks for, made ready once, and what of it an id hangs on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

from contract.manifest import Json
from distill.augmentation.contextual import Contextual
from distill.augmentation.edits import OfEach, Synonyms, delete, swap
from distill.augmentation.synonyms import find_synonyms
from distill.augmentation.synonyms import identity_of as identity_of_synonyms
from distill.augmentation.translation import BackTranslation, Translator
from distill.augmentation.wording import Wording
from distill.models.device import Device
from distill.models.pretrained import content_hash, find_model
from distill.settings.augmentation import MODELS_OF_OPERATIONS, OperationConfig


class Operation(Protocol):
    """Changes many wordings, each by its own draws, so that a text's copy hangs on no other text's."""

    def __call__(self, wordings: Sequence[Wording], draws: Sequence[random.Random]) -> list[Wording]: ...


def in_order(
    operations: Sequence[Operation], wordings: Sequence[Wording], draws: Sequence[random.Random]
) -> list[Wording]:
    """All operations, one after the other."""
    done = list(wordings)
    for operation in operations:
        done = operation(done, draws)
    return done


def make_operations(configs: Sequence[OperationConfig], device: Device) -> list[Operation]:
    """The operations, in their order; BadInput, NotFound or MissingExtra where a model or a file is not to be had."""
    return [_operation(config, device) for config in configs]


def identity_of(configs: Sequence[OperationConfig]) -> list[dict[str, Json]]:
    """The operations as an id hangs on them: models and files by their content, not by where they lie."""
    return [_identity(config) for config in configs]


def needs_model(configs: Sequence[OperationConfig]) -> bool:
    """Whether a number format can make a difference."""
    return any(getattr(config, setting) for config in configs for setting in MODELS_OF_OPERATIONS)


def _operation(config: OperationConfig, device: Device) -> Operation:
    chance = config.probability
    match config.name:
        case "swap":
            return OfEach(swap, chance)
        case "delete":
            return OfEach(delete, chance)
        case "synonyms":
            assert config.file is not None
            return Synonyms(find_synonyms(config.file), chance)
        case "contextual":
            assert config.model is not None
            return Contextual(find_model(config.model), chance, config.top_k, device)
        case "back-translation":
            assert config.there is not None
            assert config.back is not None
            there, back = (Translator(find_model(model), device) for model in (config.there, config.back))
            return BackTranslation(there, back, chance, sampled=config.sampled)


def _identity(config: OperationConfig) -> dict[str, Json]:
    settings: dict[str, Any] = config.model_dump(mode="json")
    for setting in MODELS_OF_OPERATIONS:
        if settings.get(setting):
            settings[setting] = content_hash(find_model(settings[setting]))
    if config.file is not None:
        settings["file"] = identity_of_synonyms(config.file)
    return settings
