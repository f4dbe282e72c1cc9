"""A transfer set in, a measured student out: the data's way through distill, read from top to bottom.

runs/NAME/  student/ (a transformers directory), predictions.parquet;  report.json, report.html (attachments)
"""

from __future__ import annotations

import shutil
import time

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan, drafting
from contract.manifest import Json
from contract.progress import Progress, silent
from contract.run import REPORT, REPORT_PAGE, RUN_VERSION
from contract.store import Store
from distill.config import RunConfig
from distill.device import Device, choose_device, threads
from distill.evaluation import measured, predictions_table
from distill.gold import Gold, read_gold
from distill.lessons import Lessons, arm_of, obtain_lessons
from distill.logits import ms_per_utterance
from distill.outcome import Curves, RunReport, Seconds, StudentFacts, TaskFacts, Updates
from distill.phase import Course, Learned, distill_student, finetune
from distill.predictions import PREDICTIONS_FILE
from distill.pretrained import keep_files, parameters_of
from distill.report import write_report
from distill.student import Student, identity_of, make_student
from distill.teacher import Teacher, obtain_teacher, open_teacher
from distill.texts import open_transfer_set


def run_distillation(
    store: Store, name: str, config: RunConfig, *, progress: Progress = silent, restart: bool = False
) -> Artifact:
    """One run: its teacher and labels (made when they are not there), its student, its report.

    The same config and inputs give the same content id, however often it was killed on the way. Raises what a user
    can mend: BadInput, NotFound, NameTaken, Busy, CorruptArtifact, NoSpace.
    """
    directory = store.path("run", name)
    device = choose_device(config.precision)
    with threads():
        gold = read_gold(config.task)
        if config.transfer_set is not None:
            open_transfer_set(store, config.transfer_set.name)  # a wrong name is told before a teacher is trained
        identity = identity_of(config.student)  # and so is a wrong model
        began = time.monotonic()
        teacher = open_teacher(obtain_teacher(store, config.teacher, gold, device, progress=progress), device)
        taught = time.monotonic()
        lessons = obtain_lessons(store, config, teacher, gold, device, progress=progress)
        labelled = time.monotonic()
        plan = _plan(config, gold, teacher, lessons, device, identity)
        with drafting(directory, plan, restart=restart) as draft:
            if not draft.finished:
                learnt = [*([lessons.sentences] if lessons else []), gold.train.texts]
                student = make_student(config.new_student, teacher, device, seed=config.seed, texts=learnt)
                course = Course(draft, config, gold, device, progress)
                distilled = distill_student(course, student, teacher, lessons) if lessons else None
                finetuned = finetune(course, student)
                _keep_student(draft, student)
                _keep_predictions(draft, gold, finetuned, teacher)
                seconds = Seconds(
                    teacher=round(taught - began, 1),
                    labels=round(labelled - taught, 1),
                    distill=round(distilled.seconds, 1) if distilled else 0.0,
                    finetune=round(finetuned.seconds, 1),
                )
                report = _report(name, course, teacher, lessons, student, distilled, finetuned, seconds)
                _keep_report(draft, report)
                draft.finish(attachments=[REPORT, REPORT_PAGE])
    return open_run(store, name)


def open_run(store: Store, name: str) -> Artifact:
    return open_artifact(store.path("run", name), "run", version=RUN_VERSION)


def _plan(
    config: RunConfig, gold: Gold, teacher: Teacher, lessons: Lessons | None, device: Device, student: dict[str, Json]
) -> Plan:
    """Settings and inputs by content: where the task lies and what things are called is not among them."""
    params: dict[str, Json] = config.to_json()
    del params["task"]["path"], params["transfer_set"], params["teacher"], params["precision"]
    params["task"]["kind"] = gold.kind
    params |= {"student": student, "dtype": device.dtype, "arm": arm_of(config, lessons), "target": gold.target}
    inputs = {"task": gold.task.id, "teacher": teacher.artifact.id}
    if lessons:
        inputs |= {"transfer-set": lessons.transfer_set.id, "labels": lessons.labels.id}
    return Plan("run", RUN_VERSION, params, inputs)


def _keep_student(draft: Draft, student: Student) -> None:
    if draft.receipt("student") is None:
        folder = draft.scratch("kept")
        shutil.rmtree(folder, ignore_errors=True)
        student.save(folder / "student")
        keep_files(draft, "student", folder, state={})


def _keep_predictions(draft: Draft, gold: Gold, finetuned: Learned, teacher: Teacher) -> None:
    if draft.receipt("test") is None:
        table = predictions_table(gold, finetuned.answers, teacher.answers())
        write_parquet(table, draft.partial(PREDICTIONS_FILE))
        draft.keep("test", {PREDICTIONS_FILE: table.num_rows})


def _keep_report(draft: Draft, report: RunReport) -> None:
    if draft.receipt("report") is None:
        write_report(report, draft.partial(REPORT), draft.partial(REPORT_PAGE))
        draft.keep("report", {REPORT: 0, REPORT_PAGE: 0})


def _report(
    name: str,
    course: Course,
    teacher: Teacher,
    lessons: Lessons | None,
    student: Student,
    distilled: Learned | None,
    finetuned: Learned,
    seconds: Seconds,
) -> RunReport:
    config, gold, texts = course.config, course.gold, course.gold.test.texts
    return RunReport(
        run=name,
        arm=arm_of(config, lessons),
        seed=config.seed,
        task=_task_facts(config, gold),
        transfer_set=lessons.facts if lessons else None,
        teacher=teacher.facts(
            config.to_json()["teacher"]["model"],
            gold,
            ms_per_utterance=ms_per_utterance(
                teacher.model,
                teacher.model,
                teacher.tokenizer,
                texts,
                course.device,
                max_length=teacher.max_length,
                with_words=bool(gold.tags),
            ),
        ),
        student=_student_facts(config, student, gold),
        updates=Updates(config.distill.updates if lessons else 0, config.finetune_updates),
        metrics=measured(gold, distilled.answers if distilled else None, finetuned.answers, teacher.answers()),
        ms_per_utterance=ms_per_utterance(
            student.model,
            student.forward,
            student.tokenizer,
            texts,
            course.device,
            max_length=student.max_length,
            with_words=bool(gold.tags),
        ),
        seconds=seconds,
        curves=Curves(distilled.curve if distilled else (), finetuned.curve),
        settings=config.to_json(),
    )


def _task_facts(config: RunConfig, gold: Gold) -> TaskFacts:
    return TaskFacts(
        name=gold.task.name,
        id=gold.task.id,
        target=gold.target,
        kind=gold.kind,
        classes=len(gold.classes),
        shots=config.task.shots,
        train_rows=gold.train.table.num_rows,
        test_rows=gold.test.table.num_rows,
        test_split="+".join(config.task.test_splits),
        unseen_labels=gold.unseen_labels,
        unseen_slots=gold.unseen_slots,
        pairs=gold.pairs,
    )


def _student_facts(config: RunConfig, student: Student, gold: Gold) -> StudentFacts:
    shape, trimmed = student.config, student.vocabulary
    return StudentFacts(
        layers=shape.num_hidden_layers,
        width=shape.hidden_size,
        heads=shape.num_attention_heads,
        origin=config.student.origin,
        parameters=parameters_of(student.model),
        vocabulary=trimmed.facts(gold.test.texts, width=student.embedding_width) if trimmed else None,
    )
