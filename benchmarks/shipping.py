"""Shipping: size, score and latency of a student in every form, beside its teacher in the same forms, in one run.

python -m benchmarks.shipping                          trains a teacher and two students on SNIPS (minutes), then ships
python -m benchmarks.shipping --artifacts A --run R    ships a run that is there, in a folder of its own

Batch 1, one thread, from characters to logits, all forms in turns on the same texts; p50 and p99 by the wall's clock,
the ratios by the processor's, since a busy machine holds up slow forms more than quick ones. The teacher in torch is
what practitioners have; as ONNX, float32 and int8, it is the fair peer of the student's ONNX forms. One student has the
whole vocabulary of its teacher, one has it trimmed to its transfer set. The last lines are the shipped folder's
accuracy in the hands of plain transformers and of plain onnxruntime.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.data import DATA
from contract.artifact import Artifact
from contract.store import Store
from demo.commands import run_commands
from distill.judging.metrics import METRICS
from distill.pipeline import open_run
from distill.reading.gold import Gold, read_gold
from distill.reading.tokens import Batch
from distill.reporting.figures import factor, milliseconds
from distill.reporting.outcome import read_report
from distill.settings.task import TaskConfig
from distill.shipping.export import ExportOptions, export_run
from distill.shipping.forms import FILE_OF, FORMS, TITLES, Form, open_form
from distill.shipping.latency import Latency, time_side_by_side
from distill.shipping.lineage import find_by_id
from distill.shipping.meaning import Meaning, read_meaning
from distill.shipping.onnx_export import write_graph, write_int8
from distill.shipping.onnx_form import LOGITS, OnnxForm
from distill.shipping.outcome import Export, read_export
from distill.shipping.parity import heard_of
from distill.shipping.torch_form import TorchForm
from distill.students.student import CPU
from distill.teachers.teacher import Teacher, open_teacher

RUN_TOML = Path(__file__).with_name("shipping.toml")
STUDENTS = {"whole": "teacher", "trimmed": "trimmed"}
CLOCKS = (time.perf_counter, time.thread_time)
REACH = {"int8 beside the teacher in torch": 30, "MB of int8": 6, "points int8 loses": 0.5}


class TeacherGraph(torch.nn.Module):
    """A teacher of classes as a function of the tokenizer's arrays."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.model = teacher.model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        logits = self.model(Batch(ids, mask, types)).logits
        assert logits is not None
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, help="a store that has the run [default: one of its own]")
    parser.add_argument("--run", action="append", help="a run of classes; repeatable [default: train two]")
    parser.add_argument("--task", type=Path, default=DATA / "tasks" / "snips.parquet", help="to train on")
    parser.add_argument("--texts", type=int, default=500, help="timed, of each form")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(options.artifacts or Path(scratch) / "artifacts")
        runs = options.run or train(options.task, store.root)
        for number, run in enumerate(runs):
            ship(store, run, Path(scratch) / str(number), options.texts)


def train(task: Path, root: Path) -> list[str]:
    """Two students of 2 x 128 on the task's own training text, labelled by their teacher."""
    build = ["build", "--task", str(task), "--retriever", "none", "--name", "bench"]
    distill = ["distill", str(RUN_TOML), "--set", f"task.path={task}"]
    students = [
        [*distill, "--set", f"student.vocabulary={vocabulary}", "--name", name] for name, vocabulary in STUDENTS.items()
    ]
    run_commands([build, *students], root)
    return list(STUDENTS)


def ship(store: Store, run: str, scratch: Path, texts: int) -> None:
    """Export the run, time all its forms and its teacher's, and print the table."""
    exported = export_run(store, run, ExportOptions(timed_texts=50), to=scratch / "export")
    export = read_export(exported.directory)
    artifact = open_run(store, run)
    meaning = read_meaning(exported.path("meaning.json"))
    settings = read_report(artifact.directory).settings["task"]
    gold = read_gold(TaskConfig.model_validate(settings))
    heard = heard_of(gold)
    forms = {**teacher_forms(store, artifact, scratch), **{
        f"student, {TITLES[name]}": open_form(exported.directory, name, meaning) for name in FORMS
    }}  # fmt: skip
    by_wall, by_cpu = (time_side_by_side(forms, heard, texts=texts, clock=each) for each in CLOCKS)
    show(run, export, by_wall, by_cpu, scratch)
    for library, accuracy in plain_accuracies(exported.directory, gold).items():
        print(f"{library}: accuracy {100 * accuracy:.2f}")


