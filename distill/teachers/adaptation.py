"""The adaptation of a teacher: masked language modelling on unlabelled text of its domain, before it is finetuned.

adaptation.json    of how many texts, how many were left out since they are held out, whether the head was found in the
                   model's files or made, and the losses; in the artifact of a teacher that was adapted
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch.nn.functional as F
from torch import Tensor, nn

from contract.artifact import Artifact
from contract.draft import Draft
from contract.errors import BadInput, CorruptArtifact
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from distill.models.device import Device
from distill.models.masked import MaskedLM, Masking, guessing
from distill.models.states import Said
from distill.objectives.share import WHOLE, Share
from distill.reading.examples import Examples
from distill.reading.gold import Gold
from distill.reading.source import Targets
from distill.reading.texts import read_texts, text_id
from distill.reading.tokens import tokenize
from distill.reporting.outcome import AdaptationFacts, CurvePoint
from distill.settings.task import TaskConfig
from distill.settings.teacher import AdaptConfig
from distill.training.checkpoint import Checkpoint
from distill.training.loop import Recipe, train

ADAPTATION = "adaptation.json"
_STEP = "adapt"

Text = tuple[str, str | None]


@dataclass(frozen=True)
class Unlabelled:
    """Texts to adapt on, each once, in the order they first stand; `held_out` were left out."""

    texts: tuple[Text, ...]
    held_out: int

    @property
    def identity(self) -> str:
        """A hash of the texts."""
        return hashlib.sha256("\n".join(text_id(*text) for text in self.texts).encode()).hexdigest()[:32]


def unlabelled_texts(config: AdaptConfig, task: TaskConfig, gold: Gold, transfer_set: Artifact | None) -> Unlabelled:
    """The texts that a teacher is to be adapted on; BadInput when there are none.

    Held out is every sentence of the task outside its train splits (law 7): which of them a run is tested on does not
    change its teacher.
    """
    found = dict.fromkeys(_texts_of(config, task, gold, transfer_set))
    rows = gold.task.table
    held_out = rows.filter(pc.invert(pc.is_in(rows["split"], value_set=_array(task.train_splits))))
    known = {_plain(text) for column in ("text", "text_pair") for text in held_out[column].to_pylist() if text}
    kept = tuple(text for text in found if not any(_plain(sentence) in known for sentence in text if sentence))
    if not kept:
        raise BadInput(
            f'teacher.adapt.texts = "{config.texts}" leaves no text to adapt on: {len(found)} found, all of them held '
            "out; expected texts of the domain: name others, or leave [teacher.adapt] out"
        )
    return Unlabelled(kept, len(found) - len(kept))


def _texts_of(config: AdaptConfig, task: TaskConfig, gold: Gold, transfer_set: Artifact | None) -> Iterable[Text]:
    if config.texts == "train":
        return gold.train.texts
    if config.texts == "split":
        rows = gold.task.table.filter(pc.is_in(gold.task.table["split"], value_set=_array(task.train_splits)))
    elif transfer_set is not None:
        rows = _at_most(read_texts(transfer_set).table, config.updates * config.batch_size * config.accumulate)
    else:
        raise BadInput(
            'teacher.adapt.texts is "transfer-set", and this run has none; expected a [transfer_set], or "train" or '
            '"split", the task\'s own texts'
        )
    return zip(rows["text"].to_pylist(), rows["text_pair"].to_pylist(), strict=True)


def _at_most(rows: pa.Table, most: int) -> pa.Table:
    """As many rows as can be learnt from, evenly drawn from all: a transfer set may be larger than memory."""
    if rows.num_rows <= most:
        return rows
    return rows.take(pa.array(np.linspace(0, rows.num_rows - 1, most).astype(np.int64)))


def _array(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _plain(sentence: str) -> str:
    """A sentence as it is compared with what is held out: by its words, in whatever letters."""
    return " ".join(sentence.casefold().split())


@dataclass(frozen=True)
class ToldTokens:
    """The loss of masked language modelling: cross-entropy with the tokens that stood in the masked places."""

    @property
    def helpers(self) -> nn.Module:
        return nn.ModuleList()

    def __call__(self, student: Said, teacher: Said, targets: Targets, share: Share = WHOLE) -> Tensor:  # noqa: ARG002
        assert student.masked is not None, "there are masked places"
        assert student.told is not None, "it is known what stood there"
        total = F.cross_entropy(student.masked, student.told, reduction="sum")
        return share.tokens * total / max(1, len(student.told))


def adapt(
    draft: Draft,
    model: MaskedLM,
    tokenizer: Any,
    texts: Unlabelled,
    config: AdaptConfig,
    *,
    head_found: bool,
    max_length: int,
    seed: int,
    device: Device,
    progress: Progress,
) -> None:
    """The model has been adapted when this returns: now, or before a kill. A step of the teacher's draft."""
    checkpoint = Checkpoint(draft.scratch(f"{_STEP}.safetensors"), time.monotonic)
    if draft.receipt(_STEP) is not None:
        if not checkpoint.read({"model": model}, None).is_over(config.updates):
            raise gone(draft, "adapted")
        return
    sentences, pairs = zip(*texts.texts, strict=True)
    tokens = tokenize(tokenizer, sentences, pairs, max_length=max_length)
    recipe = Recipe.of(config, config.updates, seed)
    standing = train(
        "adapt",
        model,
        guessing(lambda _: Said(None), model, Masking.of(tokenizer)),
        Examples(tokens),
        recipe.order(tokens.lengths),
        ToldTokens(),
        recipe,
        checkpoint,
        device=device,
        progress=progress,
    )
    facts = AdaptationFacts(
        len(texts.texts), texts.held_out, config.updates, "found" if head_found else "made", standing.curve
    )
    draft.partial(ADAPTATION).write_bytes(canonical_json(asdict(facts)))
    draft.keep(_STEP, {ADAPTATION: 0})


def adaptation_of(teacher: Artifact) -> AdaptationFacts | None:
    """How a teacher was adapted; None of one that was not."""
    if ADAPTATION not in (entry.name for entry in teacher.manifest.files):
        return None
    raw: dict[str, Json] = json.loads(teacher.path(ADAPTATION).read_bytes())
    return AdaptationFacts(**raw | {"curve": tuple(CurvePoint(**point) for point in raw["curve"])})


def gone(draft: Draft, done: str) -> CorruptArtifact:
    """What a step's receipt promises is not there."""
    return CorruptArtifact(
        f"{draft.directory} says that the teacher is {done}, but the weights it left are gone; remove the folder and "
        "run the same command again"
    )
