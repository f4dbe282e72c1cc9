"""RUN.toml: every setting of one run, checked; what the run is comes from here and from nowhere else.

Written by people, read by `transferset distill`. A path in it is relative to the working directory.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from contract.errors import BadInput, NotFound
from contract.manifest import Json
from distill.settings.augmentation import AugmentationConfig, CurriculumConfig, MixupConfig, refuse_augmentation
from distill.settings.objective import ObjectiveConfig
from distill.settings.section import Section, Seed
from distill.settings.selection import SelectionConfig, fault_of_selection
from distill.settings.student import StudentConfig
from distill.settings.task import TaskConfig
from distill.settings.teacher import TeacherConfig
from distill.settings.training import DistillConfig, FinetuneConfig, TrainingConfig

Precision = Literal["auto", "float32", "bfloat16"]


class TransferSetConfig(Section):
    name: str


class RunConfig(Section):
    later = frozenset({"processes", "augmentation", "mixup", "curriculum", "selection"})

    task: TaskConfig
    transfer_set: TransferSetConfig | None = None
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    mixup: MixupConfig = MixupConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    selection: SelectionConfig = SelectionConfig()
    distill: DistillConfig = DistillConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    seed: Seed = 0
    arm: str | None = None
    precision: Precision = "auto"
    processes: Annotated[int, Field(ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _has_states(self) -> RunConfig:
        if self.student.origin == "static" and self.objective.intermediate:
            raise ValueError(
                f"objective.intermediate is {', '.join(self.objective.intermediate)}, but a static student has no "
                "layers to compare; leave it out, or take another student.from"
            )
        return self

    @model_validator(mode="after")
    def _has_what_it_matches(self) -> RunConfig:
        """A teacher that is not finetuned has states and tokens to match, and nothing to say of the task."""
        teacher, objective = self.teacher, self.objective
        if teacher.adapt is not None and teacher.adapt.texts == "transfer-set" and self.transfer_set is None:
            raise ValueError(
                'teacher.adapt.texts is "transfer-set", and there is none; add [transfer_set], or take the task\'s own '
                'texts, "split" or "train"'
            )
        if objective.mlm_weight and self.student.origin == "static":
            raise ValueError(
                "objective.mlm_weight asks for the tokens in masked places, but a static student sees nothing around "
                "them; leave it out, or take another student.from"
            )
        if self.transfer_set is None or teacher.answers:
            return self
        if objective.soft_weight:
            raise ValueError(
                f"teacher.updates is 0, so that it has no answers to match, but objective.soft_weight is "
                f"{objective.soft_weight:g}; set it to 0, or finetune the teacher"
            )
        if not (objective.intermediate or objective.mlm_weight):
            raise ValueError(
                "teacher.updates is 0, so that it has no answers to match, and objective names nothing else of it; "
                "name an intermediate, as in minilmv2, or give a mlm_weight"
            )
        return self

    @model_validator(mode="after")
    def _can_stop_early(self) -> RunConfig:
        patient = [name for name in ("distill", "finetune") if getattr(self, name).patience is not None]
        if patient and self.task.validation_split is None:
            raise ValueError(
                f"{patient[0]}.patience is how long to wait for a better score on task.validation_split, found none; "
                'name a split, as in task.validation_split = "valid"'
            )
        return self

    @model_validator(mode="after")
    def _can_be_augmented(self) -> RunConfig:
        refuse_augmentation(
            self.augmentation,
            self.mixup,
            self.curriculum,
            self.objective,
            None if self.transfer_set is None else self.distill,
            of_words=self.task.kind in ("slots", "joint"),
        )
        return self

    @model_validator(mode="after")
    def _can_be_selected(self) -> RunConfig:
        distils, answers = self.transfer_set is not None, self.teacher.answers
        fault = fault_of_selection(self.selection, self.task.kind, distils=distils, answers=answers)
        if fault:
            raise ValueError(fault)
        return self

    @property
    def stops_early(self) -> bool:
        return self.distill.patience is not None or self.finetune.patience is not None

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
    for name in map(str, section):
        if name.isdigit():  # which one of a list
            continue
        annotation = model.model_fields[name].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        found = next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if found is None:
            return []
        model = found
    return sorted(field.alias or name for name, field in model.model_fields.items())