def teacher_forms(store: Store, run: Artifact, scratch: Path) -> dict[str, Form]:
    """The teacher in torch and as ONNX."""
    found = find_by_id(store, "teacher", run.manifest.inputs["teacher"])
    assert found is not None, "the teacher of a run to be benchmarked is in its store"
    teacher = open_teacher(Artifact(*found), CPU)
    folder = scratch / "teacher"
    shutil.copytree(found[0] / "encoder", folder)
    teacher.model.encoder.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        write_graph(
            TeacherGraph(teacher),
            folder / FILE_OF["onnx"],
            typed="token_type_ids" in teacher.tokenizer.model_input_names,
            outputs=[LOGITS],
            max_length=teacher.max_length,
        )
    write_int8(folder / FILE_OF["onnx"], folder / FILE_OF["int8"])
    pad = int(teacher.tokenizer.pad_token_id)
    meaning = Meaning("classes", "", teacher.max_length, pad, teacher.classes)
    fresh = open_teacher(Artifact(*found), CPU)
    return {
        "teacher, torch float32": TorchForm(
            fresh.model, fresh.model, fresh.tokenizer, fresh.max_length, with_words=False
        ),
        "teacher, ONNX float32": OnnxForm(folder, FILE_OF["onnx"], meaning, alone=False),
        "teacher, ONNX int8": OnnxForm(folder, FILE_OF["int8"], meaning, alone=True),
    }


def plain_accuracies(folder: Path, gold: Gold) -> dict[str, float]:
    """The shipped folder on the test split, as somebody has it who never heard of Transferset."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    sessions = {name: onnxruntime.InferenceSession(folder / FILE_OF[name]) for name in FORMS[1:]}
    said: dict[str, list[int]] = {"transformers": [], **{f"onnxruntime, {TITLES[name]}": [] for name in sessions}}
    for text, _ in gold.test.texts:
        with torch.no_grad():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
        said["transformers"].append(int(logits.argmax()))
        read = plain.encode(text)
        arrays = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        for name, session in sessions.items():
            fed = {each.name: np.array([arrays[each.name]]) for each in session.get_inputs()}
            said[f"onnxruntime, {TITLES[name]}"].append(int(session.run(None, fed)[0].argmax()))
    return {library: _accuracy([model.config.id2label[index] for index in of], gold) for library, of in said.items()}


def _accuracy(labels: Sequence[str], gold: Gold) -> float:
    return float(np.mean([said == wanted for said, wanted in zip(labels, gold.test.labels, strict=True)]))


def show(run: str, export: Export, latencies: dict[str, Latency], by_cpu: dict[str, Latency], scratch: Path) -> None:
    metric = METRICS[export.decides]
    sizes = {f"teacher, {TITLES[name]}": _megabytes(scratch / "teacher" / FILE_OF[name]) for name in FORMS}
    scores = {"teacher, torch float32": export.forms["teacher"].metrics[export.decides]}
    for name in FORMS:
        sizes[f"student, {TITLES[name]}"] = export.forms[name].megabytes
        scores[f"student, {TITLES[name]}"] = export.forms[name].metrics[export.decides]
    table = Table(title=f"{run}: {export.test_rows:,} test rows, {export.processor}", box=None, title_justify="left")
    for column in ("", "MB", metric.title, "p50", "p99", "CPU p50", "÷ teacher in torch", "÷ teacher in this form"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, found in latencies.items():
        peers = ("teacher, torch float32", name.replace("student", "teacher"))
        ratios = [factor(by_cpu[peer].p50 / by_cpu[name].p50) for peer in peers]
        numbers = (milliseconds(found.p50), milliseconds(found.p99), milliseconds(by_cpu[name].p50))
        table.add_row(name, f"{sizes[name]:.2f}", metric.text(scores.get(name)), *numbers, *ratios)
    console = Console(width=140)
    console.print(table, highlight=False)
    int8 = export.forms["int8"]
    lost = 100 * (export.forms["onnx"].metrics[export.decides] - int8.metrics[export.decides])
    reached = by_cpu["teacher, torch float32"].p50 / by_cpu["student, ONNX int8"].p50
    for (what, wanted), got in zip(REACH.items(), (reached, int8.megabytes, lost), strict=True):
        console.print(f"{what}: {got:.2f}, to reach {wanted}", highlight=False)


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1e6


if __name__ == "__main__":
    main()
