"""The student: a small model from scratch, or from layers kept of the teacher, with the teacher's tokenizer.

Saved as transformers saves it, with its labels' names: `AutoModelForSequenceClassification.from_pretrained` opens it,
or `AutoModelForTokenClassification` where the task has slots. A joint student has a second head, of its sentences, in
a file of its own beside it, since transformers knows no such model: SENTENCE_HEAD holds `weight` (C, H) and `bias` (C,)
of a linear layer on the last hidden state of the first token, and config.json names its classes as `sentence_labels`.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from contract.errors import BadInput
from distill.config import Origin, StudentConfig
from distill.device import Device
from distill.pretrained import quiet
from distill.states import Said
from distill.teacher import Teacher
from distill.tokens import Batch

HEAD_WIDTH = 64  # of an attention head, where the config does not say
BERT_WIDTH, BERT_SPREAD = 768, 0.02  # a narrower layer wants larger weights; measured: +2.6 points at 128
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
    """A model, its tokenizer, and how a batch goes through it."""

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int, *, tags: int = 0) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.tags = tags

    @property
    def transformer(self) -> Any:
        """The transformers model in it."""
        return self.model.transformer if isinstance(self.model, Joint) else self.model

    @property
    def config(self) -> Any:
        return self.transformer.config

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

    def save(self, folder: Path) -> None:
        """A directory that plain transformers opens."""
        with quiet():
            self.transformer.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        if isinstance(self.model, Joint):
            head = {name: tensor.detach().contiguous() for name, tensor in self.model.head.state_dict().items()}
            save_file(head, folder / SENTENCE_HEAD)


def make_student(config: StudentConfig, teacher: Teacher, device: Device, *, seed: int) -> Student:
    """The student before it has learnt anything, the same for the same seed."""
    torch.manual_seed(seed)
    tokenizer = copy.deepcopy(teacher.tokenizer)
    tokenizer.model_max_length = config.max_length
    model = _from_scratch(config, teacher, device) if config.origin == "scratch" else _kept(config, teacher, device)
    if teacher.mean is not None:
        nn.init.constant_(_last_bias(model), teacher.mean)
    if teacher.tags and teacher.classes:
        _config(model).sentence_labels = list(teacher.classes)
        model = Joint(model, len(teacher.classes), config.dropout or 0.0)
    return Student(model.to(device.name), tokenizer, config.max_length, tags=len(teacher.tags))


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


def _from_scratch(config: StudentConfig, teacher: Teacher, device: Device) -> nn.Module:
    width = config.width or 128
    heads = config.heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise BadInput(f"student.width {width} is not a multiple of student.heads {heads}; change one of them")
    dropout = config.dropout or 0.0
    kind = BertForTokenClassification if teacher.tags else BertForSequenceClassification
    return kind(  # type: ignore[no-any-return]
        BertConfig(
            vocab_size=len(teacher.tokenizer),
            pad_token_id=teacher.tokenizer.pad_token_id,
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


def _kept(config: StudentConfig, teacher: Teacher, device: Device) -> nn.Module:
    """The teacher's embeddings and some of its layers under a fresh head."""
    encoder: Any = teacher.model.encoder
    its = encoder.config
    for setting, wanted, found in (
        ("width", config.width, its.hidden_size),
        ("heads", config.heads, its.num_attention_heads),
    ):
        if wanted not in (None, found):
            raise BadInput(f"student.{setting} is {wanted}, but layers kept of the teacher have {found}; leave it out")
    if config.layers > its.num_hidden_layers:
        raise BadInput(
            f"student.layers is {config.layers}, the teacher has {its.num_hidden_layers} to keep; ask for fewer"
        )
    kept = kept_layers(config.origin, config.layers, its.num_hidden_layers)
    settings = its.to_dict() | _names(teacher) | {"num_hidden_layers": config.layers, "architectures": None}
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
            f"No student can keep layers of a {its.model_type}: {str(error).splitlines()[0]}; "
            'expected a BERT-like teacher, or student.from = "scratch"'
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
