"""The student: a small model from scratch, of layers kept of the teacher, pretrained, or of static embeddings.

It has the teacher's tokenizer, or its own where it is pretrained, whole or with a vocabulary trimmed to its texts.

Saved as transformers saves it, with its labels' names: `AutoModelForSequenceClassification.from_pretrained` opens it,
or `AutoModelForTokenClassification` where the task has slots. A joint student has a second head, of its sentences, in
a file of its own beside it, since transformers knows no such model: SENTENCE_HEAD holds `weight` (C, H) and `bias` (C,)
of a linear layer on the last hidden state of the first token, and config.json names its classes as `sentence_labels`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, float32, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from contract.errors import BadInput
from contract.manifest import Json
from distill.models.device import Device
from distill.models.hurried import hurried
from distill.models.masked import Masked, Masking, guessing
from distill.models.pretrained import content_hash, find_model, in_a_sentence, load_encoder, load_tokenizer, quiet
from distill.models.states import Said, Sight, Speaker, watched
from distill.reading.tokens import Batch
from distill.settings.student import Origin, StudentConfig
from distill.students.static import STATIC, make_static, open_static, teacher_embeddings
from distill.students.vocabulary import Text, Vocabulary, trim_vocabulary
from distill.teachers.teacher import Teacher

CPU = Device("cpu", "float32")
HEAD_WIDTH = 64  # of an attention head, where the config does not say
BERT_WIDTH, BERT_SPREAD = 768, 0.02  # a narrower layer wants larger weights; measured: +2.6 points at 128
STATIC_WIDTH = 256  # of static embeddings, where the config does not say
SENTENCE_HEAD = "sentence_head.safetensors"
_LAYER = re.compile(r"\b(layers?|h)\.(\d+)\.")


class Joint(nn.Module):
    """A transformers tagger of words, and a linear head of sentences on its first token's last state."""

    def __init__(self, transformer: nn.Module, classes: int, dropout: float) -> None:
        super().__init__()
        self.transformer = transformer
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(_config(transformer).hidden_size, classes)


