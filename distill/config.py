"""RUN.toml: every setting of one run, checked; what the run is comes from here and from nowhere else.

Written by people, read by `transferset distill`. A path in it is relative to the working directory.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from contract.errors import BadInput, NotFound
from contract.manifest import Json
from contract.task import Target

# What is learnt of a text. Pairs are no kind of their own: two sentences are read as one text.
Kind = Literal["classes", "regression", "slots", "joint", "out-of-scope"]
Origin = Literal["scratch", "skip", "first", "last", "pretrained", "static"]
Pooling = Literal["mean", "first"]
Precision = Literal["auto", "float32", "bfloat16"]
SoftTargets = Literal["kl", "ce", "mse"]
LayerMapping = Literal["skip", "last", "first", "top", "emd"]
IntermediateName = Literal[
    "hidden-mse", "hidden-l2", "hidden-cosine", "hidden-ce", "pkd", "attention", "minilm", "minilmv2",
    "infonce", "nwj", "tuba", "mi-alpha",
]  # fmt: skip

_SIZED = ("pretrained", "static")  # whose layers are not a choice
_FEWEST_PIECES = 8

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Updates = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=8, le=512)]
Vocabulary = Literal["teacher", "trimmed"] | int
Splits = str | Annotated[tuple[str, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


class TaskConfig(_Section):
    """The task's gold labels. `shots` keeps so many training rows a class, drawn with `seed`.

    `kind`: what is learnt [classes of the target; amounts, where the label is numbers with a point]. "slots" are the
    BIO tags alone, "joint" the tags and the target's classes; `slot_weight` is what their loss weighs beside the
    sentence's. "out-of-scope" learns the classes without the label `out_of_scope`, and is judged by telling its rows
    in the test from the others.
    A split may be several: ["test", "oos_test"].
    `unseen_labels`: labels that stand only in the test are refused, or counted as wrong; no student can say them.
    """

    path: Path
    kind: Kind | None = None
    target: Target | None = None
    out_of_scope: str = "oos"
    slot_weight: Rate = 1.0
    shots: Annotated[int, Field(ge=1)] | None = None
    seed: Seed = 0
    train_split: Splits = "train"
    test_split: Splits = "test"
    columns: dict[str, str] = Field(default_factory=dict)
    skip_bad_rows: bool = False
    unseen_labels: Literal["refuse", "wrong"] = "refuse"

    @property
    def train_splits(self) -> tuple[str, ...]:
        return (self.train_split,) if isinstance(self.train_split, str) else self.train_split

    @property
    def test_splits(self) -> tuple[str, ...]:
        return (self.test_split,) if isinstance(self.test_split, str) else self.test_split


class TransferSetConfig(_Section):
    name: str


class TrainingConfig(_Section):
    """What the one training loop is told: AdamW, linear warm-up, linear decay to nothing, clipped gradients."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Rate = 1e-3
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Rate = 1.0


