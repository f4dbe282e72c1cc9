"""The request for a transfer set: every setting that makes one, checked before any work is done.

Written by people, on the command line or over HTTP; read by `service.transfer_set`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.errors import BadInput
from contract.manifest import Json
from contract.task import Target
from service.neighbours import MAX_K
from service.selection import SelectionPolicy

Retriever = Literal["lexical", "dense", "hybrid", "random", "augmented", "none"]
# What is longer is no name, and errors and jobs repeat names.
SplitName = Annotated[str, Field(min_length=1, max_length=200)]
ColumnName = Annotated[str, Field(max_length=1000)]


class TransferSetRequest(BaseModel):
    """Everything that makes a transfer set. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Path = Field(description="a task file, or a directory with one file a split")
    index: str | None = Field(default=None, description="name of the index; augmented and none need none")
    columns: dict[ColumnName, ColumnName] = Field(default_factory=dict, description="our column names -> the file's")
    skip_bad_rows: bool = Field(
        default=False, description="keep the good rows of the task; the bad ones go to errors.jsonl"
    )
    split: SplitName = Field(default="train", description="the split whose utterances get neighbours")
    target: Target | None = Field(
        default=None,
        description="whose classes `shots` counts and `policy.per_class` is even over; default intent, label or domain",
    )
    shots: int | None = Field(default=None, ge=1, lt=2**31, description="utterances of each class; default all")
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    retriever: Retriever | None = Field(
        default=None, description="default: hybrid where the index has both, else what it has"
    )
    k: int = Field(default=20, ge=0, le=MAX_K, description="neighbours searched for each utterance")
    rounds: int = Field(
        default=1,
        ge=1,
        le=3,
        description="2: the best neighbours of each utterance are asked in their turn, and k more are added, of what "
        "they find; their ranks go on, and they have no score",
    )
    askers: int = Field(default=3, ge=1, le=20, description="neighbours of each utterance that ask in the next round")
    include_utterance: bool = Field(default=True, description="false gives the generic-only arm")
    heldout_splits: list[SplitName] | None = Field(
        default=None, max_length=1000, description="default: every other split of the task; [] for none"
    )
    policy: SelectionPolicy = SelectionPolicy()
    size_of: str | None = Field(default=None, description="a transfer set: as many generic texts as it has")
    edited: float = Field(
        default=0.3, gt=0, le=1, description="share of its words that an augmented variant edits at most"
    )

    @model_validator(mode="after")
    def _has_texts(self) -> TransferSetRequest:
        if self.index is None and self.retriever not in ("augmented", "none"):
            raise ValueError("expected the name of an index, found none; name one, or take retriever none or augmented")
        no_neighbours = self.k == 0 or self.retriever == "none"
        if no_neighbours and not self.include_utterance:
            raise ValueError("expected texts to keep, found none: without the utterances it takes a retriever and a k")
        share = self.policy.generic_share
        if share is not None and ((no_neighbours and share > 0) or (not self.include_utterance and share < 1)):
            raise ValueError(f"expected texts on both sides of the generic share {share:g}, found one side only")
        if self.rounds > 1 and self.k == 0:
            raise ValueError("expected a k for the neighbours that ask in the next round, found 0")
        if self.split in (self.heldout_splits or ()):
            raise ValueError(
                f"expected held-out splits other than the split itself, found {self.split!r} as both, "
                "which would hold out every utterance"
            )
        return self


def read_request(values: Mapping[str, Json]) -> TransferSetRequest:
    """A request out of loose values; BadInput with a sentence for each fault when they do not make one."""
    try:
        return TransferSetRequest.model_validate(values)
    except ValidationError as error:
        raise BadInput("; ".join(_sentence(dict(fault)) for fault in error.errors())) from error


def _sentence(fault: Mapping[str, Any]) -> str:
    """One fault of a request: which setting, what is wrong, what was found."""
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "value_error":
        return f"{where}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    found = "" if fault["type"] == "missing" else f", found {str(fault['input'])[:80]!r}"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}{found}"
