"""A transfer set in, a measured student out: the data's way through distill, read from top to bottom.

runs/NAME/  student/ (a transformers directory), predictions.parquet;  report.json, report.html (attachments)
"""

from __future__ import annotations

import shutil
import time

import numpy as np

from contract.artifact import Artifact, open_artifact, write_parquet
from contract.draft import Draft, Plan, drafting
from contract.manifest import Json
from contract.progress import Progress, silent
from contract.run import REPORT, REPORT_PAGE, RUN_VERSION
from contract.store import Store
from distill.augmentation.operations import identity_of as identity_of_operations
from distill.config import RunConfig
from distill.judging.evaluation import answers_of, measured, predictions_table
from distill.judging.predictions import PREDICTIONS_FILE
from distill.judging.threshold import THRESHOLD, choose_threshold, kept_by
from distill.models.device import Device, choose_device, threads
from distill.models.logits import logits_of, ms_per_utterance
from distill.models.pretrained import keep_files, parameters_of
from distill.reading.gold import Gold, read_gold, read_validation
from distill.reading.texts import open_transfer_set
from distill.reporting.outcome import Curves, RunReport, Seconds, StudentFacts, TaskFacts, ThresholdFacts, Updates
from distill.reporting.report import write_report
from distill.selecting.choices import Choices
from distill.students.student import Student, identity_of, make_student
from distill.teachers.answers import TeacherAnswers, obtain_answers, teacher_facts
from distill.teachers.lessons import Lessons, arm_of, obtain_lessons, refuse_selection
from distill.teachers.teacher import Teacher, ready_teacher
from distill.training.followers import followed
from distill.training.phase import Course, Learned, distill_student, finetune


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
        gold, valid = read_gold(config.task), read_validation(config.task)
        refuse_selection(config, gold)
        if config.transfer_set is not None:
            open_transfer_set(store, config.transfer_set.name)  # a wrong name is told before a teacher is trained
        identity = identity_of(config.student)  # and so is a wrong model
        began = time.monotonic()
        teacher = ready_teacher(store, config, gold, device, progress=progress)
        said = obtain_answers(store, teacher, gold, device, progress=progress)
        taught = time.monotonic()
        lessons = obtain_lessons(store, config, teacher, gold, device, progress=progress)
        labelled = time.monotonic()
        plan = _plan(config, gold, teacher, lessons, device, identity)
        with drafting(directory, plan, restart=restart) as draft:
            if not draft.finished:
                with followed(config.processes, _told(store, name, config)) as processes:
                    course = Course(draft, config, gold, device, progress, valid, processes)
                    student, distilled, finetuned = learn(course, teacher, lessons)
                threshold = _keep_student(course, student)
                _keep_predictions(draft, gold, finetuned, said)
                seconds = Seconds(
                    teacher=round(taught - began, 1),
                    labels=round(labelled - taught, 1),
                    distill=round(distilled.seconds, 1) if distilled else 0.0,
                    finetune=round(finetuned.seconds, 1),
                )
                report = _report(
                    name, course, teacher, said, lessons, student, distilled, finetuned, seconds, threshold
                )
                _keep_report(draft, report)
                draft.finish(attachments=[REPORT, REPORT_PAGE])
    return open_run(store, name)


def learn(course: Course, teacher: Teacher, lessons: Lessons | None) -> tuple[Student, Learned | None, Learned]:
    """The student, and what it learnt by distilling and by finetuning: the part that several processes do together."""
    config, gold = course.config, course.gold
    texts = [*([lessons.sentences] if lessons else []), gold.train.texts]
    student = make_student(config.new_student, teacher, course.device, seed=config.seed, texts=texts)
    distilled = distill_student(course, student, teacher, lessons) if lessons else None
    return student, distilled, finetune(course, student)


def open_run(store: Store, name: str) -> Artifact:
    return open_artifact(store.path("run", name), "run", version=RUN_VERSION)


