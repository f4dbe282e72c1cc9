"""An export, read from top to bottom: a run's student in every form, checked against itself, timed, and described.

FOLDER/  config.json, model.safetensors, tokenizer.json … (a transformers directory), model.onnx, model.int8.onnx,
         meaning.json;  README.md (the card), export.json (attachments: they hold milliseconds)
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.compute as pc
from pydantic import ValidationError

from contract.artifact import Artifact, open_artifact
from contract.draft import Draft, Plan, discard, drafting
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import Json
from contract.progress import Progress, silent
from contract.store import Store
from contract.task_folder import find_task
from distill.judging.metrics import METRICS_OF
from distill.models.pretrained import keep_files
from distill.pipeline import open_run
from distill.reading.gold import Gold, read_gold
from distill.reporting.outcome import RunReport, read_report
from distill.settings.task import TaskConfig
from distill.shipping.card import CARD, write_card
from distill.shipping.forms import EXPORT_VERSION, FILE_OF, FORMS, Form, FormName, Heard, open_form
from distill.shipping.latency import TEXTS, Latency, time_side_by_side
from distill.shipping.lineage import find_by_id, licence_of_model, lineage_of
from distill.shipping.meaning import STUDENT, meaning_of_run, write_meaning
from distill.shipping.onnx_export import INT8_SETTINGS, OPSET, write_int8, write_onnx
from distill.shipping.onnx_form import OnnxForm
from distill.shipping.outcome import EXPORT_REPORT, TEACHER, Export, FormFacts, write_export
from distill.shipping.parity import (
    LOSS,
    Scores,
    Unfaithful,
    check_float32,
    check_int8,
    heard_of,
    scores_of_form,
)
from distill.shipping.torch_form import TorchForm
from distill.students.static import STATIC
from distill.students.student import CPU, open_student
from distill.teachers.teacher import open_teacher

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a run. `task` is where its task lies now; `loss` what int8 may lose of the deciding metric."""

    forms: tuple[FormName, ...] = FORMS
    loss: float = LOSS
    task: Path | None = None
    licences: Mapping[str, str] = field(default_factory=dict)
    timed_texts: int = TEXTS


def export_run(
    store: Store,
    name: str,
    options: ExportOptions = ExportOptions(),
    *,
    to: Path | None = None,
    progress: Progress = silent,
    restart: bool = False,
) -> Artifact:
    """The exported folder of a run, in the store or at `to`: whole and checked, or not there.

    Raises what a user can mend (NotFound, BadInput, NameTaken, Busy, CorruptArtifact, NoSpace, MissingExtra), and
    Unfaithful when a form does not say what the student says.
    """
    run = open_run(store, name)
    directory = to or store.path("export", name)
    with drafting(directory, _plan(run, options), restart=restart) as draft:
        if not draft.finished:
            try:
                _make(draft, store, run, options, progress)
            except Unfaithful:
                discard(directory)
                raise
    return open_export(directory)


def open_export(directory: Path) -> Artifact:
    return open_artifact(directory, "export", version=EXPORT_VERSION)


def _plan(run: Artifact, options: ExportOptions) -> Plan:
    params: dict[str, Json] = {"forms": list(options.forms), "licences": dict(options.licences)}
    if "onnx" in options.forms:
        params["opset"] = OPSET
    if "int8" in options.forms:
        params["int8"] = INT8_SETTINGS
    return Plan("export", EXPORT_VERSION, params, {"run": run.id})


def _make(draft: Draft, store: Store, run: Artifact, options: ExportOptions, progress: Progress) -> None:
    report = read_report(run.directory)
    gold = _gold_of(store, run, report, options.task)
    meaning = replace(meaning_of_run(run), pairs=gold.pairs)
    folder = draft.scratch("export")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _copy_student(run, folder)
    write_meaning(meaning, folder)
    _write_forms(folder, options.forms, progress)
    forms: dict[FormName, Form] = {form: open_form(folder, form, meaning) for form in options.forms}
    heard = heard_of(gold)
    scores = _check(forms, heard, gold, options.loss, progress)
    found = find_by_id(store, "teacher", run.manifest.inputs["teacher"])
    alone = report.teacher.metrics and not report.teacher.members  # else there is not one model that answers
    teacher = Artifact(*found) if found and alone else None
    timed: dict[str, Form] = {TEACHER: _teacher_form(teacher, gold)} if teacher else {}
    timed |= {str(name): form for name, form in forms.items()}
    latencies = time_side_by_side(timed, heard, texts=options.timed_texts, progress=progress)
    export = Export(
        run=report.run,
        run_id=run.id,
        decides=METRICS_OF[gold.kind][0],
        test_rows=gold.test.table.num_rows,
        timed_texts=options.timed_texts,
        processor=_processor(),
        opened_by_transformers=json.loads((folder / "config.json").read_bytes())["model_type"] != STATIC,
        inputs=next((form.inputs for form in forms.values() if isinstance(form, OnnxForm)), ()),
        forms={
            **({TEACHER: _teacher_facts(teacher, report, latencies[TEACHER])} if teacher else {}),
            **{name: _form_facts(folder, name, score, latencies[name]) for name, score in scores.items()},
        },
        lineage=lineage_of(store, run),
        licences=_licences(report, options),
        languages=_languages(gold),
    )
    write_export(export, folder)
    (folder / CARD).write_text(write_card(export, report, meaning), encoding="utf-8")
    keep_files(draft, "export", folder, state={})
    draft.finish(attachments=[EXPORT_REPORT, CARD])


