"""The teacher: an encoder finetuned on the task's gold labels, or as it is. An artifact, made once for every run.

encoder/            the encoder and its tokenizer, as transformers saves them; with its head for masked tokens, if any
head.safetensors    the linear layer on the pooled states; not where a task has slots alone, nor where it is as it was
slots.safetensors   the linear layer on the state of each word's first token; only where a task has slots
teacher.json        classes, tags, pooling, longest text in tokens
adaptation.json     what it was adapted on (distill.teachers.adaptation); only where it was

The test's rows have no part in it: what it says of them is an artifact of its own (distill.teachers.answers).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from contract.artifact import Artifact, open_artifact
from contract.draft import Draft, Plan
from contract.errors import BadInput
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from contract.store import Store
from distill.config import RunConfig
from distill.models.device import Device
from distill.models.logits import Logits, logits_of
from distill.models.masked import MaskedLM, Masking, guessing, load_masked_lm
from distill.models.pretrained import (
    content_hash,
    find_model,
    keep_files,
    load_encoder,
    load_tokenizer,
    parameters_of,
    quiet,
)
from distill.models.states import Said, Sight, Speaker, pooled, watched
from distill.objectives.objective import HARD
from distill.reading.examples import gold_examples
from distill.reading.gold import Gold
from distill.reading.texts import open_transfer_set
from distill.reading.tokens import Batch, Tokens, tokenize
from distill.reading.words import WordSpans
from distill.settings.teacher import Pooling, TeacherConfig
from distill.shared import drafting_shared
from distill.teachers.adaptation import Unlabelled, adapt, unlabelled_texts
from distill.teachers.ensemble import averaged
from distill.training.checkpoint import Checkpoint
from distill.training.loop import Recipe, train

VERSION = 2
HEAD, SLOT_HEAD = "head.safetensors", "slots.safetensors"


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
    """A finished teacher, opened. `beside` are more, whose probabilities are averaged with its own.

    One that was not finetuned has no answers; its classes and tags are those of the task it was opened for.
    """

    artifact: Artifact
    model: Classifier
    tokenizer: Any
    classes: tuple[str, ...]
    max_length: int
    tags: tuple[str, ...] = ()
    mean: float | None = None  # of a regression's training rows
    masked: MaskedLM | None = None  # the same encoder under its head for masked tokens
    beside: tuple[Teacher, ...] = ()

    @property
    def answers(self) -> bool:
        """Whether it says anything of the task."""
        return self.model.head is not None or self.model.slot_head is not None

    @property
    def members(self) -> tuple[Teacher, ...]:
        """Each teacher by itself, this one first."""
        return (replace(self, beside=()), *self.beside)

    @property
    def inputs(self) -> dict[str, str]:
        """What hangs on it names it so among its inputs: every member by its id."""
        ids = [member.artifact.id for member in self.members]
        return {"teacher" if number == 0 else f"teacher-{number}": id_ for number, id_ in enumerate(ids)}

    @property
    def id(self) -> str:
        """Its artifact's id; of several, a hash of theirs in their order."""
        ids = [member.artifact.id for member in self.members]
        return ids[0] if len(ids) == 1 else hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]

    def tokens(self, texts: Sequence[str], pairs: Sequence[str | None], words: WordSpans | None = None) -> Tokens:
        return tokenize(self.tokenizer, texts, pairs, max_length=self.max_length, words=words)

    def logits(
        self,
        read: Callable[[Teacher], Tokens],
        device: Device,
        on_texts: Callable[[int], None] = lambda _: None,
    ) -> Logits:
        """What it says of texts; `read` gives their tokens, since each of several teachers reads its own."""
        *others, last = self.members
        said = [logits_of(each.model, each.model, read(each), device) for each in others]
        said.append(logits_of(last.model, last.model, read(last), device, on_texts))
        return averaged(said, amounts=self.mean is not None)

    def shown(self, sight: Sight) -> Speaker:
        """How a batch goes through it, frozen, its states shown. Not in inference mode: its tensors meet gradients.

        Both take the same time; bfloat16 takes a third of float32's (measured, MiniLM, avx512_bf16). Of several
        teachers it is the first.
        """
        speak: Speaker = self.model
        if not self.answers and not sight.inner:
            speak = _silent
        speak = watched(speak, self.model.encoder, sight)
        if sight.masked:
            if self.masked is None:
                raise BadInput(
                    "objective.mlm_weight needs a teacher with a head for masked tokens, found a model without one; "
                    "take a masked language model as teacher.model, or add [teacher.adapt], which makes one"
                )
            self.masked.eval()
            speak = guessing(speak, self.masked, Masking.of(self.tokenizer))
        return torch.no_grad()(speak)