def _plan(
    config: RunConfig, gold: Gold, teacher: Teacher, lessons: Lessons | None, device: Device, student: dict[str, Json]
) -> Plan:
    """Settings and inputs by content: where the task lies and what things are called is not among them."""
    params: dict[str, Json] = config.to_json()
    del params["task"]["path"], params["transfer_set"], params["teacher"], params["precision"]
    if config.augmentation.operations:
        params["augmentation"]["operations"] = identity_of_operations(config.augmentation.operations)
    params["task"]["kind"] = gold.kind
    params |= {"student": student, "dtype": device.dtype, "arm": arm_of(config, lessons), "target": gold.target}
    inputs = {"task": gold.task.id, **teacher.inputs}
    if lessons:
        inputs["transfer-set"] = lessons.transfer_set.id
    if lessons and lessons.labels:
        inputs["labels"] = lessons.labels.id
    for number, generation in enumerate(lessons.generations if lessons else ()):
        inputs[f"augmentation-{number}" if number else "augmentation"] = generation.lessons.transfer_set.id
    return Plan("run", RUN_VERSION, params, inputs)


def _told(store: Store, name: str, config: RunConfig) -> dict[str, Json]:
    """What another process must know to learn the same, wherever this one's store has it."""
    places = {"run": str(store.path("run", name))}
    if config.transfer_set is not None:
        places["transfer-set"] = str(store.path("transfer-set", config.transfer_set.name))
    return {"root": str(store.root), "name": name, "places": places, "config": RunConfig.to_json(config)}


def _keep_student(course: Course, student: Student) -> float | None:
    """Its files; in its config.json the threshold of what is out of scope, where there are rows to choose it by."""
    draft, receipt = course.draft, course.draft.receipt("student")
    if receipt is None:
        threshold = _threshold(course, student)
        if threshold is not None:
            setattr(student.config, THRESHOLD, threshold)
        folder = draft.scratch("kept")
        shutil.rmtree(folder, ignore_errors=True)
        student.save(folder / "student")
        receipt = keep_files(draft, "student", folder, state={"threshold": threshold})
    return receipt.state.get("threshold")


def _threshold(course: Course, student: Student) -> float | None:
    valid = course.valid
    if valid is None or valid.out_of_scope is None:
        return None
    tokens = valid.test.tokens(student.tokenizer, student.max_length)
    answers = answers_of(logits_of(student.model, student.forward, tokens, course.device.exact), valid)
    return choose_threshold(np.array(answers.confidence), valid.in_scope)


def _keep_predictions(draft: Draft, gold: Gold, finetuned: Learned, teacher: TeacherAnswers | None) -> None:
    if draft.receipt("test") is None:
        table = predictions_table(gold, finetuned.answers, teacher.together if teacher else None)
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
    said: TeacherAnswers | None,
    lessons: Lessons | None,
    student: Student,
    distilled: Learned | None,
    finetuned: Learned,
    seconds: Seconds,
    threshold: float | None,
) -> RunReport:
    config, gold, texts = course.config, course.gold, course.gold.test.texts
    return RunReport(
        run=name,
        arm=arm_of(config, lessons),
        seed=config.seed,
        task=_task_facts(config, gold),
        transfer_set=lessons.facts(Choices.of(course.draft).cost) if lessons else None,
        teacher=teacher_facts(config.to_json()["teacher"], teacher, said, gold, course.device),
        student=_student_facts(config, student, gold),
        updates=Updates(distilled.updates if distilled else 0, finetuned.updates),
        metrics=measured(
            gold, distilled.answers if distilled else None, finetuned.answers, said.together if said else None
        ),
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
        threshold=None if threshold is None else _threshold_facts(threshold, course, finetuned),
    )


def _threshold_facts(threshold: float, course: Course, finetuned: Learned) -> ThresholdFacts:
    kept = kept_by(threshold, np.array(finetuned.answers.confidence), course.gold.in_scope)
    splits = "+".join(course.config.task.validation_splits)
    return ThresholdFacts(threshold, splits, round(kept.in_scope, 4), round(kept.out_of_scope, 4))


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
