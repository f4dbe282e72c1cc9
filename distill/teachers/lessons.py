"""The lessons: what a student is distilled on, a transfer set's texts with the teacher's labels beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
from distill.reporting.outcome import NO_DISTILLATION, AugmentationFacts, TransferSetFacts
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

    @property
    def retriever(self) -> str:
        return str(self.transfer_set.manifest.params.get("retriever", "none"))

    @property
    def facts(self) -> TransferSetFacts:
        texts = self.texts
        return TransferSetFacts(
            name=self.name,
            id=self.transfer_set.id,
            retriever=self.retriever,
            texts=texts.table.num_rows,
            utterances=texts.utterances,
            neighbours=texts.neighbours,
            generic_share=round(texts.generic_share, 4),
            augmentation=self._made() if self.generations else None,
        )

    def _made(self) -> AugmentationFacts:
        """The counts of all generations; equal texts in one are counted once."""
        copies = [generation.lessons for generation in self.generations]
        counts = [each.transfer_set.manifest.counts["texts"] for each in copies]
        dropped = Counter({"duplicate": sum(each.texts.duplicates for each in copies)})
        for count in counts:
            dropped.update(count.dropped)
        return AugmentationFacts(
            len(copies),
            sum(count.rows_in for count in counts),
            sum(each.texts.table.num_rows for each in copies),
            {reason: rows for reason, rows in sorted(dropped.items()) if rows},
        )

    @property
    def sentences(self) -> Iterator[Text]:
        """Every text, copies too, with its second sentence."""
        for _, some in self.texts.chunks():
            yield from zip(some["text"].to_pylist(), some["text_pair"].to_pylist(), strict=True)
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
    plain = Lessons(name, transfer_set, texts, labels)
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
        yield Generation(begin, Lessons(plain.name, made, texts, labels))
        if not asked.every:
            return
        rows = plain.texts.table.num_rows + texts.table.num_rows
        begin += asked.every * max(1, rows // config.distill.batch_size)
        number += 1


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