def ready_teacher(store: Store, config: RunConfig, gold: Gold, device: Device, *, progress: Progress) -> Teacher:
    """The teacher of a run, opened, with those beside it; made now where they were not there."""
    unlabelled = None
    if config.teacher.adapt is not None:
        name = config.transfer_set.name if config.transfer_set else None
        transfer_set = open_transfer_set(store, name) if name else None
        unlabelled = unlabelled_texts(config.teacher.adapt, config.task, gold, transfer_set)
    first, *others = (
        open_teacher(
            obtain_teacher(store, member, gold, device, progress=progress, unlabelled=unlabelled), device, gold
        )
        for member in config.teacher.members
    )
    return replace(first, beside=tuple(others))


def obtain_teacher(
    store: Store,
    config: TeacherConfig,
    gold: Gold,
    device: Device,
    *,
    progress: Progress,
    unlabelled: Unlabelled | None = None,
) -> Artifact:
    """One teacher of these settings: the one that is there, else made now (or on from where it was killed).

    `unlabelled` is what it is adapted on, where it is to be.
    """
    source = find_model(config.model)
    plan = _plan(source, config, gold, device, unlabelled)
    directory = store.path("teacher", hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:16])
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            _make(draft, source, config, gold, unlabelled, device, progress)
    return open_artifact(directory, "teacher", version=VERSION)


def _plan(source: Path, config: TeacherConfig, gold: Gold, device: Device, unlabelled: Unlabelled | None) -> Plan:
    """All that its weights follow from, and nothing else: one that learns nothing of a task serves every task."""
    settings: dict[str, Json] = config.model_dump(mode="json", exclude={"model"})
    if not config.answers:
        kept = ("pooling", "max_length", "updates", *(("adapt", "seed") if config.adapt else ()))
        settings = {name: settings[name] for name in kept}
    params: dict[str, Json] = {**settings, "base": content_hash(source)}
    if config.answers or config.adapt:
        params["dtype"] = device.dtype
    if config.adapt is not None:
        assert unlabelled is not None, "there is something to adapt on"
        params["unlabelled"] = unlabelled.identity
    if not config.answers:
        return Plan("teacher", VERSION, params)
    params |= {"target": gold.target, "train": gold.train.identity, "kind": gold.kind}
    params |= {"out_of_scope": gold.out_of_scope} if gold.out_of_scope is not None else {}
    params |= {"slot_weight": gold.slot_weight} if gold.tags else {}
    return Plan("teacher", VERSION, params, {"task": gold.task.id})


def open_teacher(artifact: Artifact, device: Device, gold: Gold | None = None) -> Teacher:
    """The teacher's model in memory, every file checked against the manifest.

    One that was not finetuned is opened for the task of `gold`, whose classes its student will have.
    """
    for entry in artifact.manifest.files:
        artifact.path(entry.name)
    facts = json.loads(artifact.path("teacher.json").read_bytes())
    directory = artifact.directory / "encoder"
    classes, tags, mean = tuple(facts["classes"]), tuple(facts.get("tags", ())), facts.get("mean")
    loaded = load_masked_lm(directory, device)
    masked = loaded[0] if loaded else None
    encoder = masked.encoder if masked else load_encoder(directory, device)
    outputs = facts.get("outputs", len(classes))
    model = Classifier(encoder, facts["pooling"], outputs, dropout=0.0, tags=len(tags))
    for head, name in ((model.head, HEAD), (model.slot_head, SLOT_HEAD)):
        if head is not None:
            head.load_state_dict(load_file(artifact.path(name)))
    for part in (model, masked):
        if part is not None:
            part.to(device.name).eval()
    if gold is not None and not (outputs or tags):
        classes, tags, mean = gold.classes, gold.tags, gold.mean if gold.kind == "regression" else None
    return Teacher(artifact, model, load_tokenizer(directory), classes, facts["max_length"], tags, mean, masked)


