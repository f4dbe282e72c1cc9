"""What came out of a run, as `report.json` holds it: written by the pipeline, read by the page and by `compare`."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import CorruptArtifact
from contract.manifest import Json
from contract.run import REPORT
from distill.settings.task import Kind

NO_DISTILLATION = "no distillation"  # the arm that distillation is measured against


@dataclass(frozen=True)
class TaskFacts:
    """The task as the run saw it: `shots` is None when all training rows were used."""

    name: str
    id: str
    target: str
    classes: int
    shots: int | None
    train_rows: int
    test_rows: int
    test_split: str
    unseen_labels: int = 0  # labels that stand only in the test: their rows are kept, and counted as wrong
    kind: Kind = "classes"
    unseen_slots: int = 0  # kinds of slots that stand only in the test: counted as missed
    pairs: bool | None = None  # whether a text is two sentences; None where an older report does not say


@dataclass(frozen=True)
class AugmentationFacts:
    """What augmentation made: so many `texts` of the copies asked for, in so many generations; the rest by reason."""

    generations: int
    asked: int
    texts: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class ChoiceCost:
    """What it took to choose texts anew as a student learnt: so many times, looking at so many in all."""

    choices: int
    texts: int
    seconds: float


@dataclass(frozen=True)
class SelectionFacts:
    """The selection: `texts` of those it was `asked` to choose among are learnt; the rest by reason.

    `anew` is what choosing on the way cost, None where all was chosen before.
    """

    asked: int
    texts: int
    dropped: Mapping[str, int]
    anew: ChoiceCost | None = None


@dataclass(frozen=True)
class TransferSetFacts:
    """The transfer set: `texts` is what it has, after equal texts were made one.

    Copies are not counted among them; `augmentation` is None where none were made, `selection` where all are learnt.
    """

    name: str
    id: str
    retriever: str
    texts: int
    utterances: int
    neighbours: int
    generic_share: float
    augmentation: AugmentationFacts | None = None
    selection: SelectionFacts | None = None

    @property
    def learnt(self) -> int:
        """How many of the texts the student is distilled on."""
        return self.texts - (sum(self.selection.dropped.values()) if self.selection else 0)


@dataclass(frozen=True)
class CurvePoint:
    """The mean loss of the updates since the point before; `update` counts from 1."""

    update: int
    loss: float


@dataclass(frozen=True)
class AdaptationFacts:
    """How a teacher was adapted by masked language modelling: on `texts`, with `held_out` others left out.

    `head` is "found" where the model came with its head for masked tokens, "made" where it was learnt anew.
    """

    texts: int
    held_out: int
    updates: int
    head: str
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class MemberFacts:
    """One of several teachers, by itself."""

    model: str
    id: str
    parameters: int
    metrics: Mapping[str, float]
    adapted: AdaptationFacts | None = None


@dataclass(frozen=True)
class TeacherFacts:
    """The teacher; `metrics` are on the test split, by name: none of a teacher that has no answers of its own.

    Of several teachers, whose probabilities are averaged, `members` has each; the rest is of all of them together.
    """

    model: str
    id: str
    parameters: int
    metrics: Mapping[str, float]
    ms_per_utterance: float
    adapted: AdaptationFacts | None = None
    members: tuple[MemberFacts, ...] = ()


@dataclass(frozen=True)
class VocabularyFacts:
    """A trimmed vocabulary: the pieces left `of` so many, and the parameters that are saved by it.

    `changed` is the share of the test's tokens that are cut otherwise than by the whole vocabulary.
    """

    pieces: int
    of: int
    parameters_saved: int
    changed: float


@dataclass(frozen=True)
class StudentFacts:
    """The student's size; `origin` ("from" in the JSON) is scratch, skip, first, last, pretrained or static.

    A static student has no layers and no heads. `vocabulary` is None where it is the whole one.
    """

    layers: int
    width: int
    heads: int
    origin: str = field(metadata={"json": "from"})
    parameters: int
    vocabulary: VocabularyFacts | None = None


@dataclass(frozen=True)
class Updates:
    distill: int
    finetune: int


@dataclass(frozen=True)
class LanguageScores:
    """The metric that decides, on the test rows of one language; None where they are too few to say."""

    lang: str
    rows: int
    student: float | None
    teacher: float | None


@dataclass(frozen=True)
class Metrics:
    """The student on the test split, after distilling (None without a transfer set) and after finetuning, by name.

    `agreement` is how far it says what the teacher says. `intervals` and `teacher_intervals` are the 95 % intervals
    of the finetuned student's and of the teacher's scores over test rows, (low, high).
    """

    distilled: Mapping[str, float] | None
    finetuned: Mapping[str, float]
    intervals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    teacher_intervals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    by_language: tuple[LanguageScores, ...] = ()


@dataclass(frozen=True)
class ThresholdFacts:
    """The probability below which a text is out of scope, chosen on the rows of `split`.

    `in_scope` is the share of the test rows in scope that stay, `out_of_scope` of those out of it that are caught.
    """

    value: float
    split: str
    in_scope: float
    out_of_scope: float


@dataclass(frozen=True)
class Seconds:
    """Time this run spent; what was there already (teacher, labels) took none."""

    teacher: float
    labels: float
    distill: float
    finetune: float


@dataclass(frozen=True)
class Curves:
    distill: tuple[CurvePoint, ...]
    finetune: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class RunReport:
    """One run, whole. `settings` is its RunConfig; scores are shares between 0 and 1."""

    run: str
    arm: str
    seed: int
    task: TaskFacts
    transfer_set: TransferSetFacts | None
    teacher: TeacherFacts
    student: StudentFacts
    updates: Updates
    metrics: Metrics
    ms_per_utterance: float
    seconds: Seconds
    curves: Curves
    settings: Mapping[str, Json]
    threshold: ThresholdFacts | None = None


def report_to_json(report: RunReport) -> dict[str, Json]:
    """The report as the JSON object of the design."""
    return _plain(report)  # type: ignore[no-any-return]


def report_from_json(raw: Json) -> RunReport:
    """The report of a JSON object; KeyError, TypeError or ValueError when it is not one."""
    return _made(RunReport, raw)


def read_report(directory: Path) -> RunReport:
    """The report of a run's directory; CorruptArtifact when it is not one this version reads."""
    path = directory / REPORT
    try:
        return report_from_json(json.loads(path.read_bytes()))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(
            f"{path} is not a report this version reads ({type(error).__name__}: {error}); run the distillation again"
        ) from error


