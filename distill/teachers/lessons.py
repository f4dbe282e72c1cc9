"""The lessons: what a student is distilled on, a transfer set's texts with the teacher's labels beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.progress import Progress
from contract.store import Store
from distill.augmentation.generation import obtain_generation
from distill.config import RunConfig
from distill.models.device import Device
from distill.reading.examples import Examples
from distill.reading.gold import Gold
from distill.reading.known import Known
from distill.reading.slots import SlotLessons
from distill.reading.texts import Texts, open_transfer_set, read_texts, text_id
from distill.reading.tokens import read_tokens
from distill.reporting.outcome import (
    NO_DISTILLATION,
    AugmentationFacts,
    ChoiceCost,
    SelectionFacts,
    TransferSetFacts,
)
from distill.selecting.selection import Selection, select
from distill.settings.selection import fault_of_selection
from distill.students.student import Student
from distill.students.vocabulary import Text
from distill.teachers.labels import Labels, obtain_labels, read_labels
from distill.teachers.teacher import Teacher

# The arm a transfer set makes, by its retriever; any other retriever makes the retrieved arm.
_ARMS = {"none": "task-only", "random": "generic-random", "augmented": "augmented"}


@dataclass(frozen=True)
class Generation:
    """Copies of a transfer set's texts, learnt beside them from batch `begin` on until the next generation's."""

    begin: int
    lessons: Lessons


@dataclass(frozen=True)
class Lessons:
    """A transfer set, its texts, and the labels artifact of the teacher for them, if it has any."""

    name: str
    transfer_set: Artifact
    texts: Texts
    labels: Artifact | None
    generations: tuple[Generation, ...] = ()
    selection: Selection | None = None  # None where all texts are learnt

    @property
    def retriever(self) -> str:
        return str(self.transfer_set.manifest.params.get("retriever", "none"))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The numbers of the texts that are learnt, ascending."""
        return np.arange(self.texts.table.num_rows) if self.selection is None else self.selection.rows

    def facts(self, anew: ChoiceCost | None = None) -> TransferSetFacts:
        """What a report says of them; `anew` is what it cost to choose among them on the way."""
        texts, chosen = self.texts, self.selection
        return TransferSetFacts(
            name=self.name,
            id=self.transfer_set.id,
            retriever=self.retriever,
            texts=texts.table.num_rows,
            utterances=texts.utterances,
            neighbours=texts.neighbours,
            generic_share=round(texts.generic_share, 4),
            augmentation=self._made() if self.generations else None,
            selection=SelectionFacts(chosen.asked, chosen.kept, chosen.dropped, anew) if chosen else None,
        )

    def _made(self) -> AugmentationFacts:
        """The counts of all generations; equal texts in one are counted once."""
        copies = [generation.lessons for generation in self.generations]
        counts = [each.transfer_set.manifest.counts["texts"] for each in copies]
        dropped = Counter({"duplicate": sum(each.texts.duplicates for each in copies)})
        for reasons in (
            *(count.dropped for count in counts),
            *(each.selection.dropped for each in copies if each.selection),
        ):
            dropped.update(reasons)
        return AugmentationFacts(
            len(copies),
            sum(count.rows_in for count in counts),
            sum(len(each.rows) for each in copies),
            {reason: rows for reason, rows in sorted(dropped.items()) if rows},
        )

    @property
    def sentences(self) -> Iterator[Text]:
        """Every text that is learnt, copies too, with its second sentence."""
        rows = self.rows
        for start, some in self.texts.chunks():
            first, stop = np.searchsorted(rows, (start, start + some.num_rows))
            learnt = some.take(pa.array(rows[first:stop] - start))
            yield from zip(learnt["text"].to_pylist(), learnt["text_pair"].to_pylist(), strict=True)
        for generation in self.generations:
            yield from generation.lessons.sentences

    def examples(self, student: Student, gold: Gold) -> Examples:
        """Every text with the teacher's logits, and with its gold labels where it is a training row."""
        known, with_words = Known(gold, self.texts), bool(gold.tags)
        tokens = read_tokens(
            self.texts, student.tokenizer, max_length=student.max_length, words="words" if with_words else "none"
        )
        labels = read_labels(self.labels, self.texts, len(gold.tags)) if self.labels else Labels(None, None)
        slots = SlotLessons(known.tags(tokens.words.offsets), labels.slots) if tokens.words else None
        return Examples(tokens, known.classes, labels.logits, known.amounts, slots)