class Student:
    """A model, its tokenizer, and how a batch goes through it. `vocabulary` is None where it was not trimmed."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        max_length: int,
        *,
        tags: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.tags = tags
        self.vocabulary = vocabulary

    @property
    def transformer(self) -> Any:
        """The transformers model in it."""
        return self.model.transformer if isinstance(self.model, Joint) else self.model

    @property
    def config(self) -> Any:
        return self.transformer.config

    @property
    def embedding_width(self) -> int:
        """How many numbers a token's embedding has: fewer than a state in some."""
        return int(self.transformer.get_input_embeddings().embedding_dim)

    def forward(self, batch: Batch) -> Said:
        output = self.transformer(**batch.inputs, output_hidden_states=isinstance(self.model, Joint))
        return self.said(output, batch)

    def said(self, output: Any, batch: Batch) -> Said:
        """What the transformer's output says; a joint student's must hold its hidden states."""
        if not self.tags:
            return Said(output.logits)
        assert batch.words is not None, "slots are of words"
        slot_logits = output.logits.flatten(0, 1)[batch.words]
        if not isinstance(self.model, Joint):
            return Said(None, slot_logits=slot_logits)
        logits = self.model.head(self.model.dropout(output.hidden_states[-1][:, 0]))
        return Said(logits, slot_logits=slot_logits)

    def shown(self, sight: Sight) -> Speaker:
        """How a batch goes through it, with its states shown; of those that nobody sees only what is needed is made."""
        if not sight:
            return hurried(self.forward, self.transformer)
        speak = watched(self.forward, self.transformer.base_model, sight)
        return guessing(speak, self._masked_states, Masking.of(self.tokenizer)) if sight.masked else speak

    def _masked_states(self, masked: Masked) -> Tensor:
        """The last states in the masked places, (M, H)."""
        states: Tensor = self.transformer.base_model(**masked.batch.inputs).last_hidden_state
        return states.flatten(0, 1)[masked.places]

    def save(self, folder: Path) -> None:
        """A directory that plain transformers opens (a static student's tokenizer too, its model not)."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self.transformer.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        if isinstance(self.model, Joint):
            head = {name: tensor.detach().contiguous() for name, tensor in self.model.head.state_dict().items()}
            save_file(head, folder / SENTENCE_HEAD)


def make_student(
    config: StudentConfig, teacher: Teacher, device: Device, *, seed: int, texts: Sequence[Iterable[Text]] = ()
) -> Student:
    """The student before it has learnt anything, the same for the same seed.

    `texts` are what it will learn from, in parts: a trimmed vocabulary is made for them.
    """
    torch.manual_seed(seed)
    source = find_model(config.model) if config.model else None
    tokenizer = copy.deepcopy(teacher.tokenizer) if source is None else load_tokenizer(source)
    tokenizer.model_max_length = config.max_length
    vocabulary = None
    if config.vocabulary != "teacher":
        size = None if config.vocabulary == "trimmed" else config.vocabulary
        vocabulary = trim_vocabulary(tokenizer, texts, size)
        tokenizer = vocabulary.tokenizer
    if config.origin == "scratch":
        model = _from_scratch(config, teacher, tokenizer, device)
        if config.begins_as_teacher:
            _begin_as_teacher(_table(model), teacher, tokenizer, vocabulary, device)
    elif config.origin == "static":
        model = _static(config, teacher, tokenizer, vocabulary, device)
    else:
        encoder = teacher.model.encoder if source is None else load_encoder(source, device)
        model = _kept(config, encoder, teacher, device)
        if vocabulary is not None:
            _keep_embeddings(model, vocabulary)
    if teacher.mean is not None:
        nn.init.constant_(_last_bias(model), teacher.mean)
    if teacher.tags and teacher.classes:
        _config(model).sentence_labels = list(teacher.classes)
        model = Joint(model, len(teacher.classes), config.dropout or 0.0)
    return Student(model.to(device.name), tokenizer, config.max_length, tags=len(teacher.tags), vocabulary=vocabulary)


def open_student(folder: Path, device: Device = CPU) -> Student:
    """The student that `Student.save` wrote, whatever its kind; BadInput when the folder does not hold one."""
    with quiet(), in_a_sentence(folder):
        settings = json.loads((folder / "config.json").read_bytes())
        of_words = settings["architectures"][0].endswith("ForTokenClassification")
        kind = AutoModelForTokenClassification if of_words else AutoModelForSequenceClassification
        model: nn.Module
        if settings["model_type"] == STATIC:
            model = open_static(folder)
        else:
            model = kind.from_pretrained(
                folder,
                dtype=float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation=device.attention,
            )
        if "sentence_labels" in settings:
            model = Joint(model, len(settings["sentence_labels"]), 0.0)
            model.head.load_state_dict(load_file(folder / SENTENCE_HEAD))
    tokenizer = load_tokenizer(folder)
    tags = len(settings["id2label"]) if of_words else 0
    return Student(model.to(device.name).eval(), tokenizer, tokenizer.model_max_length, tags=tags)


def identity_of(config: StudentConfig) -> dict[str, Json]:
    """The settings as an id hangs on them: a pretrained model by its content, not by where it lies."""
    settings: dict[str, Json] = config.model_dump(mode="json", by_alias=True)
    return settings if config.model is None else {**settings, "model": content_hash(find_model(config.model))}


def kept_layers(origin: Origin, layers: int, of: int) -> list[int]:
    """Which of the teacher's layers 0 … of-1 a student of `layers` keeps: evenly spaced to the last, first, or last."""
    if origin == "first":
        return list(range(layers))
    if origin == "last":
        return list(range(of - layers, of))
    return [(index + 1) * of // layers - 1 for index in range(layers)]


def _names(teacher: Teacher) -> dict[str, Any]:
    """What the student's outputs are called, as transformers writes it."""
    if teacher.mean is not None:
        return {"num_labels": 1, "problem_type": "regression"}
    names = teacher.tags or teacher.classes
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {label: index for index, label in enumerate(names)},
    }


def _config(model: nn.Module) -> Any:
    return model.config


def _last_bias(model: nn.Module) -> Tensor:
    """The bias of the one output of a regression."""
    *_, last = (module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1)
    return last.bias


def _from_scratch(config: StudentConfig, teacher: Teacher, tokenizer: Any, device: Device) -> nn.Module:
    width = config.width or 128
    heads = config.heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise BadInput(f"student.width {width} is not a multiple of student.heads {heads}; change one of them")
    dropout = config.dropout or 0.0
    kind = BertForTokenClassification if teacher.tags else BertForSequenceClassification
    return kind(  # type: ignore[no-any-return]
        BertConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            num_hidden_layers=config.layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=config.max_length,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=BERT_SPREAD * (BERT_WIDTH / width) ** 0.5,
            attn_implementation=device.attention,
            **_names(teacher),
        )
    )


