"""The teacher: an encoder finetuned on the task's gold labels. An artifact, made once and shared by every run.

encoder/            the encoder and its tokenizer, as transformers saves them
head.safetensors    the linear layer on the pooled states
teacher.json        classes, pooling, longest text in tokens
predictions.parquet what it says of the test split
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from contract.store import Store
from distill.checkpoint import Checkpoint
from distill.config import Pooling, TeacherConfig
from distill.device import Device
from distill.evaluation import predicted_labels, score_teacher
from distill.gold import Gold
from distill.logits import logits_of
from distill.objectives import HARD
from distill.outcome import TeacherFacts, TeacherScores
from distill.pretrained import (
    content_hash,
    find_model,
    keep_files,
    load_encoder,
    load_tokenizer,
    parameters_of,
    quiet,
)
from distill.shared import drafting_shared
from distill.tokens import Batch, Tokens, tokenize
from distill.training import Examples, Recipe, train

VERSION = 1
HEAD, PREDICTED = "head.safetensors", "predictions.parquet"


class Classifier(nn.Module):
    """An encoder, its states pooled (mean over tokens, or the first), and a linear head."""

    def __init__(self, encoder: nn.Module, pooling: Pooling, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, classes)  # type: ignore[union-attr, arg-type]

    def forward(self, batch: Batch) -> Tensor:
        """A batch -> logits (B, C)."""
        states = self.encoder(**batch.inputs).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # a bfloat16 logit of 8 is rounded by 0.03
            text = pooled(states.float(), batch.attention_mask, self.pooling)
            return self.head(self.dropout(text))  # type: ignore[no-any-return]


def pooled(states: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """(B, L, H) states -> (B, H): the first token's, or the mean over the tokens that are no padding."""
    if pooling == "first":
        return states[:, 0]
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * mask).sum(1) / mask.sum(1)


@dataclass(frozen=True)
class Teacher:
    """A finished teacher, opened."""

    artifact: Artifact
    model: Classifier
    tokenizer: Any
    classes: tuple[str, ...]
    max_length: int

    def tokens(self, texts: Sequence[str], pairs: Sequence[str | None]) -> Tokens:
        return tokenize(self.tokenizer, texts, pairs, max_length=self.max_length)

    def predictions(self) -> list[str]:
        """What it says of the test split, in the task's order."""
        predicted: list[str] = pq.read_table(self.artifact.path(PREDICTED))["predicted"].to_pylist()
        return predicted

    def facts(self, model: str, *, ms_per_utterance: float) -> TeacherFacts:
        """What a report says of it; the time is of the run that asks, so that it stands beside its student's."""
        stored = self.artifact.manifest.facts
        scores = TeacherScores(stored["accuracy"], stored["macro_f1"])
        return TeacherFacts(model, self.artifact.id, stored["parameters"], scores, ms_per_utterance)


def obtain_teacher(store: Store, config: TeacherConfig, gold: Gold, device: Device, *, progress: Progress) -> Artifact:
    """The teacher of these settings: the one that is there, else trained now (or on from where it was killed)."""
    source = find_model(config.model)
    params: dict[str, Json] = {
        **config.model_dump(exclude={"model"}),
        "base": content_hash(source),
        "dtype": device.dtype,
        "target": gold.target,
        "train": gold.train.identity,
        "test": gold.test.identity,
    }
    plan = Plan("teacher", VERSION, params, {"task": gold.task.id})
    directory = store.path("teacher", hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:16])
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            _make(draft, source, config, gold, device, progress)
    return open_artifact(directory, "teacher", version=VERSION)


def open_teacher(artifact: Artifact, device: Device) -> Teacher:
    """The teacher's model in memory, every file checked against the manifest."""
    for entry in artifact.manifest.files:
        artifact.path(entry.name)
    facts = json.loads(artifact.path("teacher.json").read_bytes())
    directory = artifact.directory / "encoder"
    model = Classifier(load_encoder(directory, device), facts["pooling"], len(facts["classes"]), dropout=0.0)
    model.head.load_state_dict(load_file(artifact.path(HEAD)))
    model.to(device.name).eval()
    return Teacher(artifact, model, load_tokenizer(directory), tuple(facts["classes"]), facts["max_length"])


def _make(draft: Draft, source: Path, config: TeacherConfig, gold: Gold, device: Device, progress: Progress) -> None:
    tokenizer = load_tokenizer(source)
    torch.manual_seed(config.seed)
    encoder = load_encoder(source, device)
    model = Classifier(encoder, config.pooling, len(gold.classes), config.dropout).to(device.name)
    checkpoint = Checkpoint(draft.scratch("teacher.safetensors"), time.monotonic)
    if draft.receipt("train") is None:
        examples = Examples(gold.train.tokens(tokenizer, config.max_length), gold.train.classes)
        recipe = Recipe.of(config, config.updates, config.seed)
        train("teacher", model, model, examples, HARD, recipe, checkpoint, device=device, progress=progress)
        _keep_model(draft, model, tokenizer, config, gold)
    checkpoint.read(model, None)
    logits = logits_of(model, model, gold.test.tokens(tokenizer, config.max_length), device)
    predicted = predicted_labels(logits, gold.classes)
    _keep_test(draft, gold, predicted)
    scores = asdict(score_teacher(gold.test.labels, predicted))
    draft.finish(facts={**scores, "parameters": parameters_of(model)})


def _keep_model(draft: Draft, model: Classifier, tokenizer: Any, config: TeacherConfig, gold: Gold) -> None:
    folder = draft.scratch("teacher")
    with quiet():
        model.encoder.save_pretrained(folder / "encoder")  # type: ignore[operator]
        tokenizer.save_pretrained(folder / "encoder")
    save_file({name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    facts = {"classes": gold.classes, "pooling": config.pooling, "max_length": config.max_length}
    (folder / "teacher.json").write_bytes(canonical_json(facts))
    keep_files(draft, "train", folder, state={})


def _keep_test(draft: Draft, gold: Gold, predicted: list[str]) -> None:
    table = pa.table({"id": gold.test.table["id"], "gold": gold.test.labels, "predicted": predicted})
    write_parquet(table, draft.partial(PREDICTED))
    draft.keep("test", {PREDICTED: table.num_rows})