def obtain_lessons(
    store: Store, config: RunConfig, teacher: Teacher, gold: Gold, device: Device, *, progress: Progress
) -> Lessons | None:
    """The lessons of a run, labelled now where they were not; None for a run without a transfer set."""
    if config.transfer_set is None:
        return None
    name = config.transfer_set.name
    transfer_set = open_transfer_set(store, name)
    texts = read_texts(transfer_set, progress=progress)
    _refuse_held_out(name, texts, gold)
    labels = obtain_labels(store, teacher, transfer_set, texts, device, progress=progress) if teacher.answers else None
    plain = _selected(config, Lessons(name, transfer_set, texts, labels), gold)
    if not len(plain.rows):
        raise BadInput(
            f"The selection leaves none of the {texts.table.num_rows} texts of transfer set {name}: of none is the "
            f"teacher as sure as selection.off_task = {config.selection.off_task:g} asks; lower it"
        )
    return replace(plain, generations=tuple(_generations(store, config, plain, teacher, gold, device, progress)))


def _generations(
    store: Store, config: RunConfig, plain: Lessons, teacher: Teacher, gold: Gold, device: Device, progress: Progress
) -> Iterator[Generation]:
    """As many as the run will meet: one, or one after so many epochs of all texts and copies."""
    asked, number, begin = config.augmentation, 0, 0
    while asked.operations and begin < max(1, config.distill.updates * config.distill.accumulate):
        made = obtain_generation(store, asked, number, plain.transfer_set, gold, device, progress=progress)
        texts = read_texts(made, progress=progress)
        labels = obtain_labels(store, teacher, made, texts, device, progress=progress) if teacher.answers else None
        copies = _selected(config, Lessons(plain.name, made, texts, labels), gold)
        yield Generation(begin, copies)
        if not asked.every:
            return
        rows = len(plain.rows) + len(copies.rows)
        begin += asked.every * max(1, rows // config.distill.batch_size)
        number += 1


def refuse_selection(config: RunConfig, gold: Gold) -> None:
    """BadInput where the task, now that it is read, is not of the kind that can be selected for as asked."""
    distils, answers = config.transfer_set is not None, config.teacher.answers
    fault = fault_of_selection(config.selection, gold.kind, distils=distils, answers=answers)
    if fault:
        raise BadInput(fault)


def _selected(config: RunConfig, lessons: Lessons, gold: Gold) -> Lessons:
    """The lessons with those chosen that are learnt; copies are chosen among copies."""
    asked = config.selection
    if not asked.used:
        return lessons
    logits = None
    if asked.judges:
        assert lessons.labels is not None, "the teacher has answers"
        logits = read_labels(lessons.labels, lessons.texts, len(gold.tags)).logits
    return replace(lessons, selection=select(asked, lessons.texts.table, logits, config.seed))


def _refuse_held_out(name: str, texts: Texts, gold: Gold) -> None:
    """Law 7 once more, where it would spoil a figure: no text of the test is learnt from."""
    held_out = pa.array(sorted({text_id(text, pair) for text, pair in gold.test.texts}), pa.string())
    found = pc.sum(pc.is_in(texts.table["text_id"], held_out)).as_py()
    if found:
        raise BadInput(
            f"Transfer set {name} holds {found} of the test's texts, expected none; "
            "build it again with the test split held out (--heldout-split)"
        )


def arm_of(config: RunConfig, lessons: Lessons | None) -> str:
    """The arm's name in tables: as the config says, else by the transfer set's retriever."""
    if config.arm:
        return config.arm
    return NO_DISTILLATION if lessons is None else _ARMS.get(lessons.retriever, "retrieved")
