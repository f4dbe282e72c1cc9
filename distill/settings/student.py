"""[student]: the model that learns, and where it begins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distill.settings.section import Section, Share, Tokens

Origin = Literal["scratch", "skip", "first", "last", "pretrained", "static"]
Vocabulary = Literal["teacher", "trimmed"] | int

_SIZED = ("pretrained", "static")  # whose layers are not a choice
_FEWEST_PIECES = 8


class StudentConfig(Section):
    """Width and heads may be left out: 128 and one a 64 from scratch, the teacher's own with kept layers.

    `from` "pretrained" is the encoder `model` (as the teacher's: a hub name or a directory) with its own tokenizer, and
    as large as it is. "static" is the mean of the tokens' embeddings, `width` numbers each [256, or the teacher's if
    fewer], without layers. A table of tokens begins as `embeddings` says: "teacher" [static], as the teacher sees each
    token alone, or "random" [from scratch, as ever; "teacher" lifts CLINC150's valid split from 52 to 77 % after 500
    updates]. `vocabulary` is the tokenizer's own, whoever's it is ("teacher"), or "trimmed" to the pieces that the
    transfer set and the training rows need, or so many of them.

    Dropout too: none for a student that distils (0.1 costs 8 points on CLINC150's generic-random text), 0.1 for one
    that has the gold labels alone (none costs it 3).
    """

    later = frozenset({"model", "embeddings", "vocabulary"})

    layers: Annotated[int, Field(ge=1)] | None = None  # 2, where the origin does not say
    width: Annotated[int, Field(ge=8)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    origin: Annotated[Origin, Field(alias="from")] = "scratch"
    model: str | None = None
    embeddings: Literal["teacher", "random"] | None = None
    vocabulary: Vocabulary = "teacher"
    dropout: Share | None = None
    max_length: Tokens = 64

    @model_validator(mode="before")
    @classmethod
    def _two_layers(cls, raw: Any) -> Any:
        """What has layers to choose has two."""
        if isinstance(raw, dict) and raw.get("layers") is None:
            origin = raw.get("from", raw.get("origin", "scratch"))
            return raw if origin in _SIZED else {**raw, "layers": 2}
        return raw

    @field_validator("embeddings")
    @classmethod
    def _not_its_own(cls, value: str | None, known: ValidationInfo) -> str | None:
        """What the origin does by itself is not written: older ids stay."""
        own = {"static": "teacher", "scratch": "random"}.get(known.data.get("origin", ""))
        return None if value == own else value

    @property
    def begins_as_teacher(self) -> bool:
        """Whether the table of tokens does."""
        return (self.embeddings or ("teacher" if self.origin == "static" else "random")) == "teacher"

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= _FEWEST_PIECES
        if not (whole or value in ("teacher", "trimmed")):
            raise ValueError(
                f'expected "teacher", "trimmed" or a number of pieces from {_FEWEST_PIECES}, found {value!r}'
            )
        return value

    @model_validator(mode="after")
    def _fits_its_origin(self) -> StudentConfig:
        if self.origin == "pretrained" and not self.model:
            raise ValueError('from = "pretrained" needs model, a hub name or a directory; add it')
        if self.origin != "pretrained" and self.model is not None:
            raise ValueError(f'model is of from = "pretrained", found from = "{self.origin}"; leave one of them out')
        if self.origin == "static" and (self.layers is not None or self.heads is not None):
            raise ValueError('from = "static" has neither layers nor heads; leave them out')
        if self.origin not in ("static", "scratch") and self.embeddings is not None:
            raise ValueError(
                f'embeddings is of from = "static" or "scratch", found from = "{self.origin}"; leave it out'
            )
        return self
