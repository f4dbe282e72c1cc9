"""The lessons: what a student is distilled on, a transfer set's texts with the teacher's labels beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contract.artifact import Artifact
from contract.errors import BadInput
from contract.progress import Progress
from contract.store import Store
from distill.config import RunConfig
from distill.device import Device
from distill.examples import Examples
from distill.gold import Gold
from distill.labels import obtain_labels, read_labels
from distill.outcome import NO_DISTILLATION, TransferSetFacts
from distill.slots import SlotLessons
from distill.student import Student
from distill.teacher import Teacher
from distill.texts import Texts, open_transfer_set, read_texts, text_id
from distill.tokens import tokenize
from distill.vocabulary import Text

# The arm a transfer set makes, by its retriever; any other retriever makes the retrieved arm.
_ARMS = {"none": "task-only", "random": "generic-random", "augmented": "augmented"}


@dataclass(frozen=True)
class Lessons:
    """A transfer set, its texts, and the labels artifact of the teacher for them."""

    name: str
    transfer_set: Artifact
    texts: Texts
    labels: Artifact

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
        )

    @property
    def sentences(self) -> Iterator[Text]:
        """Every text, with its second sentence."""
        for batch in self.texts.table.to_batches():
            yield from zip(batch["text"].to_pylist(), batch["text_pair"].to_pylist(), strict=True)

    def examples(self, student: Student, gold: Gold) -> Examples:
        """Every text with the teacher's logits, and with its gold labels where it is a training row."""
        table = self.texts.table
        texts, pairs = table["text"].to_pylist(), table["text_pair"].to_pylist()
        utterances = table["utterance_id"].to_pylist()
        words = self.texts.words if gold.tags else None
        tokens = tokenize(student.tokenizer, texts, pairs, max_length=student.max_length, words=words)
        labels = read_labels(self.labels, self.texts, len(gold.tags))
        slots = None if words is None else SlotLessons(gold.tags_of(utterances, texts, words), labels.slots)
        classes, amounts = gold.classes_of(utterances, texts), gold.amounts_of(utterances, texts)
        return Examples(tokens, classes, labels.logits, amounts, slots)


def obtain_lessons(
    store: Store, config: RunConfig, teacher: Teacher, gold: Gold, device: Device, *, progress: Progress
) -> Lessons | None:
    """The lessons of a run, labelled now where they were not; None for a run without a transfer set."""
    if config.transfer_set is None:
        return None
    name = config.transfer_set.name
    transfer_set = open_transfer_set(store, name)
    texts = read_texts(transfer_set)
    _refuse_held_out(name, texts, gold)
    labels = obtain_labels(store, teacher, transfer_set, texts, device, progress=progress)
    return Lessons(name, transfer_set, texts, labels)


def _refuse_held_out(name: str, texts: Texts, gold: Gold) -> None:
    """Law 7 once more, where it would spoil a figure: no text of the test is learnt from."""
    held_out = {text_id(text, pair) for text, pair in gold.test.texts}
    found = sum(identity in held_out for identity in texts.table["text_id"].to_pylist())
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
