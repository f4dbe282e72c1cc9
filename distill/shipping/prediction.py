"""Predictions: what a finished student says of texts nobody labelled, in any of its forms, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract.artifact import Artifact, open_artifact
from contract.errors import BadInput, NotFound
from contract.manifest import MANIFEST, Json
from contract.rows import BadRow, OnBadRow, column_names, read_rows
from contract.run import RUN_VERSION
from contract.schemas import TASK
from contract.store import Store
from contract.task import with_aliases
from distill.reading.words import Span, locate_words, split_words
from distill.shipping.forms import EXPORT_VERSION, FILE_OF, Form, FormName, Heard, Spoken, open_form
from distill.shipping.meaning import MEANING, STUDENT, Meaning, meaning_of_run, read_meaning

BATCH_ROWS = 512  # of a file: what is held at a time
_DECIMALS = 6
_COLUMNS = ("id", "text", "text_pair", "tokens")


@dataclass(frozen=True)
class Slot:
    """A slot of a text: its kind, its words as they stand there, and from which character to which."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Prediction:
    """What was said of a text; None for what the student does not say.

    `label` is None where the text is out of scope; `nearest` is the class of the highest `probability` all the same.
    """

    nearest: str | None = None
    probability: float | None = None
    out_of_scope: bool | None = None
    amount: float | None = None
    slots: tuple[Slot, ...] | None = None

    @property
    def label(self) -> str | None:
        return None if self.out_of_scope else self.nearest

    def to_json(self) -> dict[str, Json]:
        """What was said, without what was not."""
        said: dict[str, Json] = {}
        if self.nearest is not None:
            said |= {"label": self.label, "probability": self.probability}
        if self.out_of_scope is not None:
            said |= {"out_of_scope": self.out_of_scope, "nearest": self.nearest}
        if self.amount is not None:
            said["amount"] = self.amount
        if self.slots is not None:
            said["slots"] = [vars(slot) for slot in self.slots]
        return said


class Predictor:
    """A student ready to be asked."""

    def __init__(self, form: Form, meaning: Meaning) -> None:
        self._form = form
        self.meaning = meaning

    def predict(self, heard: Sequence[Heard]) -> list[Prediction]:
        """What it says of each text, in their order. BadInput for a pair where it reads none, or the other way."""
        if not heard:
            return []
        asked = [self._checked(each) for each in heard]
        return predictions_of(self._form.speak(asked), asked, self.meaning)

    def _checked(self, heard: Heard) -> Heard:
        """The text with its words, where the student has slots."""
        fault = fault_of_text(heard, self.meaning)
        if fault:
            raise BadInput(f"{fault}; ask again with one")
        words = heard.words if heard.words is not None else split_words(heard.text)
        return replace(heard, words=words) if self.meaning.tags else heard


def open_predictor(
    store: Store, name: str, form: FormName | None = None, *, threshold: float | None = None
) -> Predictor:
    """The student of a run, or of an exported folder (a path with a "/" in it, or ".").

    Without a `form` a run answers in torch, an exported folder in ONNX where it has it: that loads at once. An ONNX
    form of a run is looked for among the store's exports.
    """
    if "/" in name or name in (".", ".."):
        artifact = open_artifact(Path(name), "export", version=EXPORT_VERSION)
        default: FormName = "onnx" if _has(artifact, FILE_OF["onnx"]) else "torch"
        predictor = _of_export(artifact, form or default)
    elif form in (None, "torch"):
        predictor = _of_run(open_artifact(store.path("run", name), "run", version=RUN_VERSION))
    else:
        assert form is not None
        predictor = _of_export(_export_of(store, name), form)
    if threshold is None:
        return predictor
    if predictor.meaning.kind != "out-of-scope":
        raise BadInput(
            f"{name} does not tell what is out of scope (its task is of kind {predictor.meaning.kind}), "
            "so that --threshold means nothing; leave it out"
        )
    return Predictor(predictor._form, replace(predictor.meaning, threshold=threshold))


def read_file(
    path: Path, meaning: Meaning, *, columns: Mapping[str, str], on_bad_row: OnBadRow
) -> Iterator[list[tuple[Json, Heard]]]:
    """A file's rows as (id or row number, text), some at a time: what is held follows the batch, not the file.

    Formats, column names and bad rows are those of task files. A row whose pair or words do not fit is a bad row too.
    """
    schema = pa.schema([TASK.field(column).with_nullable(column != "text") for column in _COLUMNS])
    for ours, theirs in columns.items():
        if ours not in _COLUMNS:
            raise BadInput(f"--map {ours}={theirs}: a prediction reads only {', '.join(_COLUMNS)}")
        if theirs not in column_names(path, [theirs]):
            raise BadInput(f"{path} has no column {theirs!r}, which --map {ours}={theirs} names")
    known = {ours: theirs for ours, theirs in with_aliases(path, columns).items() if ours in _COLUMNS}
    for numbers, batch in read_rows(path, schema, columns=known, batch_rows=BATCH_ROWS, on_bad_row=on_bad_row):
        rows = []
        for number, row in zip(numbers.to_pylist(), batch.to_pylist(), strict=True):
            heard, fault = _heard(row, meaning)
            if fault:
                on_bad_row(BadRow(str(path), number, *fault))
            else:
                rows.append((row["id"] if row["id"] is not None else number, heard))
        yield rows


