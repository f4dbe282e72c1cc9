"""The answers: what a teacher says of the test's rows, stored once for all its runs. An artifact of kind labels.

predictions.parquet   what it says, a row a test row, in the task's order
member-N.parquet      what each of several teachers says by itself, N = 0, 1, 2 …
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow.parquet as pq

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan
from contract.manifest import Json, canonical_json
from contract.progress import Progress
from contract.store import Store
from distill.judging.evaluation import Answers, answers_of, answers_of_table, answers_table, teacher_scores
from distill.models.device import Device
from distill.models.logits import ms_per_utterance
from distill.reading.gold import Gold
from distill.reporting.outcome import MemberFacts, TeacherFacts
from distill.shared import drafting_shared
from distill.teachers.adaptation import adaptation_of
from distill.teachers.teacher import Teacher

VERSION = 1
PREDICTED = "predictions.parquet"


@dataclass(frozen=True)
class TeacherAnswers:
    """What all teachers of a run say together, and what each says by itself."""

    together: Answers
    alone: tuple[Answers, ...] = ()


def obtain_answers(
    store: Store, teacher: Teacher, gold: Gold, device: Device, *, progress: Progress
) -> TeacherAnswers | None:
    """Its answers: those that are there, else asked for now; None of a teacher that has none of its own."""
    if not teacher.answers:
        return None
    params: dict[str, Json] = {"dtype": device.dtype, "test": gold.test.identity}
    plan = Plan("labels", VERSION, params, {**teacher.inputs, "task": gold.task.id})
    directory = store.path("labels", "test-" + hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:16])
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            _ask(draft, teacher, gold, device, progress)
            draft.finish()
    return _read(open_artifact(directory, "labels", version=VERSION), len(teacher.members))


def teacher_facts(
    settings: Mapping[str, Json], teacher: Teacher, answers: TeacherAnswers | None, gold: Gold, device: Device
) -> TeacherFacts:
    """What a report says of it; the time is of the run that asks, so that it stands beside its student's.

    `settings` are those of [teacher] as the report has them, with the models' names.
    """
    names = [settings["model"], *(other["model"] or settings["model"] for other in settings.get("beside", ()))]
    alone = answers.alone if answers else ()
    members = tuple(
        MemberFacts(
            name, member.artifact.id, _parameters(member), teacher_scores(gold, said), adaptation_of(member.artifact)
        )
        for name, member, said in zip(names, teacher.members, alone, strict=bool(alone))
    )
    return TeacherFacts(
        " + ".join(names),
        teacher.id,
        sum(map(_parameters, teacher.members)),
        teacher_scores(gold, answers.together) if answers else {},
        round(sum(_ms(member, gold, device) for member in teacher.members), 3),
        adaptation_of(teacher.artifact),
        members,
    )


def _ms(teacher: Teacher, gold: Gold, device: Device) -> float:
    return ms_per_utterance(
        teacher.model,
        teacher.model,
        teacher.tokenizer,
        gold.test.texts,
        device,
        max_length=teacher.max_length,
        with_words=bool(gold.tags),
    )


def _parameters(teacher: Teacher) -> int:
    return int(teacher.artifact.manifest.facts["parameters"])


def _ask(draft: Draft, teacher: Teacher, gold: Gold, device: Device, progress: Progress) -> None:
    rows = gold.test.table.num_rows
    several = teacher.members if teacher.beside else ()
    said = {PREDICTED: teacher} | {_member(number): member for number, member in enumerate(several)}
    for name, who in said.items():
        if draft.receipt(name.removesuffix(".parquet")) is None:
            logits = who.logits(
                lambda each: gold.test.tokens(each.tokenizer, each.max_length),
                device,
                lambda done: progress("testing teacher", done, rows),
            )
            table = answers_table(gold, answers_of(logits, gold))
            write_parquet(table, draft.partial(name))
            draft.keep(name.removesuffix(".parquet"), {name: table.num_rows})


def _read(artifact: Artifact, members: int) -> TeacherAnswers:
    names: Sequence[str] = [_member(number) for number in range(members)] if members > 1 else ()
    together, *alone = (answers_of_table(pq.read_table(artifact.path(name))) for name in (PREDICTED, *names))
    return TeacherAnswers(together, tuple(alone))


def _member(number: int) -> str:
    return f"member-{number}.parquet"