T = TypeVar("T")


def _key(item: dataclasses.Field[Any]) -> str:
    return str(item.metadata.get("json", item.name))


def _plain(value: Any) -> Json:
    """Dataclasses as objects, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(item): _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _made(kind: type[T], raw: Json) -> T:
    """A dataclass from its object. A key it does not know is passed over: a newer version may have written it."""
    hints = typing.get_type_hints(kind)
    values = {
        item.name: _value(hints[item.name], raw[_key(item)])
        for item in dataclasses.fields(kind)  # type: ignore[arg-type]
        if _key(item) in raw or (item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING)
    }
    return kind(**values)


def _value(kind: Any, raw: Json) -> Any:
    """One JSON value as the type its field has."""
    if isinstance(kind, types.UnionType):
        if raw is None:
            return None
        kind = next(choice for choice in typing.get_args(kind) if choice is not types.NoneType)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _made(kind, raw)
    if typing.get_origin(kind) is Mapping:
        return {str(key): _value(typing.get_args(kind)[1], inner) for key, inner in raw.items()}
    if typing.get_origin(kind) is tuple:
        return tuple(_value(typing.get_args(kind)[0], inner) for inner in raw)
    if kind is float:
        return float(raw)
    if kind in (int, str) and not isinstance(raw, kind):
        raise ValueError(f"expected {kind.__name__}, found {raw!r}")
    return raw