def predictions_of(spoken: Spoken, heard: Sequence[Heard], meaning: Meaning) -> list[Prediction]:
    """The logits of texts as what they mean."""
    said = [Prediction()] * len(heard)
    if spoken.sentence is not None and meaning.kind == "regression":
        said = [Prediction(amount=round(amount, _DECIMALS)) for amount in spoken.sentence[:, 0].tolist()]
    elif spoken.sentence is not None:
        said = _labels(spoken.sentence, meaning)
    if spoken.slots is None:
        return said
    lengths = [len(each.words or ()) for each in heard]
    parts = np.split(spoken.slots, np.cumsum(lengths)[:-1])
    return [
        replace(each, slots=slots_in(of_text, asked, meaning.tags))
        for each, of_text, asked in zip(said, parts, heard, strict=True)
    ]


def slots_in(logits: npt.NDArray[np.float32], heard: Heard, tags: Sequence[str]) -> tuple[Slot, ...]:
    """The slots of a text from its words' logits (W, T): an I-x that goes on nothing begins one."""
    best = np.where(np.isnan(logits[:, 0]), 0, logits.argmax(axis=1)) if len(logits) else np.empty(0, np.int64)
    slots: list[Slot] = []
    going_on = ""  # the kind of the slot that the word before is in
    for tag, (start, end) in zip((tags[index] for index in best.tolist()), heard.words or (), strict=True):
        begins, kind = tag[:2] == "B-", tag[2:]
        if kind and (begins or kind != going_on):
            slots.append(Slot(kind, heard.text[start:end], start, end))
        elif kind:
            first = slots.pop().start
            slots.append(Slot(kind, heard.text[first:end], first, end))
        going_on = kind
    return tuple(slots)


def fault_of_text(heard: Heard, meaning: Meaning) -> str | None:
    """What keeps a student from reading this text, if anything does."""
    if not heard.text.strip():
        return "expected a text, found nothing"
    if heard.pair is None and meaning.pairs:
        return "expected a second sentence, as this student's task is of pairs, found none"
    if heard.pair is not None and (meaning.pairs is False or meaning.tags):
        return "expected a single text, as this student's task is of, found a second sentence"
    return None


def _labels(logits: npt.NDArray[np.float32], meaning: Meaning) -> list[Prediction]:
    """The class of the highest logit (the first of equals) and its probability, in float64."""
    whole = logits.astype(np.float64)
    shares = np.exp(whole - whole.max(axis=1, keepdims=True))
    highest = (1 / shares.sum(axis=1)).round(_DECIMALS).tolist()
    return [
        Prediction(meaning.classes[index], probability, _is_outside(probability, meaning))
        for index, probability in zip(logits.argmax(axis=1).tolist(), highest, strict=True)
    ]


def _is_outside(probability: float, meaning: Meaning) -> bool | None:
    return None if meaning.threshold is None else probability < meaning.threshold


def _heard(row: Mapping[str, Any], meaning: Meaning) -> tuple[Heard, tuple[str, str] | None]:
    """A row as a text, and what is wrong with it by (column, reason)."""
    heard = Heard(row["text"], row["text_pair"])
    fault = fault_of_text(heard, meaning)
    if fault:
        return heard, ("text_pair", fault)
    if not (meaning.tags and row["tokens"]):
        return heard, None
    words: Sequence[Span] | None = locate_words(heard.text, row["tokens"])
    if words is None:
        return heard, ("tokens", "expected words that stand one after the other in the text")
    return replace(heard, words=words), None


def _of_run(run: Artifact) -> Predictor:
    meaning = meaning_of_run(run)
    for entry in run.manifest.files:
        if entry.name.startswith(f"{STUDENT}/"):
            run.path(entry.name)
    return Predictor(open_form(run.directory / STUDENT, "torch", meaning), meaning)


def _of_export(export: Artifact, form: FormName) -> Predictor:
    if not _has(export, FILE_OF[form]):
        raise NotFound(f"{export.directory} has no {FILE_OF[form]}; export the run with it")
    wanted = [entry.name for entry in export.manifest.files if not entry.name.endswith((".onnx", ".safetensors"))]
    weights = [name for name in _names(export) if name.endswith(".safetensors")] if form == "torch" else [FILE_OF[form]]
    for name in (*wanted, *weights):
        export.path(name)
    meaning = read_meaning(export.path(MEANING))
    return Predictor(open_form(export.directory, form, meaning), meaning)


def _export_of(store: Store, name: str) -> Artifact:
    """The store's export of a run, of that very run."""
    directory = store.path("export", name)
    if not (directory / MANIFEST).is_file():
        raise NotFound(f"Run {name} is not exported yet; make its ONNX forms with: transferset export {name}")
    export = open_artifact(directory, "export", version=EXPORT_VERSION)
    run = open_artifact(store.path("run", name), "run", version=RUN_VERSION)
    if export.manifest.inputs["run"] != run.id:
        raise BadInput(
            f"{directory} is of another run than the one that is now called {name}; "
            f"remove that folder and run: transferset export {name}"
        )
    return export


def _names(artifact: Artifact) -> list[str]:
    return [entry.name for entry in artifact.manifest.files]


def _has(artifact: Artifact, file: str) -> bool:
    return file in _names(artifact)
