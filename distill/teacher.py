"""The teacher: an encoder finetuned on the task's gold labels. An artifact, made once and shared by every run.

encoder/            the encoder and its tokenizer, as transformers saves them
head.safetensors    the linear layer on the pooled states; not where a task has slots alone
slots.safetensors   the linear layer on the state of each word's first token; only where a task has slots
teacher.json        classes, tags, pooling, longest text in tokens
predictions.parquet what it says of the test split
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from contract.store import Store
from distill.checkpoint import Checkpoint
from distill.config import Pooling, TeacherConfig
from distill.device import Device
from distill.evaluation import Answers, answers_of, answers_of_table, answers_table, teacher_scores
from distill.examples import gold_examples
from distill.gold import Gold
from distill.logits import logits_of
from distill.objectives import HARD
from distill.outcome import TeacherFacts
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
from distill.states import Said, Sight, Speaker, pooled, watched
from distill.tokens import Batch, Tokens, tokenize
from distill.training import Recipe, train
from distill.words import WordSpans

VERSION = 1
HEAD, SLOT_HEAD, PREDICTED = "head.safetensors", "slots.safetensors", "predictions.parquet"


class Classifier(nn.Module):
    """An encoder; its states pooled (mean over tokens, or the first) under a linear head, and one head for words."""

    def __init__(self, encoder: nn.Module, pooling: Pooling, outputs: int, dropout: float, tags: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        width: int = encoder.config.hidden_size  # type: ignore[union-attr, assignment]
        self.head = nn.Linear(width, outputs) if outputs else None
        self.slot_head = nn.Linear(width, tags) if tags else None

    def forward(self, batch: Batch) -> Said:
        states = self.encoder(**batch.inputs).last_hidden_state
        logits = slot_logits = None
        with torch.autocast(states.device.type, enabled=False):  # a bfloat16 logit of 8 is rounded by 0.03
            if self.head is not None:
                text = pooled(states.float(), batch.attention_mask, self.pooling)
                logits = self.head(self.dropout(text))
            if self.slot_head is not None:
                assert batch.words is not None, "slots are of words"
                slot_logits = self.slot_head(self.dropout(states.flatten(0, 1)[batch.words].float()))
        return Said(logits, slot_logits=slot_logits)


@dataclass(frozen=True)
class Teacher:
    """A finished teacher, opened."""

    artifact: Artifact
    model: Classifier
    tokenizer: Any
    classes: tuple[str, ...]
    max_length: int
    tags: tuple[str, ...] = ()
    mean: float | None = None  # of a regression's training rows

    def tokens(self, texts: Sequence[str], pairs: Sequence[str | None], words: WordSpans | None = None) -> Tokens:
        return tokenize(self.tokenizer, texts, pairs, max_length=self.max_length, words=words)

    def shown(self, sight: Sight) -> Speaker:
        """How a batch goes through it, frozen, its states shown. Not in inference mode: its tensors meet gradients.

        Both take the same time; bfloat16 takes a third of float32's (measured, MiniLM, avx512_bf16).
        """
        return torch.no_grad()(watched(self.model, self.model.encoder, sight))

    def answers(self) -> Answers:
        """What it says of the test split, in the task's order."""
        return answers_of_table(pq.read_table(self.artifact.path(PREDICTED)))

    def facts(self, model: str, gold: Gold, *, ms_per_utterance: float) -> TeacherFacts:
        """What a report says of it; the time is of the run that asks, so that it stands beside its student's."""
        parameters = self.artifact.manifest.facts["parameters"]
        return TeacherFacts(model, self.artifact.id, parameters, teacher_scores(gold, self.answers()), ms_per_utterance)


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
    if gold.kind != "classes":
        params |= {"kind": gold.kind, "out_of_scope": gold.out_of_scope}
    if gold.tags:
        params["slot_weight"] = gold.slot_weight
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
    outputs, tags = facts.get("outputs", len(facts["classes"])), tuple(facts.get("tags", ()))
    model = Classifier(load_encoder(directory, device), facts["pooling"], outputs, dropout=0.0, tags=len(tags))
    for head, name in ((model.head, HEAD), (model.slot_head, SLOT_HEAD)):
        if head is not None:
            head.load_state_dict(load_file(artifact.path(name)))
    model.to(device.name).eval()
    return Teacher(
        artifact,
        model,
        load_tokenizer(directory),
        tuple(facts["classes"]),
        facts["max_length"],
        tags,
        facts.get("mean"),
    )


def _make(draft: Draft, source: Path, config: TeacherConfig, gold: Gold, device: Device, progress: Progress) -> None:
    tokenizer = load_tokenizer(source)
    torch.manual_seed(config.seed)
    encoder = load_encoder(source, device)
    model = Classifier(encoder, config.pooling, gold.outputs, config.dropout, len(gold.tags)).to(device.name)
    if gold.kind == "regression" and model.head is not None:
        nn.init.constant_(model.head.bias, gold.mean)  # else many updates go into reaching it
    checkpoint = Checkpoint(draft.scratch("teacher.safetensors"), time.monotonic)
    if draft.receipt("train") is None:
        examples = gold_examples(gold, gold.train.tokens(tokenizer, config.max_length))
        recipe = Recipe.of(config, config.updates, config.seed)
        objective = replace(HARD, slot_weight=gold.slot_weight)
        train("teacher", model, model, examples, objective, recipe, checkpoint, device=device, progress=progress)
        _keep_model(draft, model, tokenizer, config, gold)
    checkpoint.read({"model": model}, None)
    tokens = gold.test.tokens(tokenizer, config.max_length)
    logits = logits_of(model, model, tokens, device, lambda done: progress("testing teacher", done, len(tokens)))
    answers = answers_of(logits, gold)
    _keep_test(draft, gold, answers)
    scores = teacher_scores(gold, answers)
    if gold.kind == "classes":  # these two, as ever: the id hangs on them
        scores = {name: scores[name] for name in ("accuracy", "macro_f1")}
    draft.finish(facts={**scores, "parameters": parameters_of(model)})


def _keep_model(draft: Draft, model: Classifier, tokenizer: Any, config: TeacherConfig, gold: Gold) -> None:
    folder = draft.scratch("teacher")
    with quiet():
        model.encoder.save_pretrained(folder / "encoder")  # type: ignore[operator]
        tokenizer.save_pretrained(folder / "encoder")
    for head, name in ((model.head, HEAD), (model.slot_head, SLOT_HEAD)):
        if head is not None:
            save_file({key: tensor.contiguous() for key, tensor in head.state_dict().items()}, folder / name)
    facts: dict[str, Json] = {"classes": gold.classes, "pooling": config.pooling, "max_length": config.max_length}
    if gold.kind != "classes":
        facts |= {"outputs": gold.outputs, "tags": gold.tags}
    if gold.kind == "regression":
        facts["mean"] = gold.mean
    (folder / "teacher.json").write_bytes(canonical_json(facts))
    keep_files(draft, "train", folder, state={})


def _keep_test(draft: Draft, gold: Gold, answers: Answers) -> None:
    table = answers_table(gold, answers)
    write_parquet(table, draft.partial(PREDICTED))
    draft.keep("test", {PREDICTED: table.num_rows})