class TeacherConfig(TrainingConfig):
    """`model` is `minilm`, a hub name or a directory; it is finetuned on the task's gold labels."""

    model: str = "minilm"
    pooling: Pooling = "mean"
    updates: Annotated[int, Field(ge=1)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Rate = 1e-4
    head_learning_rate: Rate = 1e-3
    dropout: Share = 0.1
    max_length: Tokens = 128
    seed: Seed = 0


class StudentConfig(_Section):
    """Width and heads may be left out: 128 and one a 64 from scratch, the teacher's own with kept layers.

    `from` "pretrained" is the encoder `model` (as the teacher's: a hub name or a directory) with its own tokenizer, and
    as large as it is. "static" is the mean of the tokens' embeddings, `width` numbers each [256, or the teacher's if
    fewer], without layers; they begin as `embeddings` says: "teacher", as the teacher sees each token alone, or
    "random". `vocabulary` is the tokenizer's own, whoever's it is ("teacher"), or "trimmed" to the pieces that the
    transfer set and the training rows need, or so many of them.

    Dropout too: none for a student that distils (0.1 costs 8 points on CLINC150's generic-random text), 0.1 for one
    that has the gold labels alone (none costs it 3).
    """

    layers: Annotated[int, Field(ge=1)] | None = None  # 2, where the origin does not say
    width: Annotated[int, Field(ge=8)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    origin: Annotated[Origin, Field(alias="from")] = "scratch"
    model: str | None = None
    embeddings: Literal["teacher", "random"] = "teacher"
    vocabulary: Vocabulary = "teacher"
    dropout: Share | None = None
    max_length: Tokens = 64

    @model_validator(mode="before")
    @classmethod
    def _two_layers(cls, raw: Any) -> Any:
        """What has layers to choose has two."""
        if isinstance(raw, dict) and raw.get("layers") is None:
            origin = raw.get("from", raw.get("origin", "scratch"))
            return raw if origin in _SIZED else {**raw, "layers": 2}
        return raw

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= _FEWEST_PIECES
        if not (whole or value in ("teacher", "trimmed")):
            raise ValueError(
                f'expected "teacher", "trimmed" or a number of pieces from {_FEWEST_PIECES}, found {value!r}'
            )
        return value

    @model_validator(mode="after")
    def _fits_its_origin(self) -> StudentConfig:
        if self.origin == "pretrained" and not self.model:
            raise ValueError('from = "pretrained" needs model, a hub name or a directory; add it')
        if self.origin != "pretrained" and self.model is not None:
            raise ValueError(f'model is of from = "pretrained", found from = "{self.origin}"; leave one of them out')
        if self.origin == "static" and (self.layers is not None or self.heads is not None):
            raise ValueError('from = "static" has neither layers nor heads; leave them out')
        if self.origin != "static" and self.embeddings != "teacher":
            raise ValueError(f'embeddings is of from = "static", found from = "{self.origin}"; leave it out')
        return self

    @model_serializer(mode="wrap")
    def _as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What came later stands there only where it is used: the ids of runs hang on it."""
        later = {name: StudentConfig.model_fields[name].default for name in ("model", "embeddings", "vocabulary")}
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name not in later or value != later[name]}


class ObjectiveConfig(_Section):
    """What a student distils by: losses, each times its weight, added up. Gold labels count where a text has one.

    `intermediate` is "none", one name, or several with one `intermediate_weight` for all or one each; the teacher then
    runs beside the student. `layer_mapping` is [top for minilm and minilmv2, as in their papers, skip for the rest], or
    `layer_pairs` say it: [[student layer, teacher layer], …]. `pooling`, by which pkd and the mutual-information family
    make a text's state of its tokens', is [the teacher's own]. `alpha` is mi-alpha's: 1 is infonce, 0 is tuba.
    `relation_heads` are minilmv2's, [as many as the teacher has heads].
    """

    soft_weight: Weight = 1.0
    hard_weight: Weight = 0.0
    soft_targets: SoftTargets = "kl"
    temperature: Rate = 2.0
    intermediate: tuple[IntermediateName, ...] = ()
    intermediate_weight: tuple[Rate, ...] = (1.0,)
    layer_mapping: LayerMapping | None = None
    layer_pairs: tuple[tuple[int, int], ...] = ()
    pooling: Pooling | None = None
    alpha: Share = 0.9
    relation_heads: Annotated[int, Field(ge=1)] | None = None

    @field_validator("intermediate", "intermediate_weight", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        return () if value == "none" else (value,)

    @field_serializer("intermediate", "intermediate_weight")
    def _as_written(self, value: tuple[Json, ...]) -> Json:
        """One name or number where there is one: `compare` tells runs apart by it."""
        return value[0] if len(value) == 1 else list(value) or "none"

    @model_validator(mode="after")
    def _adds_up(self) -> ObjectiveConfig:
        names, weights = self.intermediate, self.intermediate_weight
        if len(set(names)) < len(names):
            raise ValueError(
                f"intermediate names one objective twice: {', '.join(names)}; give it once, with its weight"
            )
        if len(weights) not in (1, len(names)):
            raise ValueError(
                f"intermediate_weight has {len(weights)} numbers for {len(names)} objectives; "
                "give one for all, or one each"
            )
        if not (self.soft_weight or self.hard_weight or names):
            raise ValueError("every weight is 0, so that nothing is learnt; raise soft_weight, or name an intermediate")
        if self.layer_mapping and self.layer_pairs:
            raise ValueError("layer_mapping and layer_pairs both say which layers are compared; leave one out")
        return self

    @property
    def intermediates(self) -> tuple[tuple[IntermediateName, float], ...]:
        """The intermediate objectives with their weights."""
        weights = self.intermediate_weight * (len(self.intermediate) if len(self.intermediate_weight) == 1 else 1)
        return tuple(zip(self.intermediate, weights, strict=True))


class DistillConfig(TrainingConfig):
    """How long and how fast a student learns from the teacher; by what, [objective] says."""

    updates: Updates = 2500


class FinetuneConfig(TrainingConfig):
    """Without a transfer set the student learns here all it learns, so that other values stand in:

    `updates_alone` [distill.updates + finetune.updates] and `learning_rate_alone` [distill.learning_rate].
    """

    updates: Updates = 200
    updates_alone: Updates | None = None
    learning_rate: Rate = 1e-4
    learning_rate_alone: Rate | None = None


class RunConfig(_Section):
    task: TaskConfig
    transfer_set: TransferSetConfig | None = None
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    distill: DistillConfig = DistillConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    seed: Seed = 0
    arm: str | None = None
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _has_states(self) -> RunConfig:
        if self.student.origin == "static" and self.objective.intermediate:
            raise ValueError(
                f"objective.intermediate is {', '.join(self.objective.intermediate)}, but a static student has no "
                "layers to compare; leave it out, or take another student.from"
            )
        return self

    @property
    def finetune_updates(self) -> int:
        """As many updates for every arm: one that does not distil finetunes for as long as the others do both."""
        if self.transfer_set is not None:
            return self.finetune.updates
        alone = self.finetune.updates_alone
        return self.distill.updates + self.finetune.updates if alone is None else alone

    @property
    def new_student(self) -> StudentConfig:
        """The student with its dropout settled."""
        dropout = self.student.dropout
        if dropout is None:
            dropout = 0.1 if self.transfer_set is None else 0.0
        return self.student.model_copy(update={"dropout": dropout})

    @property
    def finetune_recipe(self) -> TrainingConfig:
        """How finetuning learns: gently after distillation, at distillation's rate from scratch."""
        if self.transfer_set is not None:
            return self.finetune
        rate = self.finetune.learning_rate_alone or self.distill.learning_rate
        return self.finetune.model_copy(update={"learning_rate": rate})

    def to_json(self) -> dict[str, Json]:
        return self.model_dump(mode="json", by_alias=True)


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a RUN.toml with `key=value` overrides laid over it; BadInput and NotFound in a sentence."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no {path}; expected a RUN.toml, as in distill/configs/") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a directory; expected a RUN.toml, as in distill/configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}; mend it there") from error
    for override in overrides:
        _lay_over(raw, override)
    return make_config(raw, str(path))


def make_config(raw: Mapping[str, Any], where: str = "the settings") -> RunConfig:
    """The config of settings as read from TOML or JSON; BadInput names the first key that is wrong."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{where}: {_sentence(error)}") from error


def _lay_over(raw: dict[str, Any], override: str) -> None:
    """`distill.updates=500` into the raw settings; a value that is no TOML is taken as text."""
    key, separator, text = override.partition("=")
    if not (separator and key):
        raise BadInput(f"--set expects KEY=VALUE, as in --set distill.updates=500, found {override!r}")
    *sections, last = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise BadInput(f"--set {override}: {section} is a value, not a section")
    try:
        raw[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raw[last] = text


def _sentence(error: ValidationError) -> str:
    """The first fault: an unknown key with the nearest known one, else what was expected and found."""
    faults = error.errors()
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"unknown setting {key!r}; {_hint(fault['loc'])}"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}".removeprefix(": ")
    if fault["type"] == "missing":
        return f"the setting {key!r} is missing; add it"
    if fault["loc"] == ("task", "target"):
        return (
            f"task.target: expected label, intent or domain, found {fault['input']!r}; "
            'slots are a kind: task.kind = "slots" or "joint"'
        )
    found = repr(fault["input"])[:60]
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, found {found}; change it in the file or with --set"


def _hint(unknown: tuple[int | str, ...]) -> str:
    """The setting that was meant: of that name in another section, else of a like name in this one."""
    *section, name = map(str, unknown)
    elsewhere = [other for other in RunConfig.model_fields if section and name in _known_keys((other,))]
    if len(elsewhere) == 1:
        return f"did you mean {elsewhere[0]}.{name}?"
    known = _known_keys(tuple(section))
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known there: {', '.join(known)}"


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for name in section:
        annotation = model.model_fields[str(name)].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        found = next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if found is None:
            return []
        model = found
    return sorted(field.alias or name for name, field in model.model_fields.items())
