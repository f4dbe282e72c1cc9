"""The student: a small classifier from scratch, or from layers kept of the teacher, with the teacher's tokenizer.

Saved as transformers saves it: `AutoModelForSequenceClassification.from_pretrained` opens it, with its labels' names.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from contract.errors import BadInput
from distill.config import Origin, StudentConfig
from distill.device import Device
from distill.pretrained import quiet
from distill.teacher import Teacher
from distill.tokens import Batch

HEAD_WIDTH = 64  # of an attention head, where the config does not say
BERT_WIDTH, BERT_SPREAD = 768, 0.02  # a narrower layer wants larger weights; measured: +2.6 points at 128
_LAYER = re.compile(r"\b(layers?|h)\.(\d+)\.")


class Student:
    """A model, its tokenizer, and how a batch goes through it."""

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length

    def forward(self, batch: Batch) -> Tensor:
        """A batch -> logits (B, C)."""
        logits: Tensor = self.model(**batch.inputs).logits
        return logits

    @property
    def config(self) -> Any:
        return self.model.config

    def save(self, folder: Path) -> None:
        """A directory that plain transformers opens."""
        with quiet():
            self.model.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder)


def make_student(config: StudentConfig, teacher: Teacher, device: Device, *, seed: int) -> Student:
    """The student before it has learnt anything, the same for the same seed."""
    torch.manual_seed(seed)
    tokenizer = copy.deepcopy(teacher.tokenizer)
    tokenizer.model_max_length = config.max_length
    model = _from_scratch(config, teacher, device) if config.origin == "scratch" else _kept(config, teacher, device)
    return Student(model.to(device.name), tokenizer, config.max_length)


def kept_layers(origin: Origin, layers: int, of: int) -> list[int]:
    """Which of the teacher's layers 0 … of-1 a student of `layers` keeps: evenly spaced to the last, first, or last."""
    if origin == "first":
        return list(range(layers))
    if origin == "last":
        return list(range(of - layers, of))
    return [(index + 1) * of // layers - 1 for index in range(layers)]


def _names(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {label: index for index, label in enumerate(classes)},
    }


def _from_scratch(config: StudentConfig, teacher: Teacher, device: Device) -> nn.Module:
    width = config.width or 128
    heads = config.heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise BadInput(f"student.width {width} is not a multiple of student.heads {heads}; change one of them")
    dropout = config.dropout or 0.0
    return BertForSequenceClassification(  # type: ignore[no-any-return]
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
            **_names(teacher.classes),
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
    settings = its.to_dict() | _names(teacher.classes) | {"num_hidden_layers": config.layers, "architectures": None}
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if name in settings and config.dropout is not None:
            settings[name] = config.dropout
    if settings.get("layer_types"):
        settings["layer_types"] = [settings["layer_types"][layer] for layer in kept]
    try:
        small = type(its).from_dict(settings)
        model = AutoModelForSequenceClassification.from_config(
            small, attn_implementation=device.attention, trust_remote_code=False
        )
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