def _where(store: Store, written: str) -> Path:
    """Where a run's task lies: the path its RUN.toml had, or of a run that a service ordered, the task of that name."""
    if not Path(written).exists():
        with suppress(BadInput, NotFound):
            return find_task(store.root / "tasks", written).path
    return Path(written)


def _gold_of(store: Store, run: Artifact, report: RunReport, path: Path | None) -> Gold:
    """The task the run learnt, read again; NotFound or BadInput when it is not there any more."""
    settings = dict(report.settings["task"])
    path = path or _where(store, settings["path"])
    try:
        config = TaskConfig.model_validate({**settings, "path": path})
    except ValidationError as error:
        raise CorruptArtifact(
            f"The report of {run.directory} names a task this version cannot read ({error.error_count()} settings); "
            "distil the run again"
        ) from error
    try:
        gold = read_gold(config)
    except NotFound:
        raise NotFound(
            f"There is no task file {path}, on which run {report.run} was tested and its forms are checked; "
            "name it with --task"
        ) from None
    if gold.task.id != run.manifest.inputs["task"]:
        raise BadInput(
            f"{path} is not the task that run {report.run} learnt: expected the id {run.manifest.inputs['task']}, "
            f"found {gold.task.id}; name the right file with --task"
        )
    return gold


def _copy_student(run: Artifact, folder: Path) -> None:
    """The student's files, each checked, readable by whoever may read the folder."""
    for entry in run.manifest.files:
        if entry.name.startswith(f"{STUDENT}/"):
            target = folder / entry.name.removeprefix(f"{STUDENT}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.path(entry.name), target)


def _write_forms(folder: Path, forms: tuple[FormName, ...], progress: Progress) -> None:
    if "onnx" in forms:
        progress("onnx", 0, 2)
        write_onnx(open_student(folder), folder / FILE_OF["onnx"])
        if "int8" in forms:
            progress("onnx", 1, 2)
            write_int8(folder / FILE_OF["onnx"], folder / FILE_OF["int8"])
        progress("onnx", 2, 2)


def _check(
    forms: Mapping[FormName, Form], heard: list[Heard], gold: Gold, loss: float, progress: Progress
) -> dict[FormName, Scores]:
    """Every form's scores on the whole test split; Unfaithful when one is not the student."""
    scores: dict[FormName, Scores] = {}
    whole = forms["torch"].speak(heard)
    for done, (name, form) in enumerate(forms.items()):
        progress("parity", done, len(forms))
        scores[name] = scores_of_form(whole if name == "torch" else form.speak(heard), whole, gold)
        if name == "onnx":
            check_float32(scores[name])
        elif name == "int8":
            check_int8(gold, scores, loss)
    progress("parity", len(forms), len(forms))
    return scores


def _teacher_form(artifact: Artifact, gold: Gold) -> Form:
    """The teacher as one more form, to be timed beside its student."""
    teacher = open_teacher(artifact, CPU)
    return TorchForm(teacher.model, teacher.model, teacher.tokenizer, teacher.max_length, with_words=bool(gold.tags))


def _teacher_facts(teacher: Artifact, report: RunReport, latency: Latency) -> FormFacts:
    return FormFacts(_megabytes(*teacher.directory.rglob("*.safetensors")), report.teacher.metrics, latency)


def _form_facts(folder: Path, name: FormName, scores: Scores, latency: Latency) -> FormFacts:
    files = folder.glob("*.safetensors") if name == "torch" else [folder / FILE_OF[name]]
    return FormFacts(_megabytes(*files), scores.metrics, latency, None if name == "torch" else scores.distance)


def _megabytes(*files: Path) -> float:
    return round(sum(file.stat().st_size for file in files) / 1e6, 3)


def _licences(report: RunReport, options: ExportOptions) -> dict[str, str]:
    """What was said, and what the teacher's own card says."""
    of_teacher = licence_of_model(report.teacher.model)
    return {**({"teacher": of_teacher} if of_teacher else {}), **options.licences}


def _languages(gold: Gold) -> tuple[str, ...]:
    """The languages of the training rows, where they say."""
    found = pc.unique(gold.train.table["lang"]).drop_null().to_pylist()
    return tuple(sorted(lang for lang in found if _LANGUAGE.fullmatch(lang)))


def _processor() -> str:
    """The processor's name, for whoever compares milliseconds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.machine()
