"""The static student: the mean of its tokens' embeddings under a linear head, the floor every transformer must beat.

It has a transformers model's manners without its layers, so that it is trained, saved and shipped as the others are:
`config`, `model(input_ids, attention_mask).logits`, a folder with config.json and model.safetensors. Where they have
the last state of the first token, it has the mean over the text; special tokens count for nothing. Plain transformers
does not know it: `distill.students.student.open_student` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from contract.errors import BadInput
from distill.models.device import Device
from distill.models.pretrained import WEIGHTS
from distill.models.states import pooled
from distill.teachers.teacher import Teacher

STATIC = "transferset-static"  # the model_type in config.json
TEXTS_A_BATCH = 512
_OF_WORDS, _OF_TEXTS = "StaticForTokenClassification", "StaticForSequenceClassification"


class StaticConfig(PreTrainedConfig):  # type: ignore[misc]
    """The settings of a static student, with the names of its outputs as transformers writes them."""

    model_type = STATIC
    vocab_size: int = 0
    hidden_size: int = 0
    silent: list[int] | None = None  # the tokens that count for nothing
    dropout: float = 0.0
    pad_token_id: int = 0
    num_hidden_layers: int = 0
    num_attention_heads: int = 0


class StaticModel(nn.Module):
    """Embeddings, and a linear head on their mean over the text, or on each where words are tagged."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.register_buffer("silent", torch.tensor(config.silent or [-1]), persistent=False)

    @property
    def base_model(self) -> nn.Module:
        return self

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    @property
    def tags_words(self) -> bool:
        return bool(self.config.architectures == [_OF_WORDS])

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> TokenClassifierOutput:
        """Logits of texts (B, C), or of tokens (B, L, T); in `hidden_states` the mean stands first."""
        states = self.embeddings(input_ids)
        silent: Any = self.silent
        heard = (input_ids.unsqueeze(-1) != silent).all(-1) * attention_mask
        counted = heard.unsqueeze(-1).to(states.dtype)
        mean = (states * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
        said = states if self.tags_words else mean[:, 0]
        return TokenClassifierOutput(
            logits=self.classifier(self.dropout(said)), hidden_states=(torch.cat([mean, states[:, 1:]], 1),)
        )

    def save_pretrained(self, folder: Path) -> None:
        """config.json and model.safetensors, as transformers names them."""
        self.config.save_pretrained(folder)
        weights = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, {"format": "pt"})


def make_static(names: dict[str, Any], tokenizer: Any, *, width: int, dropout: float, of_words: bool) -> StaticModel:
    """A static model with a random embedding for every token; `names` are its outputs', as transformers has them."""
    config = StaticConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        silent=sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}),
        dropout=dropout,
        pad_token_id=tokenizer.pad_token_id,
        architectures=[_OF_WORDS if of_words else _OF_TEXTS],
        **names,
    )
    return StaticModel(config)


def open_static(folder: Path) -> StaticModel:
    """The static model that was saved there; KeyError, ValueError or RuntimeError when its files are not whole."""
    config = StaticConfig.from_json_file(folder / "config.json")
    with torch.device("meta"):
        model = StaticModel(config)
    model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    model.register_buffer("silent", torch.tensor(config.silent or [-1]), persistent=False)
    return model


def teacher_embeddings(teacher: Teacher, tokens: npt.NDArray[np.int64], *, width: int, device: Device) -> Tensor:
    """What the teacher makes of each of its tokens alone, (V,) -> (V, width): the main axes, with a mean square of 1.

    As model2vec (Minish Lab 2024): a token between special tokens, its states pooled, PCA. BadInput when there are
    fewer axes than asked for.
    """
    states = torch.cat([_seen_alone(teacher, some, device) for some in np.array_split(tokens, _batches(tokens))])
    most = min(states.shape)
    if width > most:
        raise BadInput(
            f"student.width is {width}, but the teacher tells its tokens apart by {most} numbers at most; "
            'take fewer, or student.embeddings = "random"'
        )
    centred = (states - states.mean(0)).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)  # smallest first
    axes = axes.flip(-1)[:, :width]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # either sign is an axis: the same always
    turned: Tensor = centred @ axes
    return (turned / turned.square().mean().sqrt()).float()


def _batches(tokens: npt.NDArray[np.int64]) -> int:
    return -(-len(tokens) // TEXTS_A_BATCH)


def _seen_alone(teacher: Teacher, tokens: npt.NDArray[np.int64], device: Device) -> Tensor:
    """The teacher's pooled states of texts of one token, (V,) -> (V, H)."""
    before, after = _around(teacher.tokenizer)
    alone = torch.from_numpy(tokens).unsqueeze(1)
    special = (torch.tensor(ids, dtype=torch.int64).expand(len(tokens), -1) for ids in (before, after))
    ids = torch.cat([next(special), alone, next(special)], dim=1).to(device.name)
    mask = torch.ones_like(ids)
    with torch.no_grad(), device.matmuls():
        states = teacher.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return pooled(states.float(), mask, teacher.model.pooling).cpu()


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before a text and after it."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0) if 0 in special else len(ids)
    last = len(special) - special[::-1].index(0) if 0 in special else len(ids)
    return ids[:first], ids[last:]