def _silent(_batch: Batch) -> Said:
    """What a teacher without answers says, of which no states are asked for."""
    return Said(None)


def _make(
    draft: Draft,
    source: Path,
    config: TeacherConfig,
    gold: Gold,
    unlabelled: Unlabelled | None,
    device: Device,
    progress: Progress,
) -> None:
    tokenizer = load_tokenizer(source)
    torch.manual_seed(config.seed)
    loaded = load_masked_lm(source, device, make=config.adapt is not None)
    masked, head_found = loaded or (None, False)
    encoder = masked.encoder if masked else load_encoder(source, device)
    outputs, tags = (gold.outputs, len(gold.tags)) if config.answers else (0, 0)
    model = Classifier(encoder, config.pooling, outputs, config.dropout, tags).to(device.name)
    if config.answers and gold.kind == "regression" and model.head is not None:
        nn.init.constant_(model.head.bias, gold.mean)  # else many updates go into reaching it
    if masked is not None:
        masked.to(device.name)
    if masked is not None and config.adapt is not None and unlabelled is not None:
        adapt(
            draft,
            masked,
            tokenizer,
            unlabelled,
            config.adapt,
            head_found=head_found,
            max_length=config.max_length,
            seed=config.seed,
            device=device,
            progress=progress,
        )
    if draft.receipt("train") is None:
        if config.answers:
            _finetune(draft, model, tokenizer, config, gold, device, progress)
        _keep_model(draft, model, masked, tokenizer, config, gold)
    draft.finish(facts={"parameters": parameters_of(model)})


def _finetune(
    draft: Draft,
    model: Classifier,
    tokenizer: Any,
    config: TeacherConfig,
    gold: Gold,
    device: Device,
    progress: Progress,
) -> None:
    checkpoint = Checkpoint(draft.scratch("teacher.safetensors"), time.monotonic)
    examples = gold_examples(gold, gold.train.tokens(tokenizer, config.max_length))
    recipe = Recipe.of(config, config.updates, config.seed)
    objective = replace(HARD, slot_weight=gold.slot_weight)
    order = recipe.order(examples.tokens.lengths)
    train("teacher", model, model, examples, order, objective, recipe, checkpoint, device=device, progress=progress)


def _keep_model(
    draft: Draft, model: Classifier, masked: MaskedLM | None, tokenizer: Any, config: TeacherConfig, gold: Gold
) -> None:
    folder = draft.scratch("teacher")
    shutil.rmtree(folder, ignore_errors=True)
    whole: Any = model.encoder if masked is None else masked.transformer
    with quiet():
        whole.save_pretrained(folder / "encoder")
        tokenizer.save_pretrained(folder / "encoder")
    for head, name in ((model.head, HEAD), (model.slot_head, SLOT_HEAD)):
        if head is not None:
            save_file({key: tensor.contiguous() for key, tensor in head.state_dict().items()}, folder / name)
    facts: dict[str, Json] = {"pooling": config.pooling, "max_length": config.max_length, "classes": ()}
    if config.answers:
        facts |= {"classes": gold.classes, "outputs": gold.outputs, "tags": gold.tags}
        facts |= {"mean": gold.mean} if gold.kind == "regression" else {}
    (folder / "teacher.json").write_bytes(canonical_json(facts))
    keep_files(draft, "train", folder, state={})