def _static(
    config: StudentConfig, teacher: Teacher, tokenizer: Any, vocabulary: Vocabulary | None, device: Device
) -> nn.Module:
    """Static embeddings, random or as the teacher sees each token, under a fresh head."""
    width = config.width or min(STATIC_WIDTH, _config(teacher.model.encoder).hidden_size, len(tokenizer))
    of_words, dropout = bool(teacher.tags), config.dropout or 0.0
    model = make_static(_names(teacher), tokenizer, width=width, dropout=dropout, of_words=of_words)
    if config.begins_as_teacher:
        _begin_as_teacher(model.embeddings.weight, teacher, tokenizer, vocabulary, device, spread=1.0)
    return model


def _table(model: Any) -> Tensor:
    table: Tensor = model.get_input_embeddings().weight
    return table


def _begin_as_teacher(
    weight: Tensor,
    teacher: Teacher,
    tokenizer: Any,
    vocabulary: Vocabulary | None,
    device: Device,
    *,
    spread: float | None = None,
) -> None:
    """A table of tokens (V, H), as the teacher sees each alone; its numbers spread as they are, or as asked for."""
    tokens = np.arange(len(tokenizer)) if vocabulary is None else vocabulary.kept
    with torch.no_grad():
        seen = teacher_embeddings(teacher, tokens, width=weight.shape[1], device=device)
        weight.copy_(seen * (weight.std() if spread is None else spread))


def _kept(config: StudentConfig, encoder: Any, teacher: Teacher, device: Device) -> nn.Module:
    """An encoder's embeddings and some of its layers, or all of a pretrained one's, under a fresh head."""
    its = encoder.config
    whole = config.origin == "pretrained"
    for setting, wanted, found in (
        ("width", config.width, its.hidden_size),
        ("heads", config.heads, its.num_attention_heads),
        ("layers", config.layers if whole else None, its.num_hidden_layers),
    ):
        if wanted not in (None, found):
            whose = f"{config.model} has" if whole else "layers kept of the teacher have"
            raise BadInput(f"student.{setting} is {wanted}, but {whose} {found}; leave it out")
    layers = config.layers or its.num_hidden_layers
    if layers > its.num_hidden_layers:
        raise BadInput(f"student.layers is {layers}, the teacher has {its.num_hidden_layers} to keep; ask for fewer")
    longest = getattr(its, "max_position_embeddings", config.max_length)
    if config.max_length > longest:
        raise BadInput(f"student.max_length is {config.max_length}, its encoder reads {longest} tokens; ask for fewer")
    kept = list(range(layers)) if whole else kept_layers(config.origin, layers, its.num_hidden_layers)
    settings = its.to_dict() | _names(teacher) | {"num_hidden_layers": layers, "architectures": None}
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if name in settings and config.dropout is not None:
            settings[name] = config.dropout
    if settings.get("layer_types"):
        settings["layer_types"] = [settings["layer_types"][layer] for layer in kept]
    try:
        small = type(its).from_dict(settings)
        kind = AutoModelForTokenClassification if teacher.tags else AutoModelForSequenceClassification
        model = kind.from_config(small, attn_implementation=device.attention, trust_remote_code=False)
    except ValueError as error:
        raise BadInput(
            f"No student can be made of a {its.model_type}: {str(error).splitlines()[0]}; "
            'expected a BERT-like encoder, or student.from = "scratch"'
        ) from error
    _copy_layers(encoder, model.base_model, kept)
    return model  # type: ignore[no-any-return]


def _copy_layers(encoder: nn.Module, base: nn.Module, kept: list[int]) -> None:
    """Every weight outside the layers, and layer kept[i] as layer i."""
    theirs, ours = encoder.state_dict(), base.state_dict()
    for name in ours:
        source = _LAYER.sub(lambda match: f"{match[1]}.{kept[int(match[2])]}.", name, count=1)
        if source in theirs:
            ours[name] = theirs[source]
    base.load_state_dict(ours)


def _keep_embeddings(model: nn.Module, vocabulary: Vocabulary) -> None:
    """The embeddings of the kept tokens, under their new numbers, and special tokens by their new numbers."""
    transformer: Any = model
    whole, config = transformer.get_input_embeddings(), transformer.config
    kept = nn.Embedding(len(vocabulary.kept), whole.embedding_dim, vocabulary.tokenizer.pad_token_id)
    with torch.no_grad():
        kept.weight.copy_(whole.weight[torch.from_numpy(vocabulary.kept)])
    transformer.set_input_embeddings(kept)
    config.vocab_size = len(vocabulary.kept)
    number = {int(token): index for index, token in enumerate(vocabulary.kept)}
    for name in ("pad", "bos", "eos", "cls", "sep", "mask", "unk"):
        token = getattr(config, f"{name}_token_id", None)
        if token in number:
            setattr(config, f"{name}_token_id", number[token])
